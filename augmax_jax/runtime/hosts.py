"""Several processes that work on one run, such as one on each host of a cluster.

All processes run the same command. They meet through `jax.distributed`. Whatever decides what is
computed next must be the same in all of them, because each computation on their devices needs
them all: `everyone` and `from_writer` make it so. With one process nothing here communicates.
"""

import contextlib
import importlib.util
import json
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from augmax_jax.runtime import parallel

logger = logging.getLogger(__name__)

# Seconds without a sign of life after which JAX calls a process dead, and ends the others.
DEAD_AFTER = 30
# Seconds that processes wait for each other after one of them failed.
_GRACE = 10
_POLL = 0.5  # seconds between two looks for the failure of another process
_LAG = 2  # steps after which a vote is counted: the host may be so far ahead of the devices
_FAILED, _DONE, _ENDED = (f"augmax_jax/{name}" for name in ("failed", "done", "ended"))


class OtherProcessFailed(OSError):
    """Another process of the run failed; the message says which, and why."""


class Place(NamedTuple):
    """Where a process stands among those of a run; None where a cluster's environment knows.

    Attributes:
        coordinator: "host:port" at which process 0 listens.
        processes: how many there are.
        process: the number of this one, from 0.
    """

    coordinator: str | None
    processes: int | None
    process: int | None


def is_writer() -> bool:
    """Whether this process is the one that writes files and speaks to people."""
    return jax.process_index() == 0


def are_several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def everyone(value: Any) -> list[Any]:
    """The values of all processes, in their order; each process must call it.

    Args:
        value: what JSON can hold.
    """
    if not are_several():
        return [value]
    mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
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
    failures = everyone(None if failure is None else f"{_me()}: {failure}")
    if failure is not None:
        raise failure
    for said in failures:
        if said is not None:
            raise OtherProcessFailed(said)


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


def check_one_directory(directory: Path) -> None:
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


@contextlib.contextmanager
def session(settings: Any) -> Iterator[bool]:
    """Joins this process to the others of its run, for a command; a failure of one ends them all.

    If another process fails, this one says so and exits with status 1, whatever it is doing. If
    another one dies, JAX ends this one after `DEAD_AFTER` seconds with a message that names it.

    Args:
        settings: `config.distributed`.

    Yields:
        Whether this process is the one that speaks to people, see `is_writer`.

    Raises:
        ValueError: the settings do not fit together.
        OSError: the other processes cannot be reached.
    """
    if not connect(settings):
        yield True
        return
    logger.info("process %d of %d", jax.process_index(), jax.process_count())
    ending = _Ending()
    try:
        yield is_writer()
    except BaseException as error:
        ending.failed(error)
    ending.done()


def connect(settings: Any) -> bool:
    """Joins this process to the others of its run; before anything else uses JAX.

    Args:
        settings: `config.distributed`: coordinator, processes, process. What they leave out is
            taken from the environment (JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES,
            JAX_PROCESS_ID), and in a cluster that `jax.distributed` knows from there.

    Returns:
        Whether there are other processes.

    Raises:
        ValueError: the settings do not fit together.
        OSError: the other processes cannot be reached.
    """
    cluster = _cluster()
    place = _place(settings, cluster)
    if place is None:
        return False
    # It would take SIGTERM, which ends a command that is not training.
    jax.config.update("jax_enable_preemption_service", False)
    if "JAX_CPU_COLLECTIVES_IMPLEMENTATION" not in os.environ:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process,
            cluster_detection_method=None if cluster else "deactivate",
            heartbeat_timeout_seconds=DEAD_AFTER,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise OSError(
            f"the processes of the run did not meet ({place.coordinator or cluster}): "
            f"{str(error).splitlines()[0]}. Start all of them within five minutes, with one "
            "address of process 0 that each can reach; a process that is to work alone needs "
            "--config.distributed.processes=1"
        ) from error
    barrier()  # while all are here: gloo waits 30 seconds for those that meet for the first time
    return are_several()


