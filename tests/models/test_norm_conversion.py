"""From two routes to one and back."""

import jax
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.models.norm_conversion import SINGLE_NORM, both_routes, single_route


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, 32, 32, 3), np.float32)


def random_variables(name, norm, **options):
    module = models.create(name, 10, norm=norm, **options)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), images)
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: (rng.uniform(0.5, 1.5, leaf.shape) * 0.1).astype(np.float32), shapes
    )


def logits(norm, variables, images, route):
    module = models.create("tiny", 10, norm=norm, stem_stride=2)
    return jax.jit(lambda v, x: module.apply(v, x, route=route))(variables, images)


@pytest.mark.parametrize("norm", ["dubn", "dubin"])
def test_one_route_gives_its_logits(norm, images):
    variables = random_variables("tiny", norm, stem_stride=2)
    results = {}
    for route in models.ROUTES:
        single = single_route(variables, route)
        results[route] = logits(SINGLE_NORM[norm], single, images, "clean")
        np.testing.assert_allclose(
            results[route], logits(norm, variables, images, route), rtol=1e-5
        )
        again = both_routes(single)
        assert jax.tree.structure(again) == jax.tree.structure(variables)
        jax.tree.map(np.testing.assert_array_equal, single_route(again, "augmented"), single)
    assert np.abs(results["clean"] - results["augmented"]).max() > 1e-6


@pytest.mark.parametrize("norm", ["bn", "ibn"])
@pytest.mark.parametrize("name", list(models.MODELS))
def test_structure_of_every_network(name, norm):
    dual = {v: k for k, v in SINGLE_NORM.items()}[norm]
    one, two = (random_variables(name, n) for n in (norm, dual))
    assert jax.tree.structure(both_routes(one)) == jax.tree.structure(two)
    assert jax.tree.structure(single_route(two)) == jax.tree.structure(one)


def test_errors():
    one, two = (random_variables("tiny", norm) for norm in ("bn", "dubn"))
    with pytest.raises(ValueError, match="must have two routes, got collections"):
        single_route(one)
    with pytest.raises(ValueError, match="must have one route, got collections"):
        both_routes(two)
    with pytest.raises(ValueError, match="unknown route 'cleen'"):
        single_route(two, "cleen")
