"""Steps whose loss or gradient is not finite: skipped or not, their batches kept, taken again."""

import dataclasses
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from augmax_jax import config as configs
from augmax_jax.data import ArraySplit
from augmax_jax.runtime import parallel
from augmax_jax.runtime.run_directory import read_history
from augmax_jax.training import nonfinite
from augmax_jax.training.batches import device_batches
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.commands import replay_workdir
from augmax_jax.training.loop import TrainingDiverged, train
from augmax_jax.training.nonfinite import Watch
from augmax_jax.training.run import build
from augmax_jax.training.state import TrainState
from augmax_jax.training.step import unless_nonfinite

pytestmark = pytest.mark.usefixtures("speck")

REPOSITORY = Path(__file__).parent.parent.parent
BAD_STEP = 3


def make_run(on_nonfinite):
    """A run with a label past the classes in the batch of `BAD_STEP`, which makes the loss NaN."""
    c = configs.defaults()
    c.data.name = "digits"
    c.data.image_size = 8
    c.data.train_transform = "none"
    c.model.name, c.model.norm = "speck", "bn"
    c.method = "normal"
    c.batch_size = 8
    c.max_steps = 5
    c.num_devices = 1
    c.optimizer.on_nonfinite = on_nonfinite
    c.optimizer.schedule = "constant"
    c.log_every = 1
    c.checkpoint.every_epochs = 0.009  # after steps 2 and 4, and the last
    c.eval_every_epochs = c.pictures_every_epochs = 0.0
    c.progress = c.tensorboard = False
    c.compilation_cache = ""
    run = build(c)
    images, labels = run.data.train.arrays()
    labels = labels.copy()
    rows = ArraySplit(images, labels, seed=c.seed).indices(BAD_STEP - 1, c.batch_size)
    labels[rows[0]] = 99
    split = ArraySplit(images, labels, seed=c.seed)
    return dataclasses.replace(run, data=dataclasses.replace(run.data, train=split))


@pytest.fixture(scope="module")
def skipping():
    return make_run("skip")


@pytest.fixture(scope="module")
def skipped(skipping, tmp_path_factory):
    """The directory of a run that skipped a step, its last state, and what it logged."""
    directory = tmp_path_factory.mktemp("skipped")
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger(nonfinite.__name__).addHandler(handler)
    checkpoints = Checkpoints(directory)
    train(skipping, directory, checkpoints)
    logging.getLogger(nonfinite.__name__).removeHandler(handler)
    _, state, _ = checkpoints.restore("latest", skipping.initial_state())
    checkpoints.close()
    return directory, state, records


