"""The training loop on the embedded digits: resume, devices, divergence, bad input."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from augmax_jax.config import defaults
from augmax_jax.runtime import parallel
from augmax_jax.runtime.run_directory import read_history
from augmax_jax.training.batches import device_batches
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.commands import train_and_evaluate
from augmax_jax.training.loop import Stopped, TrainingDiverged, train
from augmax_jax.training.run import Run, build

pytestmark = pytest.mark.usefixtures("speck")

REPOSITORY = Path(__file__).parent.parent.parent


def small(**changes):
    """A config whose step compiles and runs in seconds."""
    c = defaults()
    c.data.name = "digits"
    c.data.train_transform = "crop"
    c.data.holdout = 0.1
    c.data.image_size = 16
    c.model.name = "speck"
    c.batch_size = 16
    c.epochs = 1
    c.max_steps = 4
    c.num_devices = 1
    c.augment.width, c.augment.operators = 2, "solarize,translate_x"
    c.adversary.steps = 2
    c.log_every = 2
    c.checkpoint.every_epochs = 2 * 16 / 1295
    c.eval_every_epochs = 2 * 16 / 1295
    c.pictures_every_epochs = 0.0
    c.eval_batch_size = 128
    c.progress = False
    c.tensorboard = False
    c.compilation_cache = ""
    c.update_from_flattened_dict({name.replace("__", "."): x for name, x in changes.items()})
    return c


def run_training(config, directory):
    checkpoints = Checkpoints(directory)
    run = build(config)
    train(run, directory, checkpoints)
    step, state, record = checkpoints.restore("latest", run.initial_state())
    checkpoints.close()
    return step, state, record


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_resumed_run_is_bit_identical(tmp_path):
    _, unbroken, record = run_training(small(), tmp_path / "unbroken")
    step, *_ = run_training(small(max_steps=2), tmp_path / "broken")
    assert step == 2
    step, resumed, resumed_record = run_training(small(), tmp_path / "broken")
    assert step == 4
    assert_same(resumed, unbroken)
    assert resumed_record["best"] == record["best"]
    histories = [
        [{k: v for k, v in row.items() if k not in ("time", "images_per_second")} for row in rows]
        for rows in (read_history(tmp_path / "unbroken"), read_history(tmp_path / "broken"))
    ]
    assert histories[0] == histories[1]
    assert [row["step"] for row in histories[0] if row["kind"] == "train"] == [2, 4]


def test_rows_are_means_over_equally_many_steps_wherever_checkpoints_lie(tmp_path, monkeypatch):
    def config(**changes):
        return small(method="normal", max_steps=8, **changes)

    run_training(config(log_every=1), tmp_path / "steps")
    steps = [row for row in read_history(tmp_path / "steps") if row["kind"] == "train"]
    assert len(steps) == 8

    def dies(run, start):  # in step 6; saved after 2 and 4, in the middle of windows
        return itertools.chain(itertools.islice(device_batches(run, start), 5), [None])

    with monkeypatch.context() as patch:
        patch.setattr("augmax_jax.training.loop.device_batches", dies)
        with pytest.raises(TypeError):
            run_training(config(log_every=3), tmp_path / "means")
    run_training(config(log_every=3), tmp_path / "means")
    rows = [row for row in read_history(tmp_path / "means") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [3, 8]
    for row, members in zip(rows, (steps[:3], steps[3:]), strict=True):
        for name in ("loss", "accuracy_clean", "gradient_norm"):
            assert row[name] == pytest.approx(np.mean([m[name] for m in members]), rel=1e-6)
        assert row["learning_rate"] == members[-1]["learning_rate"]


def test_devices_do_not_change_the_result_with_synchronised_batch_norm():
    states, metrics = [], []
    for count in (1, 4):
        config = small(num_devices=count, sync_batch_norm=True, compaction__enabled=False)
        run = build(config)
        step = parallel.pmap(run.train_step(), run.devices)
        state = parallel.replicate(run.initial_state(), run.devices)
        batches = device_batches(run, 0)
        for _ in range(2):
            state, values = step(state, next(batches))
        states.append(parallel.first(state))
        metrics.append(parallel.first(values))
    for other, values in zip(states[1:], metrics[1:], strict=True):
        np.testing.assert_allclose(values["loss"], metrics[0]["loss"], rtol=1e-3)
        np.testing.assert_allclose(values["ascent_steps"], metrics[0]["ascent_steps"])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-4), other, states[0]
        )


def test_the_step_is_traced_once_before_its_arrays_exist(monkeypatch):
    traces = []

    def step(state, batch):
        traces.append(jax.tree.map(lambda x: x.shape, batch))
        return state, {"loss": batch["image"].mean()}

    monkeypatch.setattr(Run, "train_step", lambda run: step)
    run = build(small(num_devices=2))
    mapped = run.mapped_step(run.abstract_state())
    mapped(parallel.replicate(run.initial_state(), run.devices), next(device_batches(run, 0)))
    assert traces == [{"image": (8, 16, 16, 3), "label": (8,)}]


def test_mixed_precision_keeps_parameters_statistics_and_losses_in_float32():
    run = build(small(method="normal", dtype="bfloat16"))
    step = parallel.pmap(run.train_step(), run.devices)
    state, metrics = step(
        parallel.replicate(run.initial_state(), run.devices), next(device_batches(run, 0))
    )
    after = parallel.first(state)
    for leaf in jax.tree.leaves((after.params, after.statistics, after.opt_state)):
        assert leaf.dtype in (np.float32, np.int32)
    values = parallel.first(metrics)
    assert all(value.dtype == np.float32 and np.isfinite(value) for value in values.values())


def test_a_step_that_fetches_from_the_host_is_refused(tmp_path, monkeypatch):
    def on_the_host(run, start):
        return map(jax.device_get, device_batches(run, start))

    monkeypatch.setattr("augmax_jax.training.loop.device_batches", on_the_host)
    with pytest.raises(RuntimeError, match="Disallowed host-to-device transfer"):
        run_training(small(method="normal", max_steps=1), tmp_path)


def test_a_diverged_loss_stops_the_run_and_keeps_the_good_checkpoint(tmp_path):
    config = small(
        method="normal",
        optimizer__learning_rate=1e30,
        optimizer__warmup_epochs=0.0,
        max_steps=8,
        allow_config_change=True,
    )
    checkpoints = Checkpoints(tmp_path)
    run = build(small(method="normal", max_steps=2))
    train(run, tmp_path, checkpoints)
    with pytest.raises(TrainingDiverged, match=r"became (nan|inf) at step [3-8]\. .*last good"):
        train(build(config), tmp_path, checkpoints)
    step, state, _ = checkpoints.restore("latest", run.initial_state())
    assert step <= 4
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
    checkpoints.close()


def test_a_signal_saves_before_it_stops(tmp_path):
    config = small(method="normal", max_steps=0, epochs=50)
    config.checkpoint.every_epochs = config.eval_every_epochs = 0.0
    checkpoints = Checkpoints(tmp_path)

    def interrupt():
        while not read_history(tmp_path):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    run = build(config)
    with pytest.raises(Stopped) as stopped:
        train(run, tmp_path, checkpoints)
    assert stopped.value.status == 143
    step, state, _ = checkpoints.restore("latest", run.initial_state())
    assert step == state.step >= 2
    checkpoints.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_the_last_step_is_not_lost(tmp_path, monkeypatch, number):
    checkpoints = Checkpoints(tmp_path)
    save = checkpoints.save

    def interrupted(kind, step, *rest):
        save(kind, step, *rest)
        if (kind, step) == ("latest", 4):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(checkpoints, "save", interrupted)
    run = build(small(method="normal"))
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        train(run, tmp_path, checkpoints)
    assert (stopped.value.status, signal.getsignal(number)) == (128 + number, before)
    assert checkpoints.restore("latest", run.initial_state())[0] == run.total_steps == 4
    assert train(run, tmp_path, checkpoints) > 0  # there is nothing left to train
    checkpoints.close()


def test_leaves_everything_behind_and_refuses_another_config(tmp_path):
    results = train_and_evaluate(small(tensorboard=True), tmp_path)
    assert results == json.loads((tmp_path / "results.json").read_text())
    assert results["clean"]["last"]["count"] == 359
    assert results["clean"]["best"]["step"] in (2, 4)
    for name in ("config.json", "history.jsonl", "report.html"):
        assert (tmp_path / name).stat().st_size > 0
    assert list(tmp_path.glob("events.out.tfevents*"))
    assert len(list((tmp_path / "pictures").glob("augmentations_*.png"))) == 1
    with pytest.raises(ValueError, match=r"(?s)another config.*adversary.steps: 2 -> 3"):
        train_and_evaluate(small(adversary__steps=3), tmp_path)
    again = train_and_evaluate(small(), tmp_path)  # finished: evaluated only
    assert again["clean"] == results["clean"]
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoints but no config\.json .*put that file back"):
        train_and_evaluate(small(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 15, "num_devices": 2}, "batch_size=15 cannot be split evenly over 2"),
        ({"num_devices": 64}, "num_devices is 64, but this machine has"),
        ({"batch_size": 4096}, "larger than the training set of 1295"),
        ({"method": "augmacks"}, "unknown method 'augmacks'"),
        ({"data__name": "digit"}, "digit"),
    ],
)
def test_bad_input_is_named_before_any_work(changes, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train_and_evaluate(small(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be made.*choose another"):
        train_and_evaluate(small(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.adversary.step=3"], "adversary.step"),
        (["--config.method=augmacks"], "error: unknown method 'augmacks'. Did you mean"),
        (["--mode=evaluate"], "error: .* holds no checkpoints to evaluate"),
        (["--config=~/no_such_config.py"], r"error: [^~]*/no_such_config\.py"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, message, tmp_path):
    command = [sys.executable, "-m", "augmax_jax.main", "--config=configs/digits.py"]
    done = subprocess.run(
        [*command, f"--workdir={tmp_path}", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr + done.stdout)
