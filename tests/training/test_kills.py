"""Runs that are killed, by SIGKILL wherever they are, end as the run that was never stopped."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from augmax_jax.config import defaults
from augmax_jax.runtime.run_directory import read_history
from augmax_jax.training.batches import device_batches
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.commands import train_and_evaluate
from augmax_jax.training.run import build

REPOSITORY = Path(__file__).parent.parent.parent
NOT_OF_THE_RUN = ("time", "images_per_second")

# Trains and evaluates; kills itself at the n-th touch of a file in the run's checkpoints
# (so within a write), or elsewhere in its directory (so in training and in evaluation).
PROGRAM = """
import os, signal, sys
sys.path.insert(0, "tests/training")
import test_kills
place, number = sys.argv[3], int(sys.argv[4])
seen = 0
def count(event, arguments):
    global seen
    if event not in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove") or not number:
        return
    path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else ""
    if place in path and sys.argv[2] in path:
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
test_kills.no_drawer()
test_kills.train_and_evaluate(test_kills.small(sys.argv[1]), sys.argv[2])
"""


def small(method):
    c = defaults()
    c.method, c.model.name, c.model.norm = method, "tiny", "dubin" if method == "augmax" else "bn"
    c.data.name, c.data.holdout, c.data.image_size = "digits", 0.1, 8
    c.augment.width, c.augment.operators, c.adversary.steps = 1, "solarize", 2
    c.batch_size, c.eval_batch_size, c.log_every, c.max_steps = 16, 512, 3, 12
    c.num_devices = 1
    c.pictures_every_epochs = 0.0
    c.checkpoint.every_epochs = c.eval_every_epochs = 2 * 16 / 1295
    c.evaluate.benchmarks, c.evaluate.baseline = ("spatial",), ""
    c.progress = c.tensorboard = False
    c.compilation_cache = ""
    return c


def no_drawer():
    """Drawing takes longer than the training here."""
    from augmax_jax.training import augmentation_pictures

    augmentation_pictures.make_drawer = lambda run, directory: (
        lambda step, state: np.zeros((4, 4, 3), np.uint8)
    )


def start(method, directory, place, number):
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI"))}
    settings = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(directory.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(REPOSITORY),
    }
    with (directory.parent / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, method, str(directory), place, str(number)],
            cwd=REPOSITORY,
            env=own | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def finish(method, directory):
    assert start(method, directory, "", 0).wait(timeout=600) == 0, log_of(directory)


def log_of(directory):
    return (directory.parent / "log").read_text()[-4000:]


def kept(method, directory):
    """All that a run leaves: both states with their records, the history and the results."""
    like = build(small(method)).initial_state()
    checkpoints = Checkpoints(directory)
    states = [checkpoints.restore(kind, like) for kind in ("latest", "best")]
    checkpoints.close()
    for _, _, record in states:
        record.pop("seconds", None)
    rows = [
        {name: value for name, value in row.items() if name not in NOT_OF_THE_RUN}
        for row in read_history(directory)
    ]
    results = json.loads((directory / "results.json").read_text())
    return states, rows, {name: results[name] for name in ("clean", "benchmarks")}


def assert_same_run(method, directory, unbroken):
    (states, rows, results), (states_2, rows_2, results_2) = (
        kept(method, path) for path in (directory, unbroken)
    )
    for one, other in zip(states, states_2, strict=True):
        assert one[0] == other[0]
        jax.tree.map(np.testing.assert_array_equal, one[1], other[1])
        assert one[2] == other[2]
    assert rows == rows_2
    assert results == results_2


@pytest.mark.slow  # a minute on two busy cores
def test_three_kills_change_nothing(tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    finish("normal", unbroken)
    # Within the first checkpoints, within later ones, and within the evaluation's first results.
    for place, number in (("checkpoints", 40), ("checkpoints", 70), ("spatial", 1)):
        status = start("normal", broken, place, number).wait(timeout=300)
        assert status == -signal.SIGKILL, log_of(broken)
    finish("normal", broken)
    assert_same_run("normal", broken, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["normal", "augmax"])
def test_25_kills_at_random_moments_change_nothing(tmp_path, method):
    chance = random.Random(0)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    begun = time.monotonic()
    finish(method, unbroken)
    finish(method, tmp_path / "warm")  # all is compiled: how long one command takes
    begun = time.monotonic()
    finish(method, tmp_path / "timed")
    seconds = time.monotonic() - begun
    killed = Counter()
    while killed.total() < 25:
        place = chance.choice(("checkpoints", "evaluation", "", "time"))
        number = 0 if place == "time" else chance.randint(1, 60)
        process = start(method, broken, place, number)
        if place == "time":
            time.sleep(chance.uniform(0.3, 1) * seconds)
            process.kill()
        status = process.wait(timeout=600)
        assert status in (0, -signal.SIGKILL), log_of(broken)
        killed[place] += status != 0
        if status == 0:  # it came through: compared, and begun anew
            assert_same_run(method, broken, unbroken)
            broken.rename(tmp_path / f"whole{killed.total()}-{chance.random()}")
    finish(method, broken)
    assert_same_run(method, broken, unbroken)
    assert killed["checkpoints"] >= 3


def test_tensorboard_has_each_step_once_after_kills(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small("normal")
    config.tensorboard, config.evaluate.benchmarks, config.max_steps = True, (), 8
    config.log_every, config.compilation_cache = 1, str(tmp_path / "compiled")
    monkeypatch.setattr(
        "augmax_jax.training.augmentation_pictures.make_drawer",
        lambda run, directory: lambda step, state: np.zeros((4, 4, 3), np.uint8),
    )
    for steps in (3, 2):  # ends in step 4, saved after 2; then in step 5, saved after 4
        with monkeypatch.context() as patch:
            patch.setattr(
                "augmax_jax.training.loop.device_batches",
                lambda run, start, n=steps: itertools.chain(
                    itertools.islice(device_batches(run, start), n), [None]
                ),
            )
            with pytest.raises(TypeError):
                train_and_evaluate(config, tmp_path / "run")
    train_and_evaluate(config, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"tensors": 0}).Reload()
    steps = {tag: [e.step for e in events.Tensors(tag)] for tag in events.Tags()["tensors"]}
    assert sorted(steps["train/loss"]) == list(range(1, 9))
    assert all(len(found) == len(set(found)) for found in steps.values())
    rows = [row["step"] for row in read_history(tmp_path / "run") if row["kind"] == "train"]
    assert rows == sorted(steps["train/loss"])
