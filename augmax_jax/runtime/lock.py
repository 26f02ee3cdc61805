"""One command at a time in a directory."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augmax_jax.runtime import files, untrusted

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


class InUse(OSError):
    """Another process works in the directory."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a lock; the system releases it when the process ends, even if it is killed.

    If a dead process left its file, this process takes it over, with a message in the log. If the
    file system has no locks, nothing is locked.

    Args:
        path: the lock's file; it is made here and removed at the end.

    Raises:
        InUse: another process holds the lock; the message names its host and process number.
        OSError: the file cannot be made.
    """
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
        owner: dict[str, Any] = untrusted.parse_json(os.pread(file, 4096, 0).decode())
        return f"process {owner['process']} on host {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return ""
