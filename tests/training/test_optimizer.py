"""Schedules against the published formulas, and the update against PyTorch's definition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from augmax_jax.config import defaults
from augmax_jax.training import optimizer


def settings(**changes):
    config = defaults().optimizer
    for name, value in changes.items():
        config[name] = value
    return config


def rates(config, *, examples=1000, batch_size=100, epochs=20):
    schedule = optimizer.learning_rate(
        config, batch_size=batch_size, examples=examples, epochs=epochs
    )
    steps = epochs * examples // batch_size
    return np.array([schedule(step) for step in range(steps)])


def test_cosine_by_epoch_is_the_released_codes():
    expected = 0.05 * (1 + np.cos(np.pi * np.arange(20) / 20))
    np.testing.assert_allclose(rates(settings()), np.repeat(expected, 10), rtol=1e-5)


def test_cosine_by_step_falls_at_every_step():
    got = rates(settings(schedule_unit="step"))
    np.testing.assert_allclose(got, 0.05 * (1 + np.cos(np.pi * np.arange(200) / 200)), rtol=1e-4)


def test_step_schedule_changes_at_its_epochs():
    got = rates(settings(schedule="step", boundaries=(5.0, 10.0)))
    expected = np.repeat([0.1] * 5 + [0.01] * 5 + [0.001] * 10, 10)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_epochs_that_do_not_divide_into_steps():
    # CIFAR-10 at batch 256: epoch e begins with the first step whose first example is in it.
    schedule = optimizer.learning_rate(settings(), batch_size=256, examples=50_000, epochs=200)
    for epoch in (1, 7, 125, 199):
        begin = int(np.ceil(epoch * 50_000 / 256))
        expected = [0.05 * (1 + np.cos(np.pi * e / 200)) for e in (epoch - 1, epoch)]
        np.testing.assert_allclose([schedule(begin - 1), schedule(begin)], expected, rtol=1e-4)


def test_warmup_rises_to_the_schedule():
    got = rates(settings(schedule="constant", warmup_epochs=2.0))
    np.testing.assert_allclose(got[:20], 0.1 * np.arange(1, 21) / 20, rtol=1e-5)
    np.testing.assert_allclose(got[20:], 0.1, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_update_is_pytorchs_sgd(rng, nesterov):
    config = settings(nesterov=nesterov, weight_decay=0.01)
    sgd = optimizer.create(config, optax.constant_schedule(0.1))
    theta = rng.normal(size=5)
    params, velocity = jnp.asarray(theta, jnp.float32), np.zeros(5)
    state = sgd.init(params)
    for _ in range(4):
        gradient = rng.normal(size=5)
        updates, state = sgd.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        gradient = gradient + 0.01 * theta
        velocity = 0.9 * velocity + gradient
        theta = theta - 0.1 * (gradient + 0.9 * velocity if nesterov else velocity)
        np.testing.assert_allclose(params, theta, rtol=1e-5)


def test_adamw_and_clipping_are_pytorchs(rng):
    torch = pytest.importorskip("torch")
    config = settings(name="adamw", weight_decay=0.1, b1=0.8, b2=0.95, eps=1e-6, clip_norm=1.5)
    adamw = optimizer.create(config, optax.constant_schedule(0.01))
    start = rng.normal(size=5).astype(np.float32)
    theta = torch.tensor(start, requires_grad=True)
    theirs = torch.optim.AdamW([theta], lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    params = jnp.asarray(start)
    state = adamw.init(params)
    for scale in (0.1, 10.0, 1.0):  # the norm of the second is above the limit
        gradient = (scale * rng.normal(size=5)).astype(np.float32)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an int32
            updates, state = adamw.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        theta.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_([theta], 1.5)
        theirs.step()
        np.testing.assert_allclose(params, theta.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"schedule_unit": "batch"}, "unknown config.optimizer.schedule_unit"),
        ({"schedule": "step"}, "boundaries must list epochs"),
        ({"schedule": "step", "boundaries": (5.0, 2.0)}, "rising order"),
        ({"warmup_epochs": -1.0}, "warmup_epochs must be at least 0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), got 1.0"),
        ({"b2": -0.1}, r"b2 must be in \[0, 1\), got -0.1"),
        ({"eps": 0.0}, "eps must be above 0"),
        ({"clip_norm": -1.0}, "clip_norm must be at least 0"),
        ({"micro_batches": 0}, "micro_batches must be at least 1"),
        ({"name": "adam"}, "Did you mean 'adamw'"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
    ],
)
def test_bad_settings_are_named(changes, message):
    config = settings(**changes)
    with pytest.raises(ValueError, match=message):
        optimizer.create(
            config, optimizer.learning_rate(config, batch_size=1, examples=1, epochs=1)
        )
