"""What is done in one way on a disk and in another in a bucket.

A bucket has objects and no folders: a name with slashes is all there is. An object is written whole
or not at all, so that it needs no other name while it is written.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augmax_jax.runtime.paths import RunPath, is_remote

# Where the errors of what reaches a bucket come from.
_CLIENTS = ("aiohttp", "gcsfs", "google", "requests", "tensorflow", "urllib3")


@contextlib.contextmanager
def explained(place: str | os.PathLike[str]) -> Iterator[None]:
    """Makes errors of a bucket's client say in one line which place it was about, and what to do.

    Args:
        place: the directory of a run; on a disk nothing is changed.

    Raises:
        OSError: in place of any error of a client.
    """
    if not is_remote(place):
        yield
        return
    try:
        yield
    except Exception as error:
        if not _is_of_client(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]
        raise OSError(
            f"{os.fspath(place)} cannot be read or written ({reason}): see that the bucket is "
            "there, that it can be reached, and that this account may write to it (gcloud auth "
            "application-default login)"
        ) from error


def _is_of_client(error: Exception) -> bool:
    """Whether a client raised it: one of its own kinds, or an OSError that comes from its code."""
    if type(error).__module__.partition(".")[0] in _CLIENTS:
        return True
    if not isinstance(error, OSError):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return name.partition(".")[0] in (*_CLIENTS, "etils", "fsspec")


def remove(folder: RunPath) -> None:
    """Removes a folder with all that is in it, if it is there."""
    place: Any = folder
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
    elif place.is_dir():
        place.rmtree()


def make(folder: RunPath) -> None:
    """Makes a folder with those above it, unless it is there; a bucket needs none.

    Raises:
        OSError: it cannot be made.
    """
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def size(file: RunPath) -> int:
    """The bytes of a file.

    Raises:
        FileNotFoundError: there is none.
    """
    found: Any = file.stat()
    return found.length if is_remote(file) else found.st_size


def modified(file: RunPath) -> float:
    """When a file was written last, in Unix seconds; in a bucket to whole seconds.

    Raises:
        FileNotFoundError: there is none.
    """
    found: Any = file.stat()
    return found.mtime if is_remote(file) else found.st_mtime


def total_size(folder: RunPath) -> int:
    """The bytes of all files below a folder."""
    if not is_remote(folder):
        return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
    # Not rglob, which buckets do not have. A folder that was made as an object lists itself.
    inside = [path for path in folder.iterdir() if path != folder]
    return sum(total_size(path) if path.is_dir() else size(path) for path in inside)


@contextlib.contextmanager
def on_disk(file: RunPath) -> Iterator[Path]:
    """A file that libraries of others can open: itself, or a copy for as long as it is needed."""
    if not is_remote(file):
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, file.name)
        copy.write_bytes(file.read_bytes())
        yield copy


@contextlib.contextmanager
def written(folder: RunPath) -> Iterator[Path]:
    """A folder on the disk for libraries of others to write to; at the end it is in its place.

    Args:
        folder: where it goes; what is there stays unless a file of the same name is written.
    """
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        upload(Path(name), folder)


def upload(source: Path, folder: RunPath) -> None:
    """Writes all files below a folder of the disk to one in a bucket, under the same names."""
    for file in sorted(source.rglob("*")):
        if file.is_file():
            (folder / file.relative_to(source).as_posix()).write_bytes(file.read_bytes())
