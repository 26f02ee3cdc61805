"""Reads paths as users write them in flags, settings and arguments.

The directory of a run may lie in a bucket of Google Cloud Storage, all else on this machine.
"""

import contextlib
import os
import posixpath
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from augmax_jax.runtime import extras

# A place in the directory of a run: a `pathlib.Path`, or in a bucket an `etils.epath.Path`, which
# has the same methods but for those of a disk alone (`runtime.storage` has what replaces them).
RunPath = Path | Any

# One slash is enough: pathlib turns "gs://bucket" into "gs:/bucket". "C:/" is a drive.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
# The one kind of bucket that orbax, which writes the checkpoints, takes.
_BUCKET = re.compile(r"gs:/+", re.IGNORECASE)
_LONGEST_NAME = 1024  # bytes of an object's name in a bucket

# Bytes kept free in the path of a run's directory for what is written below it, such as
# checkpoints/latest/1000000.orbax-checkpoint-tmp/state/ocdbt.process_0/d/0123456789abcdef...
_ROOM = 300
_LONGEST = 4096  # where the system does not say how long a path may be


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a place in a bucket or on a server, like "gs://bucket/run"."""
    return bool(_SCHEME.match(os.fspath(path)))


def expand(path: str | os.PathLike[str]) -> Path:
    """A local path with `~` and `$VARIABLES` replaced, as a shell would have done.

    The shell leaves `~` alone after the `=` of a flag, and a config file has no shell.

    Args:
        path: relative or absolute.

    Raises:
        ValueError: it is no path, or one in a bucket or on a server, or below a home directory
            that is not known.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"a path must be a text, got {path!r}")
    text = os.fspath(path)
    if is_remote(text):
        raise ValueError(
            f"{text!r} is not a path on this machine: mount or copy it, and give the local path"
        )
    if "\0" in text:
        raise ValueError(f"{text!r} is no path: it holds a zero byte")
    home = os.path.expanduser(text)
    if home == text and (text == "~" or text.startswith("~/")):
        raise ValueError(f"{text!r} means the home directory, which is not set: give a full path")
    return Path(os.path.expandvars(home))


def expand_workdir(path: str | os.PathLike[str]) -> RunPath:
    """Where the directory of a run lies: on this machine, or in a bucket.

    Args:
        path: as of `expand`, or "gs://BUCKET/FOLDER".

    Returns:
        A `pathlib.Path` as of `expand`, or an `etils.epath.Path`.

    Raises:
        ValueError: as of `expand`; or it names no folder of a bucket.
        MissingExtraError: what reaches a bucket is not installed.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    start = _BUCKET.match(text)
    if start is None:
        return expand(path)
    parts = text[start.end() :].strip("/").split("/")
    if len(parts) < 2 or ".." in parts or "\0" in text:
        raise ValueError(f"{text!r} names no folder of a bucket, such as gs://BUCKET/runs/NAME")
    check_client()
    # epath would go through TensorFlow where that is installed. Set before its first use.
    os.environ.setdefault("EPATH_USE_TF", "false")
    with extras.needed("gcs"):
        import fsspec
        from etils import epath

    # Others write there too: what was listed once is not to be taken for what is there.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    return epath.Path("gs://" + posixpath.normpath("/".join(parts)))


def check_client() -> None:
    """Raises MissingExtraError without the packages by which epath and orbax reach a bucket."""
    for package in ("gcsfs", "google.cloud.storage"):
        extras.check(package, "gcs")


def absolute(path: RunPath) -> RunPath:
    """The path from the root on; that of a bucket always is."""
    return path if is_remote(path) else path.absolute()


def check_output(path: str | os.PathLike[str], flag: str) -> None:
    """Finds out whether a directory can be made and written, and can hold checkpoints.

    It removes what it makes to find out.

    Args:
        path: the directory, as `expand_workdir` gives it; it need not be there.
        flag: its name in messages, like "--workdir".

    Raises:
        ValueError: `check_checkpoint_path` refuses the path.
        OSError: the directory cannot be made or written.
    """
    check_checkpoint_path(path, flag)
    if is_remote(path):
        try_writing(path)
        return
    try:
        try_writing(Path(path))
    except OSError as error:
        raise type(error)(
            error.errno,
            f"{flag} {path} cannot be made or written ({error.strerror}): choose another",
        ) from error


def check_checkpoint_path(path: str | os.PathLike[str], flag: str) -> None:
    """Refuses a directory whose path orbax, which writes and reads the checkpoints, cannot take.

    Args:
        path: the directory, as `expand_workdir` gives it.
        flag: its name in messages, like "--workdir".

    Raises:
        ValueError: the path cannot be used; the message says which part of it.
    """
    remote = is_remote(path)
    full = os.fspath(path) if remote else os.path.abspath(path)
    # orbax looks for its files by a pattern, and tensorstore takes a backslash for a slash.
    if found := sorted(set(full) & set("[]*?\\")):
        raise ValueError(
            f"{flag} {full!r} holds {' '.join(found)}, and checkpoints below such a path cannot be "
            "read: choose or make another (rename it, if it is there)"
        )
    if not remote and any(part.endswith(":") for part in Path(full).parts):
        raise ValueError(f"{flag} {full!r} would be taken for a bucket's address: choose another")
    try:
        full.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{flag} {full!r} is not UTF-8, and checkpoints cannot be written there: choose another"
        ) from None
    if len(full.encode()) + _ROOM > (_LONGEST_NAME if remote else _longest()):
        raise ValueError(f"{flag} is a path of {len(full.encode())} bytes: choose a shorter one")


def _longest() -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.pathconf("/", "PC_PATH_MAX")
    return _LONGEST


def try_writing(path: RunPath) -> None:
    """Raises OSError unless a file can be written in a directory, which need not be there.

    It removes what it makes to find out. In a bucket an error is that of its client.
    """
    if is_remote(path):
        mark = path / f".writable-{os.getpid()}-{time.time_ns()}"
        mark.write_bytes(b"")
        mark.unlink()
        return
    made: list[Path] = []
    try:
        missing = [place for place in (path, *path.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            made.append(place)
        with tempfile.TemporaryFile(dir=path):
            pass
    finally:
        for place in reversed(made):
            with contextlib.suppress(OSError):  # another process has put something there
                place.rmdir()
