"""Saving, keeping, restoring, and what happens when the files are damaged."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from augmax_jax.training.checkpoints import Checkpoints, read_variables
from augmax_jax.training.state import TrainState


@pytest.fixture
def state(rng):
    return {"w": rng.normal(size=(3, 4)).astype(np.float32), "step": np.int32(7)}


def damage(directory):
    for path in directory.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:7])


def test_round_trip_is_bit_exact(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore("latest", state) is None
    checkpoints.save("latest", 7, state, {"best": {"accuracy": 0.5}, "seconds": 1.5})
    checkpoints.close()
    step, restored, record = Checkpoints(tmp_path).restore("latest", state)
    assert step == 7
    assert record == {"best": {"accuracy": 0.5}, "seconds": 1.5}
    for name, value in state.items():
        np.testing.assert_array_equal(restored[name], value)
        assert restored[name].dtype == value.dtype


def test_keeps_the_latest_few_and_one_best(tmp_path, state):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        checkpoints.save("latest", step, state, {})
        checkpoints.save("best", step, state, {})
    checkpoints.save("latest", 3, state, {"again": True})  # replaces

    def steps(kind):
        return sorted(p.name for p in (tmp_path / "checkpoints" / kind).iterdir())

    assert steps("latest") == ["2", "3"]
    assert steps("best") == ["3"]
    assert checkpoints.restore("latest", state)[2] == {"again": True}


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, state, caplog):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save("latest", step, state, {"step": step})
    checkpoints.close()
    damage(tmp_path / "checkpoints" / "latest" / "2" / "state")
    checkpoints = Checkpoints(tmp_path)
    with caplog.at_level(logging.WARNING):
        step, _, record = checkpoints.restore("latest", state)
    assert (step, record) == (1, {"step": 1})
    assert "step 2 is damaged" in caplog.text
    checkpoints.save("latest", 2, state, {"step": "again"})  # the run gets there once more
    assert checkpoints.restore("latest", state)[2] == {"step": "again"}


def test_the_average_of_the_weights_is_kept_and_read(tmp_path, state):
    weights, average = {"w": state["w"]}, {"w": 2 * state["w"]}
    whole = TrainState(np.int32(7), weights, {"batch_stats": weights}, {})
    checkpoints = Checkpoints(tmp_path / "without")
    checkpoints.save("latest", 7, whole, {})
    with pytest.raises(ValueError, match=r"no average of the weights.*config.optimizer.ema"):
        read_variables(tmp_path / "without", "latest", average=True)
    averages = {"params": average, "batch_stats": average}
    whole = dataclasses.replace(whole, average=averages)
    checkpoints = Checkpoints(tmp_path / "with")
    checkpoints.save("latest", 7, whole, {})
    for found, expected in (
        (checkpoints.restore("latest", whole)[1].average, averages),
        (read_variables(tmp_path / "with", "latest", average=True), averages),
        (read_variables(tmp_path / "with", "latest"), whole.variables),
    ):
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_none_readable_is_an_error_that_names_them(tmp_path, state):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 1, state, {})
    checkpoints.close()
    damage(tmp_path / "checkpoints" / "latest" / "1")
    with pytest.raises(ValueError, match=r"no checkpoint can be read(.|\n)*latest/1"):
        Checkpoints(tmp_path).restore("latest", state)


def test_a_failed_write_keeps_the_earlier_ones(tmp_path, state, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 1, state, {})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._managers["latest"], "save", full)
    with pytest.raises(OSError, match=r"step 2 could not be written.*No space left.*Free space"):
        checkpoints.save("latest", 2, state, {})
    assert checkpoints.restore("latest", state)[0] == 1
