"""Each method's views, as the paper and as the released code have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax import methods
from augmax_jax.config import defaults
from augmax_jax.keys import example_keys

CLASSES = 4


def config(method, **objective):
    c = defaults()
    c.method = method
    c.augment.width, c.augment.depth = 2, 1
    c.augment.operators = "solarize,translate_x"  # two cheap ones
    c.adversary.steps = 2
    for name, value in objective.items():
        c.objective[name] = value
    return c


def logits_fn(x, route):
    scale = {"clean": 1.0, "augmented": 2.0}[route]
    return scale * x.mean(axis=(1, 2)) @ jnp.eye(3, CLASSES)


@pytest.fixture
def batch(rng, key):
    images = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    return example_keys(key, 6), jnp.asarray(images), jnp.asarray(rng.integers(0, CLASSES, 6))


def views_of(c, batch):
    return methods.create(c, CLASSES)(logits_fn, *batch)


@pytest.mark.parametrize(
    ("method", "variant", "expected"),
    [
        ("normal", "paper", [("clean", "clean", 1.0, False)]),
        (
            "augmix",
            "paper",
            [
                ("augmix_1", "augmented", 0.0, True),
                ("augmix_2", "augmented", 0.0, True),
                ("clean", "clean", 1.0, True),
            ],
        ),
        (
            "augmax",
            "paper",
            [
                ("augmax", "augmented", 0.5, True),
                ("augmix", "augmented", 0.0, True),
                ("clean", "clean", 0.5, True),
            ],
        ),
        (
            "augmax",
            "released",
            [
                ("augmax", "augmented", 0.0, True),
                ("augmix", "clean", 0.0, True),
                ("clean", "clean", 1.0, True),
            ],
        ),
    ],
)
def test_views(method, variant, expected, batch):
    views, _ = views_of(config(method, variant=variant), batch)
    assert [(v.name, v.route, v.weight, v.consistent) for v in views] == expected
    for view in views:
        assert view.images.shape == (6, 16, 16, 3)
        assert view.images.dtype == jnp.float32
        assert 0 <= view.images.min() <= view.images.max() <= 1
    np.testing.assert_allclose(views[-1].images, batch[1] / 255, atol=1e-7)


def test_routes_can_be_chosen(batch):
    c = config("augmax")
    c.objective.routes.augmix = "clean"
    views, _ = views_of(c, batch)
    assert [v.route for v in views] == ["augmented", "clean", "clean"]


def test_augmax_and_augmix_views_are_drawn_independently(batch):
    c = config("augmax")
    c.adversary.steps = 0
    views, diagnostics = views_of(c, batch)
    assert not np.allclose(views[0].images, views[1].images)
    assert diagnostics["ascent_steps"] == 0


def test_the_attack_raises_the_loss(batch):
    def loss(views):
        logits = logits_fn(views[0].images, "augmented")
        return -jax.nn.log_softmax(logits)[jnp.arange(6), batch[2]].mean()

    c = config("augmax")
    c.adversary.early_stop = "none"
    still, moved = config("augmax"), c
    still.adversary.steps, moved.adversary.steps = 0, 5
    assert loss(views_of(moved, batch)[0]) > loss(views_of(still, batch)[0])


def test_draws_depend_on_the_example_alone(batch):
    keys, images, labels = batch
    whole, _ = views_of(config("augmax"), batch)
    tail, _ = views_of(config("augmax"), (keys[4:], images[4:], labels[4:]))
    for a, b in zip(whole, tail, strict=True):
        np.testing.assert_allclose(a.images[4:], b.images, atol=1e-6)


def test_targeted_attack_runs(batch):
    c = config("augmax")
    c.adversary.targeted = True
    views, _ = views_of(c, batch)
    assert np.isfinite(views[0].images).all()
