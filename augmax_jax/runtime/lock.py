"""One command at a time in a directory.

On a disk the system keeps the lock. A bucket has none: there an object says who works in the
directory, and since when. Its time is renewed every minute, and one that is older than five minutes
was left by a process that died. Two commands that start in the same second may overlook each other,
and clocks of two hosts may differ by no more than some minutes.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augmax_jax.runtime import files, untrusted
from augmax_jax.runtime.paths import RunPath, is_remote

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

RENEWED = 60.0  # seconds between two times of a lock in a bucket
STALE = 300.0  # seconds after which it counts as left behind
_SETTLED = 1.0  # seconds after which of two that wrote it the last one sees that it is the last

_mine: set[str] = set()  # the locks in buckets that this process holds


class InUse(OSError):
    """Another process works in the directory."""


@contextlib.contextmanager
def held(path: RunPath) -> Iterator[None]:
    """Holds a lock; the system releases it when the process ends, even if it is killed.

    If a dead process left its file, this process takes it over, with a message in the log. If the
    file system has no locks, nothing is locked. In a bucket see above.

    Args:
        path: the lock's file; it is made here and removed at the end.

    Raises:
        InUse: another process holds the lock; the message names its host and process number.
        OSError: the file cannot be made.
    """
    if is_remote(path):
        with _held_in_bucket(path):
            yield
        return
    file = _open_locked(path)
    if file is None:
        yield
        return
    try:
        if before := _owner(file):
            logger.info("%s was left by %s, which is gone; taking over", path, before)
        os.ftruncate(file, 0)
        me = {"host": socket.gethostname(), "process": os.getpid()}
        with contextlib.suppress(OSError):  # on a full disk it is held all the same
            os.pwrite(file, files.dumps(me).encode(), 0)
        yield
    finally:
        # Removed before it is released: a process that opened it meanwhile can see that it is gone.
        path.unlink(missing_ok=True)
        os.close(file)


def _open_locked(path: Path) -> int | None:
    """The locked file's descriptor, or None where there are no locks."""
    if fcntl is None:
        return None
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(file) or "another process"
            os.close(file)
            raise InUse(
                f"{path.parent} is in use by {owner}: wait until it is done, stop it, or choose "
                "another directory"
            ) from None
        except OSError as error:
            logger.info("%s cannot be locked (%s)", path, error.strerror)
            os.close(file)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # its holder removed the file after this process opened it


def _owner(file: int) -> str:
    """The process that wrote the file, in words; empty if the file is."""
    try:
        return _named(untrusted.parse_json(os.pread(file, 4096, 0).decode()))
    except (ValueError, KeyError, TypeError):
        return ""


def _named(owner: dict[str, Any]) -> str:
    return f"process {owner['process']} on host {owner['host']}"


@contextlib.contextmanager
def _held_in_bucket(path: RunPath) -> Iterator[None]:
    """Holds a lock that is an object, and renews it as long as it is held."""
    before = _read_object(path)
    if before is not None:
        left = STALE - (time.time() - before["time"])
        if left > 0 and not _is_dead(before):
            raise _in_use(path, before, left)
        logger.info("%s was left by %s, which is gone; taking over", path, _named(before))
    token = os.urandom(8).hex()
    mine = {"host": socket.gethostname(), "process": os.getpid(), "token": token}

    def write() -> None:
        path.write_bytes(files.dumps({**mine, "time": round(time.time(), 3)}).encode())

    write()
    time.sleep(_SETTLED)
    found = _read_object(path)
    if found is not None and found["token"] != token:
        raise _in_use(path, found, STALE)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWED):
            try:
                other = _read_object(path)
                if other is not None and other["token"] != token:
                    logger.error("%s was taken over by %s", path, _named(other))
                    return
                write()
            except Exception as error:  # whatever the client raises; the next time may work
                logger.warning("%s cannot be renewed (%s)", path, error)

    thread = threading.Thread(target=renew, name="lock", daemon=True)
    thread.start()
    _mine.add(token)
    try:
        yield
    finally:
        _mine.discard(token)
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):  # what went wrong before is to be said, not this
            last = _read_object(path)
            if last is not None and last["token"] == token:
                path.unlink(missing_ok=True)


def _read_object(path: RunPath) -> dict[str, Any] | None:
    """What a lock in a bucket says; None where there is none, or a damaged one."""
    try:
        found = untrusted.read_json(path)
    except (FileNotFoundError, untrusted.Damaged):
        return None
    kinds = {"host": str, "process": int, "token": str, "time": int | float}
    sound = isinstance(found, dict) and all(isinstance(found.get(n), k) for n, k in kinds.items())
    return found if sound else None


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether a process was one of this host that is no more."""
    if owner["host"] != socket.gethostname():
        return False
    if owner["process"] == os.getpid():  # perhaps of another container of the same name
        return owner["token"] not in _mine
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        return False
    return False


def _in_use(path: RunPath, owner: dict[str, Any], left: float) -> InUse:
    return InUse(
        f"{path.parent} is in use by {_named(owner)}: wait until it is done, stop it, or choose "
        f"another directory. If it was killed, its lock ends in {left:.0f} seconds"
    )
