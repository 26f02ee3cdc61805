"""Micro-batches, clipping, averaged weights, label smoothing and AdamW in the training step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from augmax_jax import config as configs
from augmax_jax import methods, models
from augmax_jax.inference.loading import load
from augmax_jax.runtime import parallel
from augmax_jax.training import optimizer
from augmax_jax.training.commands import train_and_evaluate
from augmax_jax.training.run import build
from augmax_jax.training.state import create_state
from augmax_jax.training.step import check_micro_batches, make_train_step

pytestmark = pytest.mark.usefixtures("speck")

BATCH, STEPS = 8, 2


def make_config(**changes):
    config = configs.defaults()
    config.method, config.model.name, config.model.norm = "normal", "speck", "bn"
    config.batch_size, config.data.image_size = BATCH, 8
    for name, value in changes.items():
        configs.set_setting(config, name.replace("__", "."), value)
    return config


def train(devices=1, **changes):
    """The states and metrics of a few steps on the same batches, first state included."""
    config = make_config(**changes)
    model = models.create("speck", 3, norm="bn")
    rate = optimizer.learning_rate(config.optimizer, batch_size=BATCH, examples=80, epochs=1)
    update = optimizer.create(config.optimizer, rate)
    method = methods.create(config, 3)
    step = make_train_step(config, model, method, update, rate, BATCH // devices)
    found = parallel.local_devices(devices)
    state = create_state(model, update, jax.random.key(0), (8, 8, 3))
    if config.optimizer.ema:
        state = dataclasses.replace(state, average=state.variables)
    mapped, rng = parallel.pmap(step, found), np.random.default_rng(0)
    states, metrics = [state], []
    state = parallel.replicate(state, found)
    for _ in range(STEPS):
        images = rng.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8)
        labels = rng.integers(0, 3, BATCH).astype(np.int32)
        state, row = mapped(state, parallel.shard({"image": images, "label": labels}, found))
        states.append(parallel.first(state))
        metrics.append(parallel.first(row))
    return states, metrics


def assert_close(got, want, **tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-4, "atol": 1e-5, **tolerance})


@pytest.fixture(scope="module")
def plain():
    return train(devices=2)


@pytest.fixture(scope="module")
def parted():
    return train(optimizer__micro_batches=2, optimizer__ema=0.9, optimizer__clip_norm=1e6)


def test_micro_batches_are_to_a_device_what_devices_are_to_a_batch(plain, parted):
    # An average of the weights and a limit that is not reached leave the step as it is, too.
    (states, metrics), (expected, rows) = parted, plain
    assert_close(metrics, rows)
    for name in ("params", "statistics", "opt_state", "step"):
        assert_close(getattr(states[-1], name), getattr(expected[-1], name))


def test_the_average_is_that_of_optax(parted):
    states, _ = parted
    ema = optax.ema(0.9, debias=True)
    kept = ema.init(states[0].variables)
    with jax.numpy_dtype_promotion("standard"):
        for state in states[1:]:
            expected, kept = ema.update(state.variables, kept)
            assert_close(state.average, expected)


@pytest.mark.slow  # it compiles AugMax's step twice
def test_micro_batches_have_the_same_attacks():
    changes = {"method": "augmax", "adversary__steps": 2}
    alone, shared = train(2, optimizer__micro_batches=2, **changes), train(4, **changes)
    assert_close(alone[1][0], shared[1][0])
    assert_close(alone[0][1].variables, shared[0][1].variables)


@pytest.mark.slow  # it compiles two more steps
def test_clipping_smoothing_and_adamw_reach_the_step(plain):
    limit, share = 0.01, 0.2
    states, metrics = train(
        2, optimizer__clip_norm=limit, optimizer__weight_decay=0.0, optimizer__momentum=0.0
    )
    assert plain[1][0]["gradient_norm"] > limit
    # The log has the norm before clipping.
    assert metrics[0]["gradient_norm"] == pytest.approx(plain[1][0]["gradient_norm"], rel=1e-4)
    change = jax.tree.map(lambda a, b: b - a, states[0].params, states[1].params)
    assert optax.tree.norm(change) == pytest.approx(0.1 * limit, rel=1e-3)

    states, metrics = train(
        2,
        objective__label_smoothing=share,
        optimizer__name="adamw",
        optimizer__on_nonfinite="skip",
        optimizer__weight_decay=0.0,
    )
    assert metrics[0]["loss"] != pytest.approx(plain[1][0]["loss"], rel=1e-3)
    assert metrics[0]["skipped"] == 0
    # The first step of Adam is the learning rate in the direction of the gradient's sign.
    change = jax.tree.map(lambda a, b: np.abs(b - a), states[0].params, states[1].params)
    assert max(x.max() for x in jax.tree.leaves(change)) == pytest.approx(0.1, rel=1e-3)


def test_what_is_off_is_not_in_the_state(plain):
    settings = make_config().optimizer
    usual = optax.chain(
        optax.add_decayed_weights(settings.weight_decay),
        optax.sgd(optax.constant_schedule(0.1), momentum=settings.momentum),
    )
    state = plain[0][0]
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(usual.init(state.params))
    assert state.average is None


def test_the_average_keeps_its_digits_for_a_decay_near_one():
    average = jnp.float32(0.0)
    for step in range(1, 4):
        average = optimizer.averaged(average, jnp.float32(step), 0.99999, jnp.int32(step))
    assert average == pytest.approx(2.0, abs=1e-4)  # the mean of 1, 2, 3 nearly


@pytest.mark.parametrize(
    ("method", "parts", "message"),
    [
        ("normal", 3, "micro_batches=3 cannot divide a device's 8 images"),
        ("ant", 2, "micro_batches must be 1 for method 'ant', got 2"),
    ],
)
def test_batches_that_cannot_be_divided_are_refused(method, parts, message):
    config = make_config(method=method, optimizer__micro_batches=parts, num_devices=1)
    config.data.name = "no/such/folder"  # refused before data is read
    with pytest.raises(ValueError, match=message):
        build(config)


def test_fat_which_counts_steps_but_keeps_no_state_has_micro_batches():
    config = make_config(method="fat", optimizer__micro_batches=2)
    check_micro_batches(config, methods.create(config, 3), BATCH)


@pytest.mark.slow  # it trains and evaluates, twice
def test_a_run_goes_on_exactly_and_its_average_is_evaluated_and_loaded(tmp_path):
    def run(name, steps):
        config = make_config(
            data__name="digits", max_steps=steps, num_devices=1, tensorboard=False, progress=False,
            pictures_every_epochs=0.0, compilation_cache="", optimizer__ema=0.5,
            optimizer__name="adamw", optimizer__micro_batches=2, optimizer__warmup_epochs=0.0,
            optimizer__learning_rate=0.01, evaluate__checkpoint="average",
        )  # fmt: skip
        return train_and_evaluate(config, tmp_path / name)

    run("stopped", 2)
    results = run("stopped", 4)
    whole = run("whole", 4)
    assert results["selected"] == "average"
    for kind in ("last", "average"):  # the best was chosen once more, where the run stopped
        assert results["clean"][kind] == whole["clean"][kind]
    assert results["clean"]["average"]["loss"] != results["clean"]["last"]["loss"]
    found = [load(tmp_path / name, checkpoint="average") for name in ("stopped", "whole")]
    jax.tree.map(np.testing.assert_array_equal, found[0].variables, found[1].variables)
