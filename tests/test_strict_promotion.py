"""The package's functions traced under JAX's strict settings: no dtype or rank is promoted unsaid.

Nothing is compiled or run: what promotes raises while it is traced.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import augmax_jax
from augmax_jax import adversary, augment, corruptions, methods, models, objectives
from augmax_jax.augment import engine
from augmax_jax.config import defaults
from augmax_jax.evaluation import metrics
from augmax_jax.runtime import parallel
from augmax_jax.training import optimizer
from augmax_jax.training.state import create_state
from augmax_jax.training.step import make_train_step

KEY = jax.random.key(3)


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


BYTES, FLOATS = array(4, 16, 16, 3, dtype=jnp.uint8), array(4, 16, 16, 3)
LABELS, LOGITS = array(4, dtype=jnp.int32), array(4, 5)


def logits_fn(x):
    """A user's network; it promotes nothing, so that it works under both settings."""
    return jnp.tanh(x.mean(axis=(1, 2)) @ jnp.ones((3, 5)))


def test_these_tests_are_strict():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.zeros((2, 3)) + jnp.zeros(3)
    with pytest.raises(jax.dtypes.TypePromotionError):
        jnp.zeros(3) + jnp.zeros(3, jnp.int32)


@pytest.mark.parametrize("name", augment.ALL)
def test_operators(name):
    function = getattr(augment.operators, name)
    arguments = () if name in ("autocontrast", "equalize") else (array(),)
    jax.eval_shape(function, array(16, 16, 3, dtype=jnp.uint8), *arguments)


def test_chains_on_every_platform():
    jax.eval_shape(lambda k, x: augment.sample_chains(k, x, operators=augment.ALL), KEY, BYTES)
    jax.eval_shape(augment.augmix, KEY, BYTES)
    jax.eval_shape(augment.standard.flip_and_crop, KEY, BYTES)
    records = augment.operators.resolve(augment.ALL)
    draws = engine.Draws(LABELS, array(4, 3, dtype=jnp.int32), array(4, 3))
    jax.eval_shape(lambda x, d: engine.run_together(x, d, records), BYTES, draws)


@pytest.mark.parametrize("name", corruptions.BENCHMARK + corruptions.EXTRA)
def test_corruptions(name):
    try:
        jax.eval_shape(lambda k, x: corruptions.corrupt(k, x, name, 4), KEY, BYTES)
    except ValueError as error:
        if "imagecorruptions" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("norm", models.NORMS)
@pytest.mark.parametrize("name", ["tiny", "wrn40_2"])
def test_networks_and_their_gradients_in_bfloat16(name, norm):
    options = {"depth": 10} if name == "wrn40_2" else {}
    model = models.create(
        name, 5, norm=norm, dtype=jnp.bfloat16, mean=(0.4,) * 3, std=(0.2,) * 3, **options
    )
    variables = jax.eval_shape(model.init, KEY, FLOATS)
    jax.eval_shape(lambda v, x: model.apply(v, x, route="augmented"), variables, FLOATS)
    mutable = [models.statistics_collection(norm, "clean")]

    def loss(variables, x):
        logits, _ = model.apply(variables, x, train=True, mutable=mutable)
        return logits.sum()

    jax.eval_shape(jax.grad(loss, argnums=(0, 1)), variables, FLOATS)


def test_adversaries():
    chains, m, p = array(4, 3, 16, 16, 3, dtype=jnp.uint8), array(4), array(4, 3)
    for options in ({}, {"early_stop": "batch"}, {"early_stop": "none"}, {"compact": True}):
        jax.eval_shape(
            lambda *a, o=options: adversary.augmax(logits_fn, *a, **o), BYTES, chains, LABELS, m, p
        )
    for options in ({}, {"budget": 1, "jitter": 0.1, "compact": True}):
        jax.eval_shape(lambda *a, o=options: adversary.pgd(KEY, logits_fn, *a, **o), FLOATS, LABELS)
    jax.eval_shape(lambda *a: adversary.stadv(logits_fn, *a), FLOATS, LABELS)
    jax.eval_shape(lambda *a: adversary.worst_of_k_spatial(KEY, logits_fn, *a), BYTES, LABELS)
    jax.eval_shape(lambda *a: augmax_jax.augmax(KEY, logits_fn, *a), BYTES, LABELS)
    jax.eval_shape(lambda y: adversary.random_targets(KEY, y, 5), LABELS)


def test_objectives_and_metrics():
    def loss(a, b, labels):
        options = {"weights": [0.5, 0.5], "consistent": [True, True], "consistency_weight": 10.0}
        return objectives.objective([a, b], labels, **options)[0]

    jax.eval_shape(jax.grad(loss), LOGITS, array(4, 5, dtype=jnp.bfloat16), LABELS)
    jax.eval_shape(metrics.tally, LOGITS, LABELS, array(4, dtype=bool))
    jax.eval_shape(lambda x: metrics.restrict_classes(x, [0, 2]), LOGITS)


@pytest.mark.parametrize(
    ("name", "variant"), [*((name, i % 2) for i, name in enumerate(methods.METHODS)), ("augmax", 1)]
)
def test_training_steps(name, variant):
    config = defaults()
    config.method, config.batch_size = name, 8
    config.optimizer.schedule = ("cosine", "step")[variant]
    config.optimizer.boundaries, config.optimizer.warmup_epochs = (1.0,), float(variant)
    config.objective.forwards = ("separate", "joint")[variant]
    config.compaction.enabled = not variant
    config.adversary.targeted = bool(variant)
    axis = parallel.AXIS if variant else None
    model = models.create("tiny", 5, norm="dubin", axis_name=axis)
    rate = optimizer.learning_rate(config.optimizer, batch_size=8, examples=80, epochs=2)
    sgd = optimizer.create(config.optimizer, rate)
    method = methods.create(config, 5)
    step = make_train_step(config, model, method, sgd, rate, 4)
    state = jax.eval_shape(lambda key: create_state(model, sgd, key, (16, 16, 3)), KEY)
    state = dataclasses.replace(state, method_state=jax.eval_shape(method.init, KEY))
    mapped = jax.vmap(step, axis_name=parallel.AXIS, in_axes=(None, 0))
    batch = {
        "image": array(2, 4, 16, 16, 3, dtype=jnp.uint8),
        "label": array(2, 4, dtype=np.int32),
    }
    jax.eval_shape(mapped, state, batch)
