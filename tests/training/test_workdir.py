"""Nothing is claimed until something is kept: failed starts leave a directory free."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.config import defaults
from augmax_jax.pytorch import importing
from augmax_jax.runtime import lock
from augmax_jax.runtime.run_directory import LOCK, read_history
from augmax_jax.training import workdir
from augmax_jax.training.checkpoints import Checkpoints, read_variables
from augmax_jax.training.commands import (
    evaluate_workdir,
    train_and_evaluate,
    use_compilation_cache,
)

pytestmark = pytest.mark.usefixtures("speck")

REPOSITORY = Path(__file__).parent.parent.parent
STATE = {"params": {"w": np.ones(2, np.float32)}, "statistics": {"s": np.zeros(1, np.float32)}}


def small(**changes):
    """A config whose step compiles and runs in seconds."""
    c = defaults()
    c.method, c.model.name, c.model.norm = "normal", "speck", "bn"
    c.data.name, c.data.holdout, c.data.image_size = "digits", 0.0, 16
    c.select_on = "test"
    c.batch_size, c.num_devices, c.eval_batch_size = 16, 1, 512
    c.max_steps = 2
    c.pictures_every_epochs = 0.0
    c.progress = c.tensorboard = False
    c.compilation_cache = ""
    c.update_from_flattened_dict({name.replace("__", "."): x for name, x in changes.items()})
    return c


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing what AugMax finds takes longer than the training here."""
    monkeypatch.setattr(
        "augmax_jax.training.augmentation_pictures.make_drawer",
        lambda run, directory: lambda step, state: np.zeros((4, 4, 3), np.uint8),
    )


def imported(directory, **info):
    variables = jax.jit(models.create("speck", 10, norm="bn").init)(
        jax.random.key(5), np.zeros((1, 16, 16, 3), np.float32)
    )
    settings = {
        "model": "speck", "num_classes": 10, "norm": "bn", "options": {}, "mean": None, "std": None,
    }  # fmt: skip
    importing.save_imported(directory, variables, settings | info)


