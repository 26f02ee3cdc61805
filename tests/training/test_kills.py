"""Runs that are killed, by SIGKILL wherever they are, end as the run that was never stopped."""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from augmax_jax import models, report
from augmax_jax.config import defaults
from augmax_jax.runtime.run_directory import read_history
from augmax_jax.training import loop
from augmax_jax.training.batches import device_batches
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.commands import train_and_evaluate
from augmax_jax.training.run import build
from tests import speck

pytestmark = pytest.mark.usefixtures("speck")

REPOSITORY = Path(__file__).parent.parent.parent
NOT_OF_THE_RUN = ("time", "images_per_second")

# Imports once, then forks a session for each line "METHOD DIRECTORY PLACE NUMBER SECONDS" that it
# reads, waits for it, and writes its status, the touches of each place and the seconds it took.
PROGRAM = """
import sys
sys.path.insert(0, "tests/training")
import sklearn.datasets, test_kills  # the first is imported when needed
for line in sys.stdin:
    print(test_kills.wait_for_session(*line.split()), flush=True)
"""
# Parts of the paths of files. A session kills itself when it touches such a file for the n-th time.
PLACES = ("checkpoints", "evaluation", "")
TOUCHES = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove")


def wait_for_session(method, directory, place, number, seconds):
    """In the program: forks a session, and kills it after some seconds if these are not 0."""
    begun = time.monotonic()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.dup2(2, 1)  # the results that it prints go to the log
            seen = run_session(method, directory, place.strip("."), int(number))
            os.write(write, json.dumps(seen).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(write)
    timer = threading.Timer(float(seconds) or 1e6, os.kill, (child, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    timer.cancel()
    touches = json.loads(os.read(read, 4096) or b"{}")
    os.close(read)
    return json.dumps([status, touches, time.monotonic() - begun])


def run_session(method, directory, place, number):
    """Trains and evaluates; kills itself at the n-th touch of a place, or before the n-th batch."""
    seen = Counter()

    def touch(where):
        seen[where] += 1
        if where == place and seen[where] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def look(event, arguments):
        if event not in TOUCHES or not isinstance(arguments[0], str | bytes):
            return
        path = os.fsdecode(arguments[0])
        if directory in path:
            for where in PLACES:
                if where in path.removeprefix(directory):
                    touch(where)

    def batches(run, start):
        for batch in device_batches(run, start):
            touch("batch")
            yield batch

    sys.addaudithook(look)
    models.MODELS["speck"] = speck.ARCHITECTURE
    no_drawer()
    report.write = lambda directory: None  # it reads what is compared here, and takes longer
    loop.device_batches = batches
    train_and_evaluate(small(method), directory)
    return seen


class Sessions:
    """Runs sessions, one at a time, in processes that imported everything already."""

    def __init__(self, folder):
        self._log = folder / "log"
        own = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI"))}
        settings = {
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONWARNINGS": "ignore:os.fork",
        }
        with self._log.open("w") as log:
            self._program = subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                cwd=REPOSITORY,
                env=own | settings,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def run(self, method, directory, place="", number=0, *, seconds=0.0):
        """Returns whether the session came through, its touches by place, and its seconds."""
        self._program.stdin.write(f"{method} {directory} .{place} {number} {seconds}\n")
        self._program.stdin.flush()
        status, touches, took = json.loads(self._program.stdout.readline() or '["died", {}, 0]')
        assert status in (0, -signal.SIGKILL), self._log.read_text()[-4000:]
        return status == 0, touches, took

    def close(self):
        self._program.stdin.close()
        self._program.wait(timeout=60)


@pytest.fixture
def sessions(tmp_path):
    with contextlib.closing(Sessions(tmp_path)) as sessions:
        yield sessions


def small(method):
    c = defaults()
    c.method, c.model.name, c.model.norm = method, "speck", "dubin" if method == "augmax" else "bn"
    c.data.name, c.data.holdout, c.data.image_size = "digits", 0.1, 8
    c.augment.width, c.augment.operators, c.adversary.steps = 1, "solarize", 2
    c.batch_size, c.eval_batch_size, c.log_every, c.max_steps = 16, 360, 3, 8
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


def test_three_kills_change_nothing(tmp_path, sessions):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    came_through, touches, _ = sessions.run("normal", unbroken)
    assert came_through
    assert touches["batch"] == 8
    # Within the write of a checkpoint, between two checkpoints, and between the evaluation's parts.
    for place, number in (
        ("checkpoints", touches["checkpoints"] // 3),
        ("batch", 4),
        ("evaluation", touches["evaluation"] // 2),
    ):
        came_through, _, _ = sessions.run("normal", broken, place, number)
        assert not came_through
    assert sessions.run("normal", broken)[0]
    assert_same_run("normal", broken, unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["normal", "augmax"])
def test_25_kills_at_random_moments_change_nothing(tmp_path, sessions, method):
    chance = random.Random(0)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert sessions.run(method, unbroken)[0]
    # All is compiled now: what a session touches, and how long it takes.
    _, touches, took = sessions.run(method, tmp_path / "again")
    killed: Counter[str] = Counter()
    while killed.total() < 25:
        place = chance.choice((*PLACES, "batch", "time"))
        if place == "time":
            came_through, *_ = sessions.run(method, broken, seconds=chance.uniform(0, took))
        else:
            number = chance.randint(1, touches[place])
            came_through, *_ = sessions.run(method, broken, place, number)
        killed[place] += not came_through
        if came_through:  # it is compared, and begun anew
            assert_same_run(method, broken, unbroken)
            broken.rename(tmp_path / f"whole-{len(list(tmp_path.iterdir()))}")
    sessions.run(method, broken)
    assert_same_run(method, broken, unbroken)
    print(f"{method}: {dict(killed)}")
    assert killed["checkpoints"] >= 3
    assert killed["evaluation"] >= 1


def test_tensorboard_has_each_step_once_after_kills(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small("normal")
    config.tensorboard, config.evaluate.benchmarks = True, ()
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
    for name in ("accuracy", "loss"):
        assert sorted(steps[f"eval/holdout_{name}"]) == [2, 4, 6, 8]
    assert all(len(found) == len(set(found)) for found in steps.values())
    rows = [row["step"] for row in read_history(tmp_path / "run") if row["kind"] == "train"]
    assert rows == sorted(steps["train/loss"])
    assert number_of_hparams(tmp_path / "run") == 1


def number_of_hparams(directory):
    """Events in all of TensorBoard's files that hold a run's settings."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    events = (
        e for path in directory.rglob("*tfevents*") for e in EventFileLoader(str(path)).Load()
    )
    tags = [value.tag for event in events for value in event.summary.value]
    return tags.count("_hparams_/session_start_info")
