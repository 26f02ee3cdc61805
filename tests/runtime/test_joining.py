"""How a process finds its place among those of a run; two real ones meet in tests/training."""

import importlib.util
from pathlib import Path

import jax
import pytest

from augmax_jax.config import defaults
from augmax_jax.runtime import joining

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NODELIST": "node[1-4]",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
}
BY_HAND = {
    "JAX_COORDINATOR_ADDRESS": "10.0.0.1:9876",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "2",
}


ON_TPU = {"JAX_PLATFORMS": "tpu", "TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}


@pytest.fixture
def tpu(monkeypatch):
    """A machine with a TPU's chips and its library."""
    monkeypatch.setattr(Path, "glob", lambda path, name: iter([path / name]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "libtpu")


@pytest.fixture
def asked(monkeypatch):
    """What `jax.distributed` is asked for, in an environment without a cluster."""
    for name in (*SLURM, *OPEN_MPI, *BY_HAND, "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: calls.append((a, k)))
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    return calls


def settings(**changes):
    place = defaults().distributed
    for name, value in changes.items():
        place[name] = value
    return place


def test_a_command_alone_asks_for_nothing(asked, monkeypatch):
    assert joining.connect(settings()) is False
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node1")
    joining.connect(settings(coordinator="localhost:1", processes=1, process=0))
    joining.connect(settings(processes=1))
    with joining.session(settings()) as speaks:
        assert speaks
    assert asked == []


@pytest.mark.parametrize(
    ("environment", "given", "place", "detection"),
    [
        (SLURM, {}, (None, None, None), None),
        (OPEN_MPI, {}, (None, None, None), None),
        (SLURM, {"coordinator": "a:1"}, ("a:1", None, None), None),
        (BY_HAND, {}, ("10.0.0.1:9876", 4, 2), "deactivate"),
        (BY_HAND, {"process": 3}, ("10.0.0.1:9876", 4, 3), "deactivate"),
        ({}, {"coordinator": "a:1", "processes": 2, "process": 0}, ("a:1", 2, 0), "deactivate"),
    ],
)
def test_a_place_is_given_or_found(asked, monkeypatch, environment, given, place, detection):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    joining.connect(settings(**given))
    ((arguments, options),) = asked
    assert arguments == place
    assert options["cluster_detection_method"] == detection
    assert options["heartbeat_timeout_seconds"] <= 30


def test_a_host_of_a_tpu_pod_asks_the_cluster(asked, tpu, monkeypatch):
    for name, value in ON_TPU.items():
        monkeypatch.setenv(name, value)
    joining.connect(settings())
    ((place, options),) = asked
    assert place == (None, None, None)
    assert options["cluster_detection_method"] is None


@pytest.mark.parametrize(
    ("name", "value"), [("TPU_WORKER_HOSTNAMES", "localhost"), ("JAX_PLATFORMS", "cpu")]
)
def test_the_only_host_of_a_tpu_and_one_that_uses_its_cpu_are_alone(
    asked, tpu, monkeypatch, name, value
):
    for key, usual in (ON_TPU | {name: value}).items():
        monkeypatch.setenv(key, usual)
    assert joining.connect(settings()) is False
    assert asked == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "a:1"}, r"config\.distributed\.processes is missing"),
        ({"processes": 2, "process": 0}, r"config\.distributed\.coordinator is missing"),
        ({"coordinator": "a:1", "processes": 2}, r"config\.distributed\.process is missing"),
        ({"coordinator": "a", "processes": 2, "process": 0}, "must be HOST:PORT .* got 'a'"),
        ({"coordinator": "a:1", "processes": 2, "process": 2}, r"must be in \[0, 2\).* got 2"),
        ({"coordinator": "a:1", "processes": -1, "process": 0}, "at least 1, got -1"),
    ],
)
def test_a_place_that_cannot_be_is_named(asked, given, message):
    with pytest.raises(ValueError, match=message):
        joining.connect(settings(**given))
    assert asked == []


def test_a_number_in_the_environment_is_checked(asked, monkeypatch):
    monkeypatch.setenv("JAX_PROCESS_ID", "one")
    with pytest.raises(ValueError, match="JAX_PROCESS_ID must be a whole number, got 'one'"):
        joining.connect(settings(coordinator="a:1", processes=2))


def test_processes_that_do_not_meet_are_named(asked, monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("DEADLINE_EXCEEDED: failed to connect\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(OSError, match=r"did not meet \(a:1\): DEADLINE_EXCEEDED.*Start all"):
        joining.connect(settings(coordinator="a:1", processes=2, process=1))