@pytest.mark.parametrize("kept", ["nothing", "half a checkpoint", "latest", "best", "results"])
def test_a_directory_is_taken_by_what_is_kept(tmp_path, kept):
    workdir.claim(small(), tmp_path)
    other = small(seed=1)
    if kept in ("latest", "best"):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(kept, 1, STATE, {})
        checkpoints.close()
    elif kept == "results":
        (tmp_path / "results.json").write_text("{}")
    elif kept == "half a checkpoint":
        (tmp_path / "checkpoints" / "latest" / "1.orbax-checkpoint-tmp-7").mkdir(parents=True)
    if kept in ("nothing", "half a checkpoint"):
        workdir.claim(other, tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1
        return
    with pytest.raises(ValueError, match=r"another config(.|\n)*seed: 0 -> 1"):
        workdir.claim(other, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    workdir.claim(small(max_steps=9), tmp_path)  # changes nothing that was computed
    workdir.claim(small(seed=1, allow_config_change=True), tmp_path)


def test_a_failed_start_leaves_the_directory_to_the_corrected_one(tmp_path):
    directory = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match=r"there is no directory .*typo"):
        train_and_evaluate(small(init_from=str(tmp_path / "typo")), directory)
    assert not (directory / "config.json").exists()
    train_and_evaluate(small(), directory)
    # A wrong start of a run that is there changes nothing, even where it is let through.
    wrong = small(model__norm="dubin", allow_config_change=True, max_steps=4)
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        train_and_evaluate(wrong, directory)
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        evaluate_workdir(wrong, directory)
    before = [path.name for path in directory.iterdir()]
    train_and_evaluate(small(max_steps=3), directory)
    rows = [row for row in read_history(directory) if row["kind"] == "benchmark"]
    assert len(rows) == 1
    assert (rows[0]["step"], rows[0]["clean/count"]) == (3, 359)
    assert LOCK not in before


def test_a_failed_evaluation_leaves_an_import_to_the_corrected_one(tmp_path):
    imported(tmp_path / "import")
    with pytest.raises(ValueError, match="another network"):
        evaluate_workdir(small(model__norm="dubin"), tmp_path / "import")
    results = evaluate_workdir(small(), tmp_path / "import")
    assert results["clean"]["last"]["count"] == 359
    with pytest.raises(ValueError, match=r"seed: 0 -> 1"):
        evaluate_workdir(small(seed=1), tmp_path / "import")
    (row,) = read_history(tmp_path / "import")
    assert row["clean/accuracy"] == results["clean"]["last"]["accuracy"]


def test_a_directory_in_use_is_refused(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    with lock.held(directory / LOCK), pytest.raises(lock.InUse, match=f"process {os.getpid()} on"):
        train_and_evaluate(small(), directory)
    assert not (directory / "config.json").exists()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("run [1]", "checkpoints below such a path cannot be read"),
        ("s3://bucket/run", "is not a path on this machine"),
        ("file/run", "cannot be made or written"),
    ],
)
@pytest.mark.parametrize("command", [train_and_evaluate, evaluate_workdir])
def test_a_place_that_cannot_keep_checkpoints_is_refused(
    tmp_path, monkeypatch, command, place, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises((ValueError, OSError), match=message):
        command(small(), place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_home_directory_is_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", "~/runs")
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    imported("~/import")
    assert evaluate_workdir(small(), "~/import")["clean"]["last"]["count"] == 359
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save("latest", 1, STATE, {})
    checkpoints.close()
    assert read_variables(Path("~/run"))["params"]["w"].tolist() == [1, 1]
    assert not list((tmp_path / "home").iterdir())


def test_variables_are_read_from_a_directory_without_writing_there(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("latest", 1, STATE, {})
    checkpoints.close()
    (tmp_path / "checkpoints" / "best").rmdir()
    before = sorted(tmp_path.rglob("*"))
    read_variables(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("setting", ["usual", "own"])
def test_the_users_compilation_cache_stays(tmp_path, monkeypatch, setting):
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = jax.config.jax_compilation_cache_dir
    config = small()
    config.compilation_cache = (
        defaults().compilation_cache if setting == "usual" else str(tmp_path / "own")
    )
    try:
        use_compilation_cache(config)
        used = jax.config.jax_compilation_cache_dir
    finally:
        jax.config.update("jax_compilation_cache_dir", mine)
    assert used == (mine if setting == "usual" else str(tmp_path / "own"))
    assert (tmp_path / ".cache").exists() is False


COMMAND = [
    sys.executable, "-m", "augmax_jax.main", "--config=configs/digits.py",
    "--config.method=normal", "--config.model.name=tiny", "--config.data.image_size=16",
    "--config.batch_size=16", "--config.tensorboard=False", "--config.pictures_every_epochs=0",
    "--config.evaluate.benchmarks=()", "--config.evaluate.baseline=", "--config.log_every=1",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_command_says_by_what(tmp_path, number, status):
    process = subprocess.Popen([*COMMAND, f"--workdir={tmp_path}"], cwd=REPOSITORY)

    def interrupt():
        while not read_history(tmp_path):
            time.sleep(0.1)
        process.send_signal(number)

    threading.Thread(target=interrupt, daemon=True).start()
    assert process.wait(timeout=300) == status
    assert list((tmp_path / "checkpoints" / "latest").iterdir())
    assert not (tmp_path / LOCK).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_ENABLE_X64": "1"},
        {"JAX_DEBUG_NANS": "1"},
        {"HOME": "/proc/nope"},
        {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_the_environment_is_the_users(tmp_path, environment):
    results = []
    usual = {**os.environ, "MPLCONFIGDIR": str(tmp_path), "HOME": str(tmp_path)}
    for place, changed in (("usual", {}), ("changed", environment)):
        arguments = [f"--workdir={tmp_path / place}", "--config.max_steps=2", "--config.seed=3"]
        done = subprocess.run(
            [*COMMAND, *arguments, "--config.num_devices=1"],
            cwd=REPOSITORY,
            env=usual | changed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        results.append(json.loads((tmp_path / place / "results.json").read_text())["clean"])
    # With other threads XLA rounds otherwise.
    tolerance = 1e-6 if "XLA_FLAGS" in environment else 0
    for usually, now in zip(results[0].values(), results[1].values(), strict=True):
        assert now.keys() == usually.keys()
        for name, value in usually.items():
            if isinstance(value, float):
                assert math.isclose(now[name], value, rel_tol=tolerance), name
            else:
                assert now[name] == value, name
