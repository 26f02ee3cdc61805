"""Two processes of two devices do what one process of four does."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.runtime.run_directory import LOCK, RESULTS, has_checkpoints, read_history
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.commands import train_and_evaluate
from augmax_jax.training.loop import train
from augmax_jax.training.run import build
from tests.training import pair

REPOSITORY = Path(__file__).parent.parent.parent
TOLERANCE = 1e-5
DRAWER = "augmax_jax.training.augmentation_pictures.make_drawer"


def no_drawer(run, directory):
    """Draws nothing, as drawing takes longer than the training here."""
    return lambda step, state: np.zeros((4, 4, 3), np.uint8)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(arguments, *, stderr, **environment):
    """Starts a program of the repository with no cluster in its environment."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI", "JAX_"))}
    settings = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "PYTHONPATH": str(REPOSITORY),
    }
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=REPOSITORY,
        env=own | settings | environment,
        stdout=stderr,
        stderr=subprocess.STDOUT,
    )


def wait_for_all(processes, logs, timeout):
    """Waits for processes; if one fails, all logs are in the error."""
    try:
        statuses = [process.wait(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert statuses == [0] * len(statuses), "\n".join(log.read_text() for log in logs)


def run_pair(directory, *methods):
    """Runs the pair, which leaves what it finds in the directory."""
    port, logs = free_port(), [directory / f"log{i}" for i in range(pair.PROCESSES)]
    processes = []
    for i, log in enumerate(logs):
        with log.open("w") as file:
            program = ["-m", "tests.training.pair"]
            processes.append(start([*program, i, port, directory, *methods], stderr=file))
    wait_for_all(processes, logs, timeout=1800)


def found_in(directory):
    return [json.loads((directory / f"found{i}.json").read_text()) for i in range(pair.PROCESSES)]


@pytest.fixture(scope="module", autouse=True)
def network():
    """The pair's network has its name here too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, architecture in pair.NETWORK.items():
            patch.setitem(models.MODELS, name, architecture)
        yield


@pytest.fixture(scope="module")
def alone(network, tmp_path_factory):
    """Where one process of four devices, and then the pair, left what they found.

    pytest's workers share what the first of them finds.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = base / "several_processes"
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (directory / "done").exists():
            run_alone(directory)
            run_pair(directory)
            (directory / "done").touch()
    return directory


def run_alone(directory):
    """A run of one process, and the beginning of one that the pair is to go on with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DRAWER, no_drawer)
        checkpoints = Checkpoints(directory / "from_one")
        train(build(pair.small(max_steps=2)), directory / "from_one", checkpoints)
        checkpoints.close()
        train_and_evaluate(pair.small(), directory / "unbroken")


@pytest.fixture(scope="module")
def found(alone):
    """What each process of the pair found."""
    return found_in(alone)


def last_state(directory, config=None):
    run = build(config or pair.small())
    checkpoints = Checkpoints(directory)
    step, state, record = checkpoints.restore("latest", run.initial_state())
    checkpoints.close()
    return step, state, record


def assert_close(a, b):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE), a, b
    )


def test_a_sum_over_devices_is_over_those_of_all_processes(found):
    assert [each["sum"] for each in found] == [[10.0, 10.0]] * 2


def test_processes_tell_each_other_values(found):
    said = [{"process": 0, "text": "é"}, {"process": 1, "text": "é" * 41}]
    assert [each["everyone"] for each in found] == [said] * 2
    assert [each["from_writer"] for each in found] == [[0, None]] * 2
    sent = {"a": np.float32([-0.0, np.nan, 0]), "b": np.int32(0)}
    assert [each["same_arrays"] for each in found] == [pair.checksum(sent)] * 2


def test_what_fails_in_one_process_fails_in_all(found):
    kind, message = found[0]["together"]
    assert kind == "OtherProcessFailed"
    assert message == f"process 1 on host {socket.gethostname()}: mine alone"
    assert found[1]["together"] == ["ValueError", "mine alone"]
    for each in found:
        assert (
            "num_devices is 3, but the 2 processes have 2 cpu device(s) each"
            in (each["devices"][1])
        )


def test_processes_of_different_settings_are_refused(found):
    assert "differs from that of process 0:\n  seed: 0 -> 1" in found[1]["config"][1]
    assert "seed: 0 -> 1" in found[0]["config"][1]
    assert all(each["untouched"] for each in found)


def check_steps(found, directory, name, config):
    """Compares the steps of the pair with those of one process."""
    losses, _, params = pair.train_steps(build(config), 3)
    sums = [each[name]["sums"] for each in found]
    assert sums[0] == sums[1]  # the state is equal in both after every step
    assert len(set(sums[0])) == 3
    for each in found:
        np.testing.assert_allclose(each[name]["losses"], losses, rtol=TOLERANCE)
    with np.load(directory / f"{name}.npz") as kept:
        assert_close(list(kept.values()), jax.tree.leaves(params))


@pytest.mark.parametrize(("name", "synchronised"), [("synchronised", True), ("own", False)])
def test_steps_are_those_of_one_process(found, alone, name, synchronised):
    check_steps(found, alone, name, pair.small(sync_batch_norm=synchronised))


@pytest.mark.slow
def test_methods_with_a_state_or_an_attack_are_those_of_one_process(tmp_path):
    run_pair(tmp_path, *pair.METHODS)
    found = found_in(tmp_path)
    for name, changes in pair.METHODS.items():
        check_steps(found, tmp_path, name, pair.small(method=name, **changes))


@pytest.mark.slow
def test_corruptions_and_a_baseline_are_those_of_one_process(tmp_path):
    expected = train_and_evaluate(pair.measured(tmp_path), tmp_path / "alone")
    run_pair(tmp_path, "corrupted")
    found = found_in(tmp_path)
    assert found[0]["benchmarks"] == found[1]["benchmarks"]
    scores, others = found[0]["benchmarks"]["corrupted"], expected["benchmarks"]["corrupted"]
    assert scores["accuracy"] == others["accuracy"]
    assert scores["mce"] == pytest.approx(1)  # the baseline is the same network


def test_every_example_comes_once_an_epoch(found):
    images, _ = build(pair.small()).data.train.arrays()
    expected = Counter(str(pair.checksum(image)) for image in images)
    assert Counter(found[0]["shown"]) + Counter(found[1]["shown"]) == expected
    assert all(sum(each["shown"].values()) >= len(images) // 2 - 8 for each in found)


def test_a_run_of_one_process_goes_on_with_two(found, alone):
    step, state, _ = last_state(alone / "from_one")
    _, expected, _ = last_state(alone / "unbroken")
    assert step == state.step == pair.STEPS
    assert_close(state, expected)
    rows, others = (
        [row for row in read_history(alone / name) if row["kind"] == "train"]
        for name in ("from_one", "unbroken")
    )
    assert [row["step"] for row in rows] == list(range(1, pair.STEPS + 1))
    np.testing.assert_allclose(
        [row["loss"] for row in rows], [row["loss"] for row in others], rtol=TOLERANCE
    )


def test_every_test_image_is_evaluated_once(found, alone):
    assert found[0]["results"] == found[1]["results"]
    results = json.loads((alone / "from_one" / RESULTS).read_text())
    expected = json.loads((alone / "unbroken" / RESULTS).read_text())
    for mine, others in (
        (results["clean"]["last"], expected["clean"]["last"]),
        (results["benchmarks"]["spatial"], expected["benchmarks"]["spatial"]),
    ):
        assert mine["count"] == others["count"] == 359  # a multiple of neither processes nor batch
        assert mine["accuracy"] == others["accuracy"]
        assert mine["loss"] == pytest.approx(others["loss"], rel=TOLERANCE)
    assert results["test_set"] == expected["test_set"]


def test_one_process_writes(found, alone):
    directory = alone / "from_one"
    for name in ("config.json", "model.json", "history.jsonl", "report.html"):
        assert (directory / name).stat().st_size > 0
    assert not (directory / LOCK).exists()
    assert len(list((directory / "pictures").glob("augmentations_*.png"))) == 1
    assert [path.name for path in directory.glob(".hosts*")] == []
    sessions = json.loads((directory / "model.json").read_text())["provenance"]["sessions"]
    assert sessions[-1]["device"].startswith("4 x ")
    assert [(alone / f"log{i}").read_text().count("Report:") for i in (0, 1)] == [1, 0]
    # Orbax lets all processes write checkpoints, and each keeps its share of a batch.
    parts = [{tuple(Path(name).parts[:2]) for name in each["wrote"]} for each in found]
    assert ("from_one", RESULTS) in parts[0]
    runs = ("from_one", "to_one", "diverged")
    assert parts[1] <= {(run, kind) for run in runs for kind in ("checkpoints", "nonfinite")}


def test_mistakes_are_those_of_all_processes(found, alone, tmp_path):
    pair.write_mistakes(tmp_path, pair.SHARES)
    name = "mistakes_a-c.json"
    expected = json.loads((tmp_path / name).read_text())
    assert len(expected) == 3
    assert json.loads((alone / "pictures" / name).read_text()) == expected


def test_a_signal_to_one_process_stops_all_after_the_same_step(found, alone, monkeypatch):
    assert [each["stopped"] for each in found] == [["Stopped", "stopped by SIGTERM"]] * 2
    stopped_at = found[0]["stopped_at"]
    assert found[1]["stopped_at"] == stopped_at
    assert 3 <= stopped_at < pair.STEPS
    # One process goes on.
    monkeypatch.setattr(DRAWER, no_drawer)
    checkpoints = Checkpoints(alone / "to_one")
    train(build(pair.small()), alone / "to_one", checkpoints)
    checkpoints.close()
    _, state, _ = last_state(alone / "to_one")
    assert_close(state, last_state(alone / "unbroken")[1])


def test_all_processes_stop_at_a_loss_that_is_not_finite(found, alone):
    assert found[0]["diverged"] == found[1]["diverged"]
    kind, message = found[0]["diverged"]
    assert kind == "TrainingDiverged"
    assert message.startswith("the loss became nan at step 1.")
    assert not list((alone / "diverged" / "checkpoints" / "latest").iterdir())


ONE_AFTER_ANOTHER = """
import sys
from pathlib import Path
from tests.training import pair
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.loop import train
from augmax_jax.training.run import build
from augmax_jax import models
models.MODELS.update(pair.NETWORK)
for directory, sessions in (("changing", (4, 1, 2, 8)), ("one", (1,))):
    for i, devices in enumerate(sessions, 1):
        steps = pair.STEPS * i // len(sessions)
        kept = Checkpoints(Path(sys.argv[1], directory))
        config = pair.small(num_devices=devices, max_steps=steps)
        train(build(config), Path(sys.argv[1], directory), kept)
        kept.close()
"""


@pytest.mark.slow
def test_the_number_of_devices_changes_between_sessions(tmp_path):
    with (tmp_path / "log").open("w") as file:
        process = start(["-c", ONE_AFTER_ANOTHER, tmp_path], stderr=file, JAX_NUM_CPU_DEVICES="8")
    wait_for_all([process], [tmp_path / "log"], timeout=900)
    (step, changing, _), (_, one, _) = (last_state(tmp_path / n) for n in ("changing", "one"))
    assert step == pair.STEPS
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4), changing, one)
    sessions = json.loads((tmp_path / "changing" / "model.json").read_text())["provenance"]
    devices = [session["device"].partition(" x ")[0] for session in sessions["sessions"]]
    assert devices == ["4", "1", "2", "8"]


COMMAND = ["-m", "augmax_jax.main", "--config=tests/training/small_config.py"]
PLACE = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "processes": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
}


def start_commands(directory, *arguments, last=(), flags=False):
    """Starts the command in two processes, placed by their environment or by flags."""
    port, logs, processes = free_port(), [directory / f"log{i}" for i in (0, 1)], []
    for i, log in enumerate(logs):
        place = {"coordinator": f"127.0.0.1:{port}", "processes": "2", "process": str(i)}
        command = [*COMMAND, f"--workdir={directory / 'run'}", *arguments, *last[i : i + 1]]
        environment = {"JAX_NUM_CPU_DEVICES": "2"}
        if flags:
            command += [f"--config.distributed.{name}={value}" for name, value in place.items()]
        else:
            environment |= {PLACE[name]: value for name, value in place.items()}
        with log.open("w") as file:
            processes.append(start(command, stderr=file, **environment))
    return processes, logs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "number"),
    [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)],  # or its host is out of reach
)
def test_a_lost_process_ends_the_others_and_the_command_goes_on(tmp_path, killed, number):
    often = "--config.checkpoint.every_epochs=0.05"
    processes, logs = start_commands(tmp_path, often)
    try:
        while not has_checkpoints(tmp_path / "run"):
            assert all(process.poll() is None for process in processes), logs[0].read_text()
            time.sleep(0.2)
        processes[killed].send_signal(number)
        assert processes[1 - killed].wait(timeout=60) != 0
    finally:
        for process in processes:
            process.kill()
    said = logs[1 - killed].read_text()
    # Which comes first, the broken connection or the missing sign of life, is by chance.
    assert "connection to another process broke" in said or "another task died" in said
    if killed == 1:  # process 0 holds what the others know of each other
        assert "process(es) 1 of 2 do not answer" in said or "stopped sending heartbeats" in said
    before = max(row["step"] for row in read_history(tmp_path / "run"))
    processes, logs = start_commands(tmp_path, often, f"--config.max_steps={before + 4}")
    wait_for_all(processes, logs, timeout=600)
    assert "going on from the checkpoint of step" in logs[0].read_text()
    assert json.loads((tmp_path / "run" / RESULTS).read_text())["steps"] == before + 4


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others_with_its_reason(tmp_path):
    processes, logs = start_commands(
        tmp_path, "--config.max_steps=2", last=["--config.seed=0", "--config.seed=1"], flags=True
    )
    statuses = [process.wait(timeout=300) for process in processes]
    assert statuses == [1, 1]
    for log in logs:
        said = log.read_text()
        assert "seed: 0 -> 1" in said
        assert "Traceback" not in said
        assert "Check failure" not in said  # JAX did not abort


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_stops_all_and_says_by_what(tmp_path, number):
    processes, logs = start_commands(tmp_path)
    try:
        while not read_history(tmp_path / "run"):
            assert all(process.poll() is None for process in processes), logs[0].read_text()
            time.sleep(0.2)
        processes[1].send_signal(number)
        statuses = [process.wait(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert statuses == [128 + number] * 2
    assert len(list((tmp_path / "run" / "checkpoints").glob("latest/[0-9]*"))) == 1
