"""One command at a time in a directory, whatever became of the one before."""

import logging
import os
import signal
import socket
import subprocess
import sys

import pytest

from augmax_jax.runtime import lock

HOLD = """
import sys, time
from pathlib import Path
from augmax_jax.runtime import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_is_refused_and_a_dead_one_is_followed(tmp_path, holder, caplog):
    path = tmp_path / ".lock"
    named = f"in use by process {holder.pid} on host {socket.gethostname()}: wait"
    with pytest.raises(lock.InUse, match=named), lock.held(path):
        pass
    assert path.exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with caplog.at_level(logging.INFO), lock.held(path):
        assert f"left by process {holder.pid} on host" in caplog.text
        with pytest.raises(lock.InUse, match=f"process {os.getpid()} "), lock.held(path):
            pass
    assert not path.exists()


def test_it_is_free_after_an_error(tmp_path, caplog):
    path = tmp_path / ".lock"
    with pytest.raises(KeyboardInterrupt), lock.held(path):
        raise KeyboardInterrupt
    with caplog.at_level(logging.INFO), lock.held(path):
        pass
    assert not caplog.text


def test_file_systems_without_locks_go_without(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with lock.held(tmp_path / ".lock"), lock.held(tmp_path / ".lock"):
        pass