def _place(settings: Any, cluster: str) -> Place | None:
    """This process's place, from the settings, then the environment; None: it is the only one."""
    coordinator = settings.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS") or None
    processes = settings.processes or _number("JAX_NUM_PROCESSES")
    process = settings.process if settings.process >= 0 else _number("JAX_PROCESS_ID")
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    nothing = all(value is None for value in given.values())
    if processes == 1 or (nothing and not cluster):
        return None
    missing = [name for name, value in given.items() if value is None]
    if missing and not cluster:
        raise ValueError(
            f"config.distributed.{missing[0]} is missing: several processes need "
            "config.distributed.coordinator=HOST:PORT, processes and process, or "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID"
        )
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise ValueError(
            f"config.distributed.coordinator must be HOST:PORT of process 0, got {coordinator!r}"
        )
    if processes is not None and processes < 1:
        raise ValueError(f"config.distributed.processes must be at least 1, got {processes}")
    if process is not None and processes is not None and not 0 <= process < processes:
        raise ValueError(
            f"config.distributed.process must be in [0, {processes}), as there are {processes} "
            f"processes, got {process}"
        )
    return Place(coordinator, processes, process)


def _number(variable: str) -> int | None:
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isdecimal():
        raise ValueError(f"the environment's {variable} must be a whole number, got {text!r}")
    return int(text)


def _cluster() -> str:
    """The cluster whose environment tells `jax.distributed` of several processes; "" if none."""

    def several(variable: str, *others: str) -> bool:
        values = [os.environ.get(name) for name in (variable, *others)]
        return None not in values and str(values[0]).isdecimal() and int(values[0] or 0) > 1

    if several("SLURM_NTASKS", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"):
        return "SLURM"
    if several("OMPI_COMM_WORLD_SIZE", "OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_RANK"):
        return "Open MPI"
    return "Cloud TPU" if _on_tpu() else ""


def _on_tpu() -> bool:
    """Whether this is a TPU's host that may not be the only one of its slice; JAX finds out."""
    wanted = (os.environ.get("JAX_PLATFORMS") or "tpu").startswith("tpu")
    chips = any(any(Path("/dev").glob(name)) for name in ("accel[0-9]*", "vfio/[0-9]*"))
    one = os.environ.get("TPU_WORKER_HOSTNAMES", ",").count(",") == 0
    return wanted and chips and not one and importlib.util.find_spec("libtpu") is not None


def _me() -> str:
    return f"process {jax.process_index()} on host {socket.gethostname()}"


class _Ending:
    """Lets the processes end together, and watches for the failure of another one.

    The processes tell each other through the store of `jax.distributed`, which works while their
    devices wait. JAX has no public name for it. Without it a failed process is a dead one to the
    others.
    """

    def __init__(self) -> None:
        from jax._src import distributed

        self._client: Any = distributed.global_state.client
        self._own = threading.Lock()  # whoever holds it ends the process
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def done(self) -> None:
        """Waits until all are done; does not return if another one fails meanwhile."""
        self._meet(_DONE, 24 * 3600)
        self._over.set()
        self._own.acquire()  # never given back: the watcher is on its way out

    def failed(self, error: BaseException) -> None:
        """Says what went wrong, tells the others, and ends this process."""
        self._own.acquire()
        code = error.code if isinstance(error, SystemExit) else 1
        if isinstance(error, SystemExit):
            said = "" if isinstance(code, int | None) else str(code)
        else:
            traceback.print_exception(error)
            said = f"{type(error).__name__}: {error}"
        if said and isinstance(error, SystemExit):
            print(said, file=sys.stderr)
        reason = said.removeprefix("error: ") or f"it exited with status {code}"
        # Another process may have told first.
        with contextlib.suppress(Exception):
            self._client.key_value_set(_FAILED, f"{_me()} stopped: {reason}")
        self._end(code if isinstance(code, int) else 1)

    def _watch(self) -> None:
        while not self._over.wait(_POLL):
            try:
                told = self._client.key_value_try_get(_FAILED)
            except Exception:  # nobody has failed
                continue
            # Where all fail alike, each says so itself.
            if self._over.wait(_GRACE / 2) or not self._own.acquire(blocking=False):
                return
            print(f"error: {told}", file=sys.stderr)
            self._end(1)

    def _end(self, status: int) -> None:
        """Waits a while for the others, and ends the process without JAX's own goodbye.

        That waits for processes that may hang, and aborts.
        """
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._meet(_ENDED, _GRACE)
        if jax.process_index() == 0:
            time.sleep(1)  # it holds the store, without which JAX aborts the others
        os._exit(status)

    def _meet(self, where: str, seconds: float) -> None:
        with contextlib.suppress(Exception):  # not all came
            self._client.wait_at_barrier(where, int(1000 * seconds))
