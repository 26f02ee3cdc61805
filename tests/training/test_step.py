"""Forwards of views, and what one step does to the state."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from augmax_jax import config as configs
from augmax_jax import methods, models
from augmax_jax.config import defaults
from augmax_jax.methods import View
from augmax_jax.runtime import parallel
from augmax_jax.training import optimizer
from augmax_jax.training.state import create_state
from augmax_jax.training.step import forward, make_train_step

pytestmark = pytest.mark.usefixtures("speck")


@pytest.fixture(scope="module")
def network():
    model = models.create("speck", 3, norm="dubin")
    variables = dict(model.init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32)))
    return model, variables.pop("params"), variables


def make_views(rng, *routes):
    return [
        View(str(i), rng.random((4, 16, 16, 3)).astype(np.float32), route, 1.0, True)
        for i, route in enumerate(routes)
    ]


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


def test_statistics_thread_through_the_views_in_order(network, rng):
    model, params, statistics = network
    views = make_views(rng, "augmented", "augmented", "clean")
    logits, after = forward(model, params, statistics, views, joint=False)
    expected = statistics
    for view, got in zip(views, logits, strict=True):
        want, updated = model.apply(
            {"params": params, **expected},
            view.images,
            route=view.route,
            train=True,
            mutable=[f"batch_stats_{view.route}"],
        )
        expected = {**expected, **updated}
        np.testing.assert_array_equal(got, want)
    assert equal(after, expected)


def test_a_view_leaves_the_other_routes_statistics_alone(network, rng):
    model, params, statistics = network
    _, after = forward(model, params, statistics, make_views(rng, "clean"), joint=False)
    assert equal(after["batch_stats_augmented"], statistics["batch_stats_augmented"])
    assert not equal(after["batch_stats_clean"], statistics["batch_stats_clean"])


def test_joint_forwards_share_batch_statistics(network, rng):
    model, params, statistics = network
    views = make_views(rng, "augmented", "clean", "augmented")
    logits, _ = forward(model, params, statistics, views, joint=True)
    pair = np.concatenate([views[0].images, views[2].images])
    want, _ = model.apply(
        {"params": params, **statistics},
        pair,
        route="augmented",
        train=True,
        mutable=["batch_stats_augmented"],
    )
    np.testing.assert_allclose(np.concatenate([logits[0], logits[2]]), want, atol=1e-5)
    separate, _ = forward(model, params, statistics, views, joint=False)
    assert not np.allclose(separate[0], logits[0], atol=1e-4)
    np.testing.assert_allclose(separate[1], logits[1], atol=1e-5)


def test_a_step_is_built_from_its_parts_and_takes_the_gradient_of_the_objective(rng):
    config = defaults()
    config.method, config.batch_size, config.data.train_transform = "normal", 8, "none"
    model = models.create("speck", 3, norm="bn")
    schedule = optimizer.learning_rate(config.optimizer, batch_size=8, examples=80, epochs=1)
    sgd = optimizer.create(config.optimizer, schedule)
    method = methods.create(config, 3)
    step = make_train_step(config, model, method, sgd, schedule, 4)  # of each of two devices
    devices = parallel.local_devices(2)
    state = create_state(model, sgd, jax.random.key(0), (16, 16, 3))
    images = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, 8).astype(np.int32)
    after, metrics = parallel.pmap(step, devices)(
        parallel.replicate(state, devices),
        parallel.shard({"image": images, "label": labels}, devices),
    )

    def loss(params, half):
        logits, _ = model.apply(
            {"params": params, **state.statistics},
            images[half].astype(np.float32) / 255,
            train=True,
            mutable=list(state.statistics),
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[half]).mean()

    gradient = jax.jit(jax.grad(lambda p: (loss(p, slice(4)) + loss(p, slice(4, 8))) / 2))
    rate, decay = config.optimizer.learning_rate, config.optimizer.weight_decay
    expected = jax.tree.map(
        lambda p, g: p - rate * (g + decay * p), state.params, gradient(state.params)
    )
    for got, want in zip(
        jax.tree.leaves(parallel.first(after).params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert parallel.first(after).step == 1
    assert parallel.first(metrics)["learning_rate"] == np.float32(rate)


def test_a_state_is_the_same_created_inside_another_program():
    model = models.create("speck", 10, norm="dubin")
    settings = defaults().optimizer
    rate = optimizer.learning_rate(settings, batch_size=8, examples=80, epochs=1)

    def create(key):
        return create_state(model, optimizer.create(settings, rate), key, (32, 32, 3))

    key = jax.random.key(0)
    state = create(key)
    # Programs of another size round otherwise in the last bit.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        jax.jit(create)(key),
        state,
    )
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype), (jax.eval_shape(create, key), state))
    assert shapes[0] == shapes[1]


def small(**changes):
    """A step of AugMix or AugMax on 8x8 images, and what it takes."""
    config = defaults()
    config.batch_size, config.augment.width, config.augment.depth = 4, 1, 1
    config.augment.operators, config.adversary.steps = "solarize", 1
    for name, value in changes.items():
        configs.set_setting(config, name.replace("__", "."), value)
    model = models.create("tiny", 3, norm="dubin")
    schedule = optimizer.learning_rate(config.optimizer, batch_size=4, examples=40, epochs=1)
    sgd = optimizer.create(config.optimizer, schedule)
    method = methods.create(config, 3)
    step = make_train_step(config, model, method, sgd, schedule, 4, examples=40)
    state = create_state(model, sgd, jax.random.key(0), (8, 8, 3))
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    batch = {"image": images, "label": np.array([0, 1, 2, 0], np.int32)}
    mapped = jax.vmap(step, axis_name=parallel.AXIS)
    return mapped, jax.tree.map(lambda x: x[None], (state, batch))


def test_options_that_are_off_leave_the_program_as_it_is():
    def program(**changes):
        step, arguments = small(method="augmax", **changes)
        return jax.jit(step).lower(*arguments).as_text()

    usual = program()
    # Weights that are those of the variant, no ramp, and an attack on every image.
    equal = {"objective__weights__augmax": 0.5, "objective__weights__augmix": 0.0}
    assert program(objective__ramp_epochs=0.0, adversary__every=1, **equal) == usual
    assert program(objective__weights__augmix=0.5) != usual


def test_the_consistency_weight_rises_from_nothing_over_the_ramp():
    step, (state, batch) = small(method="augmix", objective__ramp_epochs=0.5)
    step = jax.jit(step)
    for taken, share in ((0, 1 / 5), (3, 4 / 5), (4, 1), (9, 1)):  # of 10 steps an epoch
        at = dataclasses.replace(state, step=np.full(1, taken, np.int32))
        metrics = {name: float(value[0]) for name, value in step(at, batch)[1].items()}
        weight = 12 * share  # AugMix's own
        assert metrics["consistency_weight"] == pytest.approx(weight, rel=1e-5)
        expected = metrics["classification"] + weight * metrics["consistency"]
        assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
