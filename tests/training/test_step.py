"""Forwards of views, and what one step does to the state."""

import jax
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.config import defaults
from augmax_jax.methods import View
from augmax_jax.training import optimizer
from augmax_jax.training.state import create_state
from augmax_jax.training.step import forward


@pytest.fixture(scope="module")
def network():
    model = models.create("tiny", 3, norm="dubin")
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


def test_a_state_is_the_same_created_inside_another_program():
    model = models.create("tiny", 10, norm="dubin")
    settings = defaults().optimizer
    rate = optimizer.learning_rate(settings, batch_size=8, examples=80, epochs=1)

    def create(key):
        return create_state(model, optimizer.create(settings, rate), key, (32, 32, 3))

    key = jax.random.key(0)
    state = create(key)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(create)(key), state)
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype), (jax.eval_shape(create, key), state))
    assert shapes[0] == shapes[1]
