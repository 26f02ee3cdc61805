"""Where a result comes from: the command, the versions, the device, the commit and the time."""

import datetime
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from augmax_jax import __version__

_PACKAGE = Path(__file__).parent.parent
_LIBRARIES = ("jax", "jaxlib", "flax")
_PATIENCE = 10  # seconds that git may take


def begin(devices: Sequence[jax.Device]) -> dict[str, Any]:
    """What is to be known of a session of work that begins now.

    Args:
        devices: those that it computes on.

    Returns:
        "command", "versions" by package, "device", "commit" (of this package's source; None
        outside a git checkout), "start", and "end", which is None until `finish`.
    """
    return {
        "command": shlex.join(sys.orig_argv),
        "versions": {
            "augmax_jax": __version__,
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
            "python": platform.python_version(),
        },
        "device": describe(devices),
        "commit": _commit(),
        "start": _now(),
        "end": None,
    }


def finish(session: dict[str, Any]) -> dict[str, Any]:
    """The session with the time of its end, which is now."""
    return {**session, "end": _now()}


def describe(devices: Sequence[jax.Device]) -> str:
    """The devices in words, such as "2 x NVIDIA H100"."""
    return f"{len(devices)} x {devices[0].device_kind}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    """The commit of the package's source, "-dirty" behind it where files were changed."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE,
        )
        return done.stdout.strip()

    try:
        # Installed inside another project's checkout, the package is not of that project.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
