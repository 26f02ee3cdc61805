"""Paths as users write them, in flags, settings and arguments alike."""

import os
import re
from pathlib import Path

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a place in a bucket or on a server, like "gs://bucket/run"."""
    return bool(_SCHEME.match(os.fspath(path)))


def expand(path: str | os.PathLike[str]) -> Path:
    """A local path with `~` and `$VARIABLES` replaced, as a shell would have done.

    The shell leaves `~` alone after the `=` of a flag, and a config file has no shell.

    Args:
        path: relative or absolute.

    Raises:
        ValueError: the path is in a bucket or on a server.
    """
    text = os.fspath(path)
    if is_remote(text):
        raise ValueError(
            f"{text!r} is not a path on this machine: mount or copy it, and give the local path"
        )
    return Path(os.path.expandvars(os.path.expanduser(text)))
