"""Checkpoints and records that are damaged, cut off or replaced: nothing whole is lost."""

import errno
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from augmax_jax.config import defaults
from augmax_jax.runtime import files
from augmax_jax.runtime.run_directory import read_history
from augmax_jax.training import workdir
from augmax_jax.training.checkpoints import Checkpoints, read_variables
from augmax_jax.training.telemetry import Telemetry


def state_of(step):
    w = np.random.default_rng(step).normal(size=(32, 33)).astype(np.float32)
    return {"params": {"w": w}, "statistics": {"s": {"mean": np.float32([step])}}}


def save(directory, kind, *steps):
    checkpoints = Checkpoints(directory)
    for step in steps:
        checkpoints.save(kind, step, state_of(step), {"step": step})
    checkpoints.close()


def restore(directory, kind="latest"):
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.restore(kind, state_of(0))
    finally:
        checkpoints.close()


def assert_is(restored, step):
    found, state, record = restored
    assert (found, record) == (step, {"step": step})
    jax.tree.map(np.testing.assert_array_equal, state, state_of(step))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with two latest checkpoints and one best."""
    directory = tmp_path_factory.mktemp("saved")
    save(directory, "latest", 1, 2)
    save(directory, "best", 2)
    return directory


def flip_one_bit(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


DAMAGES = {
    "one bit": flip_one_bit,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": Path.unlink,
    "flipped": lambda path: path.write_bytes(bytes(255 - byte for byte in path.read_bytes())),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["latest", "best"])
def test_each_damaged_file_is_passed_over_or_does_no_harm(saved, tmp_path, kind, damage):
    """Each file of the newest checkpoint in turn: what is restored is always whole."""
    names = sorted(
        path.relative_to(saved)
        for path in (saved / "checkpoints" / kind / "2").rglob("*")
        if path.is_file()
    )
    assert len(names) > 5
    passed_over = set()
    for number, name in enumerate(names):
        directory = tmp_path / str(number)
        shutil.copytree(saved, directory)
        DAMAGES[damage](directory / name)
        error = None
        try:
            found = restore(directory, kind)
        except ValueError as raised:  # there is one best checkpoint
            error = str(raised)
        if error is not None:
            assert kind == "best"
            assert f"{kind}/2" in error
            assert "no checkpoint can be read" in error
            passed_over.add(name)
            jax.tree.map(
                np.testing.assert_array_equal,
                read_variables(directory, kind)["params"],
                state_of(2)["params"],
            )
            continue
        assert_is(found, found[0])
        if found[0] == 1:
            passed_over.add(name)
    assert any("state" in name.parts for name in passed_over)
    assert any("record" in name.parts for name in passed_over)


class Killed(BaseException):
    """Ends the process's work as a SIGKILL does: nobody handles it."""


@pytest.mark.parametrize("failure", [Killed(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_checkpoint_is_there_until_its_replacement_is_whole(tmp_path, monkeypatch, failure):
    save(tmp_path, "best", 2)
    checkpoints = Checkpoints(tmp_path)

    def fail(*args, **kwargs):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.CheckpointManager.save", fail)  # the last before the disk
        with pytest.raises(Killed if isinstance(failure, Killed) else OSError):
            checkpoints.save("best", 2, state_of(9), {})
    if not isinstance(failure, Killed):  # the command goes on: no new start is needed
        assert_is(checkpoints.restore("best", state_of(0)), 2)
    assert_is(restore(tmp_path, "best"), 2)
    save(tmp_path, "best", 2)
    assert [path.name for path in (tmp_path / "checkpoints").glob("*/*")] == ["2"]


def test_what_killed_processes_left_half_written_is_removed(tmp_path):
    save(tmp_path, "latest", 1)
    half = tmp_path / "checkpoints" / "latest" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "checkpoints" / "latest" / "1", half)
    save(tmp_path, "latest", 3)
    assert not half.exists()
    assert_is(restore(tmp_path), 3)


def test_half_a_line_of_the_history_is_mended(tmp_path):
    def log(start):
        return Telemetry(
            tmp_path, total_steps=9, examples_per_epoch=9, batch_size=1, start_step=start,
            tensorboard=False, progress=False,
        )  # fmt: skip

    with log(0) as telemetry:
        for step in (1, 2, 3):
            telemetry.scalars(step, "train", {"loss": float(step)})
    whole = (tmp_path / "history.jsonl").read_bytes()
    for cut in range(len(whole) - 30, len(whole)):
        (tmp_path / "history.jsonl").write_bytes(whole[:cut])
        with log(2) as telemetry:
            telemetry.scalars(3, "train", {"loss": 3.0})
        assert [row["step"] for row in read_history(tmp_path)] == [1, 2, 3]
        lines = (tmp_path / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["loss"] for line in lines] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("contents", [b"", b'{"seed": 0', b"\xff\xfe\0", b"[1]", b"null", b"3"])
def test_a_damaged_config_is_named(tmp_path, contents):
    (tmp_path / "config.json").write_bytes(contents)
    for use in (workdir.read_config, lambda path: workdir.check(defaults(), path)):
        if contents == b"null" and use is not workdir.read_config:
            continue
        with pytest.raises((ValueError, FileNotFoundError), match=r"config\.json"):
            use(tmp_path)


@pytest.mark.parametrize("contents", [b"", b'{"clean": ', b"\xff\xfe\0"])
def test_damaged_results_are_named(tmp_path, contents):
    (tmp_path / "results.json").write_bytes(contents)
    with pytest.raises(ValueError, match=r"results\.json is damaged .*remove it or restore it"):
        files.read_json(tmp_path / "results.json", numbers=True)
