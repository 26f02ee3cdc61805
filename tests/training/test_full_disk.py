"""A full disk: a real small file system, on which the run stops, and goes on after room is made."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from augmax_jax.config import defaults
from augmax_jax.runtime import files, lock
from augmax_jax.runtime.run_directory import read_history
from augmax_jax.training.checkpoints import Checkpoints, read_variables
from augmax_jax.training.tensorboard import write_hparams

REPOSITORY = Path(__file__).parent.parent.parent
STATE = {"params": {"w": np.arange(60_000, dtype=np.float32)}, "statistics": {"s": np.zeros(2)}}
SIZE = 4_000_000


class Disk:
    """A small file system."""

    def __init__(self, path):
        self.path = path
        self._filling = path / "filling"

    def fill(self, leaving):
        """Takes all room but some bytes."""
        self.make_room()
        with self._filling.open("wb") as file:
            room = os.statvfs(self.path)
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leaving)

    def make_room(self):
        self._filling.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no command `mount` here")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def newest(directory):
    with contextlib.closing(Checkpoints(directory)) as checkpoints:
        return checkpoints.restore("latest", STATE)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_it(disk):
    checkpoints = Checkpoints(disk.path)
    checkpoints.save("latest", 1, STATE, {})
    for leaving in (0, 20_000, 150_000):
        disk.fill(leaving)
        for step in (1, 2):  # in place of the one that is there, and beside it
            with pytest.raises(OSError, match=r"step . could not be written .*Free space there"):
                checkpoints.save("latest", step, STATE, {"other": step})
            found, state, record = checkpoints.restore("latest", STATE)
            assert (found, record) == (1, {})
            jax.tree.map(np.testing.assert_array_equal, state, STATE)
    checkpoints.close()
    disk.make_room()
    checkpoints = Checkpoints(disk.path)
    checkpoints.save("latest", 2, STATE, {"other": 2})
    checkpoints.close()
    assert newest(disk.path)[::2] == (2, {"other": 2})
    left = {path.name for path in (disk.path / "checkpoints").glob("*/*")}
    assert left == {"1", "2"}


def test_files_that_do_not_fit_are_named_and_stay_as_they_were(disk):
    path = disk.path / "results.json"
    files.write_json(path, {"a": 1})
    disk.fill(leaving=0)
    for write in (
        lambda: files.write_json(path, {"a": "b" * 100_000}),
        lambda: files.write_text(path, "b" * 100_000),
        lambda: files.write_atomically(path, lambda partial: partial.write_bytes(b"b" * 100_000)),
    ):
        with pytest.raises(OSError, match=r"No space left on device.*") as raised:
            write()
        assert str(path) in str(raised.value)
    assert files.read_json(path) == {"a": 1}
    with lock.held(disk.path / ".lock"):
        assert sorted(p.name for p in disk.path.iterdir()) == [".lock", "filling", "results.json"]


def test_logs_of_tensorflow_that_do_not_fit_are_named(disk):
    pytest.importorskip("tensorflow")
    disk.fill(leaving=0)
    with pytest.raises(OSError, match=r"cannot write TensorBoard logs to .*Free some space"):
        write_hparams(disk.path, defaults(), {"accuracy": 1.0})


def command(directory, steps, cache):
    """The real command; it saves every two steps."""
    return subprocess.run(
        [
            sys.executable, "-m", "augmax_jax.main", "--config=configs/digits.py",
            "--config.method=normal", "--config.model.name=tiny", "--config.data.image_size=8",
            "--config.batch_size=16", f"--config.max_steps={steps}", "--config.log_every=1",
            "--config.num_devices=1", "--config.eval_batch_size=512",
            "--config.checkpoint.every_epochs=0.025", "--config.eval_every_epochs=0.025",
            "--config.pictures_every_epochs=0", "--config.evaluate.benchmarks=spatial",
            "--config.evaluate.baseline=", f"--workdir={directory}",
        ],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def figures(directory):
    results = json.loads((directory / "results.json").read_text())
    return results["clean"], results["benchmarks"]


@pytest.mark.slow
def test_a_run_stops_on_a_full_disk_and_goes_on_after_room_is_made(disk, tmp_path):
    run, cache = disk.path / "run", tmp_path / "cache"
    done = command(run, 4, cache)
    assert done.returncode == 0, done.stderr
    before = read_variables(run, "latest")
    said = []
    for leaving in (0, 8_000, 40_000, 150_000):  # no room for a row; for the files; a checkpoint
        disk.fill(leaving)
        done = command(run, 10, cache)
        assert done.returncode == 1, (leaving, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert re.search(r"No space left on device|RESOURCE_EXHAUSTED", lines[0])
        assert re.search(r"[Ff]ree (some )?space", lines[0])
        assert str(run) in lines[0]
        said.append(lines[0])
        disk.make_room()
        jax.tree.map(np.testing.assert_array_equal, read_variables(run, "latest"), before)
        rows = [row for row in read_history(run) if row["kind"] == "train"]
        assert [row["step"] for row in rows[:4]] == [1, 2, 3, 4]
        assert figures(run)
    assert any("checkpoint of step" in line for line in said)
    done = command(run, 10, cache)
    assert done.returncode == 0, done.stderr
    rows = [row["step"] for row in read_history(run) if row["kind"] == "train"]
    assert rows == list(range(1, 11))
    assert command(tmp_path / "roomy", 10, cache).returncode == 0
    jax.tree.map(
        np.testing.assert_array_equal,
        read_variables(run, "latest"),
        read_variables(tmp_path / "roomy", "latest"),
    )
    assert figures(run) == figures(tmp_path / "roomy")
