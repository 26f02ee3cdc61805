"""Programs on the CPU reuse the memory of the last call; the C library is left alone elsewhere."""

import os
import platform
import subprocess
import sys

import jax
import pytest

from augmax_jax.runtime import host_memory

# Calls a program that needs 100 MB for itself, and prints how many pages a call has to get from
# the system when it gets the fewest: the first calls of a process that keeps its memory get more
# as long as small blocks come to lie in the space that the last call has left.
PROGRAM = """
import resource, sys
from augmax_jax.runtime import host_memory
if sys.argv[1] == "keep":
    assert host_memory.keep_freed_memory()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.tanh(x @ x.T) @ x)
x = jnp.ones((5000, 8))
faults = []
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


def _faults(argument):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, argument],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_is_kept_from_call_to_call():
    # 24,000 pages of 4 kB, or 50 where the system uses huge pages by itself.
    assert _faults("keep") < _faults("free") / 4


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(jax.config, "update", lambda *_: pytest.fail("changed JAX's settings"))
    assert not host_memory.keep_freed_memory()


def test_a_jax_without_the_option_changes_nothing(monkeypatch):
    def unknown(*_):
        raise AttributeError("Unrecognized config option")

    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(jax.config, "update", unknown)
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda _: pytest.fail("called the C library"))
    assert not host_memory.keep_freed_memory()
