"""Several processes that work on one run, such as one on each host of a cluster.

All processes run the same command. They meet through `jax.distributed`. Whatever decides what is
computed next must be the same in all of them, because each computation on their devices needs
them all: `everyone` and `from_writer` make it so. With one process nothing here communicates.
"""

import contextlib
import json
import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from augmax_jax.runtime import parallel
from augmax_jax.runtime.paths import RunPath

_LAG = 2  # steps after which a vote is counted: the host may be so far ahead of the devices


class OtherProcessFailed(OSError):
    """Another process of the run failed; the message says which, and why."""


def is_writer() -> bool:
    """Whether this process is the one that writes files and speaks to people."""
    return jax.process_index() == 0


def are_several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def me() -> str:
    """This process in words."""
    return f"process {jax.process_index()} on host {socket.gethostname()}"


def everyone(value: Any) -> list[Any]:
    """The values of all processes, in their order; each process must call it.

    Args:
        value: what JSON can hold.
    """
    if not are_several():
        return [value]
    mine = np.frombuffer(json.dumps(value, allow_nan=False).encode(), np.uint8)
    lengths = parallel.all_processes(np.array([len(mine)], np.int32))
    # One compiled program serves many lengths.
    padded = np.zeros(1 << int(lengths.max()).bit_length(), np.uint8)
    padded[: len(mine)] = mine
    rows = parallel.all_processes(padded[None])
    return [json.loads(row[:n].tobytes()) for row, n in zip(rows, lengths, strict=True)]


def from_writer(value: Any) -> Any:
    """The first process's value, in all of them; each process must call it with its own.

    Args:
        value: what JSON can hold.
    """
    return everyone(value)[0]


def barrier() -> None:
    """Waits until every process is here."""
    everyone(None)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A part of the work in which one process may fail alone; then it fails in all of them.

    Raises:
        OtherProcessFailed: another process failed, and this one did not.
    """
    if not are_several():
        yield
        return
    failure = None
    try:
        yield
    except Exception as error:
        failure = error
    failures = everyone(None if failure is None else f"{me()}: {failure}")
    if failure is not None:
        raise failure
    for said in failures:
        if said is not None:
            raise OtherProcessFailed(said)


def reraise_if_lost(error: BaseException) -> None:
    """Raises an error again if it is that another process of the run could not be reached."""
    if is_lost(error):
        raise error


def is_lost(error: BaseException) -> bool:
    """Whether an error is that another process of the run could not be reached."""
    words = ("gloo", "nccl", "connection", "coordination", "heartbeat")
    of_jax = isinstance(error, jax.errors.JaxRuntimeError) and are_several()
    return of_jax and any(word in str(error).lower() for word in words)


def same_arrays(tree: Any) -> Any:
    """The first process's NumPy arrays, bit for bit, in all of them; each must call it."""
    if not are_several():
        return tree
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    mine = np.concatenate([np.frombuffer(leaf.tobytes(), np.uint8) for leaf in leaves])
    # A sum with zeros is exact for whole numbers, and needs no memory for every process's copy.
    contents = parallel.sum_of_processes(mine if is_writer() else np.zeros_like(mine))
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    parts = np.split(contents, ends[:-1])
    return jax.tree.unflatten(
        structure,
        [
            np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape)
            for part, leaf in zip(parts, leaves, strict=True)
        ],
    )


def check_one_directory(directory: RunPath) -> None:
    """Raises FileNotFoundError unless all processes see the same directory, which is there."""
    if not are_several():
        return
    mark = directory / from_writer(f".hosts-{os.getpid()}-{time.time_ns()}")
    try:
        with together():
            if is_writer():
                mark.touch()
        seen = everyone(mark.exists())
    finally:
        if is_writer():
            mark.unlink(missing_ok=True)
    if not all(seen):
        raise FileNotFoundError(
            f"process(es) {', '.join(str(i) for i, there in enumerate(seen) if not there)} of "
            f"{len(seen)} do not see what process 0 writes to {directory}: name a directory on "
            "a file system that all hosts share"
        )


class Votes:
    """Makes every process stop after the same step if one of them is asked to stop.

    The votes go over the devices behind the steps and are counted a few steps later, so that no
    process waits for the devices.

    Args:
        devices: those of the run.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self._devices = devices
        self._largest = parallel.pmap(lambda x: jax.lax.pmax(x, parallel.AXIS), devices)
        self._pending: deque[jax.Array] = deque()
        # gloo waits 30 seconds for devices that meet for the first time. If they met in the first
        # step, a process that compiles it more slowly than the others would come too late.
        barrier()
        self(0, last=True)

    def __call__(self, mine: int, *, last: bool = False) -> int:
        """Votes, once after every step.

        Args:
            mine: this process's vote, 0 for going on.
            last: whether no vote follows.

        Returns:
            The largest vote that was counted now, the same in all processes.
        """
        if not are_several():
            return mine
        votes = np.full(len(parallel.own(self._devices)), mine, np.int32)
        self._pending.append(self._largest(parallel.per_device(votes, self._devices)))
        found = 0
        while self._pending and (last or len(self._pending) > _LAG):
            found = max(found, int(parallel.first(self._pending.popleft())))
        return found
