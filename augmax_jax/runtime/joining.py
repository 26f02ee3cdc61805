"""How the processes of a run find each other, and how they end together.

A command joins the others of its run before it does anything else (`session`). A failure of one
process ends them all: none would get far alone, and none must wait for ever.
"""

import contextlib
import importlib.util
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from augmax_jax.runtime import hosts

logger = logging.getLogger(__name__)

# Seconds without a sign of life after which JAX calls a process dead, and ends the others.
DEAD_AFTER = 30
# Seconds that processes wait for each other after one of them failed.
_GRACE = 10
_POLL = 0.5  # seconds between two looks for the failure of another process
_FAILED, _HERE = "augmax_jax/failed", "augmax_jax/here"  # in the store
_DONE, _ENDED = "augmax_jax/done", "augmax_jax/ended"  # barriers


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


@contextlib.contextmanager
def session(settings: Any) -> Iterator[bool]:
    """Joins this process to the others of its run, for a command; a failure of one ends them all.

    If another process fails, this one says so and exits with status 1, whatever it is doing. If
    another one dies, this one says which, as soon as its connection breaks, or JAX does so after
    `DEAD_AFTER` seconds.

    Args:
        settings: `config.distributed`.

    Yields:
        Whether this process is the one that speaks to people, see `hosts.is_writer`.

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
        yield hosts.is_writer()
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
    # While all are here: gloo waits 30 seconds for devices that meet for the first time.
    hosts.barrier()
    return hosts.are_several()


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


class _Ending:
    """Lets the processes end together, and watches for the failure of another one.

    The processes tell each other through the store of `jax.distributed`, which works while their
    devices wait. JAX has no public name for it. Without it a failed process is a dead one to the
    others.
    """

    def __init__(self) -> None:
        self._client: Any = None
        with contextlib.suppress(ImportError, AttributeError):
            from jax._src import distributed

            self._client = distributed.global_state.client
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
        status = 1
        if isinstance(error, SystemExit) and isinstance(error.code, int):
            status, reason = error.code, f"it exited with status {error.code}"
        elif isinstance(error, SystemExit):
            reason = str(error.code).removeprefix("error: ")
            print(error.code, file=sys.stderr)
        elif hosts.is_lost(error):
            reason = f"the connection to another process broke ({str(error).splitlines()[0]})"
            print(f"error: {reason}", file=sys.stderr)
        else:
            reason = f"{type(error).__name__}: {error}"
            traceback.print_exception(error)
        with contextlib.suppress(Exception):  # another process has told first
            self._client.key_value_set(_FAILED, f"{hosts.me()} stopped: {reason}")
        self._end(status)

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
        with contextlib.suppress(Exception):
            self._client.key_value_set(f"{_HERE}/{jax.process_index()}", "")
        if not self._meet(_ENDED, _GRACE):
            with contextlib.suppress(Exception):
                here = {key.rpartition("/")[2] for key, _ in self._client.key_value_dir_get(_HERE)}
                gone = [i for i in range(jax.process_count()) if str(i) not in here]
                print(
                    f"error: process(es) {', '.join(map(str, gone)) or '?'} of "
                    f"{jax.process_count()} do not answer: they died or hang; the same command "
                    "goes on from the last checkpoint",
                    file=sys.stderr,
                )
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if jax.process_index() == 0:
            time.sleep(1)  # it holds the store, without which JAX aborts the others
        os._exit(status)

    def _meet(self, where: str, seconds: float) -> bool:
        """Waits for the others at a place; returns whether all came."""
        try:
            self._client.wait_at_barrier(where, int(1000 * seconds))
        except Exception:
            return False
        return True