@pytest.mark.slow  # it compiles another step
def test_a_skipped_step_leaves_no_trace_in_the_state(skipped):
    _, found, _ = skipped
    plain = make_run("stop")
    step = parallel.pmap(plain.train_step(), plain.devices)
    state = parallel.replicate(plain.initial_state(), plain.devices)
    for number, batch in zip(range(1, 6), device_batches(plain, 0), strict=False):
        if number == BAD_STEP:
            state = dataclasses.replace(state, step=state.step + 1)
        else:
            state, _ = step(state, batch)
    expected = parallel.first(state)
    assert found.step == 5
    for got, want in zip(
        jax.tree.leaves((found.params, found.statistics)),
        jax.tree.leaves((expected.params, expected.statistics)),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_skipped_step_is_named_counted_and_kept(skipping, skipped):
    directory, _, records = skipped
    (message,) = records
    assert f"the loss became nan at step {BAD_STEP}: it is skipped (1 " in message
    rows = [row for row in read_history(directory) if row["kind"] == "train"]
    assert {row["step"]: row["skipped"] for row in rows} == {1: 0, 2: 0, 3: 1, 4: 0, 5: 0}
    assert all(math.isfinite(value) for row in rows for value in row.values() if value != "train")
    (file,) = (directory / nonfinite.FOLDER).iterdir()
    assert str(file) in message
    kept = np.load(file, allow_pickle=False)
    rows = skipping.data.train.indices(BAD_STEP - 1, 8)
    images, labels = skipping.data.train.arrays()
    np.testing.assert_array_equal(kept["image"], images[rows])
    np.testing.assert_array_equal(kept["label"], labels[rows])
    assert 99 in kept["label"]


def test_the_step_can_be_taken_again(skipping, skipped):
    directory, _, _ = skipped
    checkpoints = Checkpoints(directory)
    again = nonfinite.replay(skipping, directory, checkpoints)
    checkpoints.close()
    assert again["step"] == BAD_STEP
    assert math.isnan(again["loss"])
    assert again["skipped"] == 1


def test_a_batch_of_other_data_is_refused(skipping, tmp_path):
    kept = nonfinite.keep_batch(skipping, tmp_path, BAD_STEP)
    kept.rename(kept.with_name("step_00000004.npz"))
    with pytest.raises(ValueError, match="is not the batch that this run has at step 4"):
        nonfinite.replay(skipping, tmp_path, None)
    kept.with_name("step_00000004.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="is damaged"):
        nonfinite.replay(skipping, tmp_path, None)


def test_by_default_the_run_stops_and_says_how_to_take_the_step_again(tmp_path):
    run = make_run("stop")
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(TrainingDiverged, match=f"loss became nan at step {BAD_STEP}") as caught:
        train(run, tmp_path, checkpoints)
    (file,) = (tmp_path / nonfinite.FOLDER).iterdir()
    assert str(file) in str(caught.value)
    assert f"--mode=replay --workdir={tmp_path}" in str(caught.value)
    step, _, _ = checkpoints.restore("latest", run.initial_state())
    assert step == BAD_STEP - 1
    assert math.isnan(nonfinite.replay(run, tmp_path, checkpoints)["loss"])
    checkpoints.close()


def test_a_run_that_only_skips_stops(monkeypatch, tmp_path):
    monkeypatch.setattr(nonfinite, "keep_batch", lambda *arguments: None)
    watch = Watch(None, tmp_path)
    fine = {"loss": 1.0, "gradient_norm": 1.0, "parameter_norm": 1.0, "skipped": 0.0}
    bad = fine | {"gradient_norm": math.inf, "skipped": 1.0}
    for step in range(1, nonfinite.MOST_SKIPPED):
        watch.check(step, bad)
    watch.check(50, fine)  # counts from here
    for step in range(51, 50 + nonfinite.MOST_SKIPPED):
        watch.check(step, bad)
    with pytest.raises(TrainingDiverged, match="gradient norm became inf at step 100, and 50 step"):
        watch.check(100, bad)
    assert watch.skipped == 99


def test_the_folder_of_batches_does_not_grow_without_end(skipping, tmp_path, caplog):
    for step in range(1, nonfinite.MOST_KEPT + 1):
        assert nonfinite.keep_batch(skipping, tmp_path, step)
    assert nonfinite.keep_batch(skipping, tmp_path, 90) is None
    assert "the batch of step 90 is not kept" in caplog.text
    assert nonfinite.keep_batch(skipping, tmp_path, 1)  # again


@pytest.mark.parametrize(("loss", "norm"), [(1.0, 2.0), (math.nan, 2.0), (1.0, math.inf)])
def test_the_state_before_comes_back_but_for_the_counts(loss, norm):
    def state(value, count):
        values = {"w": jnp.full(3, value)}
        # AdamW's own count belongs to its moments: it is kept with them.
        moments = {"trace": values, "count": jnp.int32(count)}
        optimizer = (moments, optax.ScaleByScheduleState(jnp.int32(count)))
        return TrainState(jnp.int32(count), values, {"s": values}, optimizer, values, {"w": values})

    before, after = state(1.0, 4), state(math.nan, 5)
    metrics = {"loss": jnp.float32(loss), "gradient_norm": jnp.float32(norm)}
    found, skipped = unless_nonfinite(before, after, metrics)
    fine = math.isfinite(loss) and math.isfinite(norm)
    assert bool(skipped) != fine
    assert found.step == found.opt_state[1].count == 5
    expected = after if fine else before
    assert found.opt_state[0]["count"] == expected.step
    for name in ("params", "statistics", "method_state", "average"):
        jax.tree.map(np.testing.assert_array_equal, getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.opt_state[0]["trace"]["w"], expected.params["w"])


def test_without_a_kept_batch_there_is_nothing_to_replay(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no batch to replay"):
        replay_workdir(configs.defaults(), tmp_path)


@pytest.mark.slow
def test_the_command_that_the_error_names_takes_the_step_again(tmp_path):
    settings = {
        "method": "normal", "max_steps": 20, "log_every": 1, "optimizer.learning_rate": 1e30,
        "optimizer.warmup_epochs": 0.0, "tensorboard": False,
    }  # fmt: skip
    command = [sys.executable, "-m", "augmax_jax.main", f"--workdir={tmp_path}"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    def run(*flags):
        return subprocess.run(
            [*command, *flags], env=environment, capture_output=True, text=True, check=False
        )

    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    failed = run("--config=digits", *flags)
    assert failed.returncode != 0
    assert "--mode=replay" in failed.stderr.splitlines()[-1]
    again = run("--mode=replay")
    assert again.returncode == 0, again.stderr
    step = failed.stderr.split(" at step ")[-1].split(".")[0]
    assert f"step: {step}" in again.stderr
    figures = dict(
        line.rsplit(maxsplit=2)[-2:] for line in again.stderr.splitlines() if ": " in line
    )
    assert any(figures[f"{name}:"] in ("nan", "inf") for name in nonfinite.FIGURES)
