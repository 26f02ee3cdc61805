"""How the commands of the package speak: the log on stderr, and text that any terminal takes."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import Any


def program(module: str) -> str:
    """What a command is called in its help: as it was called.

    Args:
        module: what `python -m` runs it by.
    """
    called = sys.argv[0]
    return called if called.startswith("augmax-jax ") else f"python -m {module}"


def first_words() -> None:
    """Says that the command works, before it imports what takes seconds."""
    if "jax" not in sys.modules and not {"-h", "--help", "-help"} & set(sys.argv):
        print("augmax-jax: loading JAX ...", file=sys.stderr, flush=True)


class _AboveBars(logging.StreamHandler):
    """Writes messages above the progress bars of the terminal, if there are any."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a message."""
        bars = sys.modules.get("tqdm")
        with bars.tqdm.external_write_mode() if bars else contextlib.nullcontext():
            super().emit(record)


class _ButClosedLoops:
    """Passes on what Python reports of errors that nobody can catch, but for one.

    When a checkpoint cannot be written, orbax raises the first error and closes its event loop.
    Writes that end later find it closed, which means nothing beside that error.
    """

    def __init__(self, hook: Callable[[Any], object]) -> None:
        self._hook = hook

    def __call__(self, found: Any) -> None:
        """Reports an error, as `sys.unraisablehook` does."""
        if str(found.exc_value) != "Event loop is closed":
            self._hook(found)


def nobody_reads() -> int:
    """Drops what is still to be printed, after a BrokenPipeError: who read it has seen enough.

    Returns:
        The exit status of the command.
    """
    # Python flushes stdout at its end, and would complain of the pipe once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def prepare(level: int = logging.INFO) -> None:
    """Sets up the terminal of a command.

    The terminal shows the package's messages from `level` on, and other libraries' warnings.
    Printing never fails: characters that the terminal's encoding lacks, such as ± in ASCII or the
    bytes of a path that are not UTF-8, are escaped.

    Args:
        level: a level of `logging`; INFO shows what is done, WARNING only what went wrong.
    """
    for stream in (sys.stdout, sys.stderr):
        # Notebooks and tests replace stdout and stderr by other streams.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    root = logging.getLogger()
    for handler in list(root.handlers):
        # Removes absl's handler and an earlier one of ours; other handlers belong to the caller.
        ours = type(handler) in (logging.StreamHandler, _AboveBars)
        if ours or type(handler).__module__.startswith("absl"):
            root.removeHandler(handler)
    shown = _AboveBars()
    shown.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(shown)
    root.setLevel(logging.WARNING)
    logging.getLogger("augmax_jax").setLevel(level)
    # It logs a traceback of each error that it raises too, which ends as one line.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    if not isinstance(sys.unraisablehook, _ButClosedLoops):
        sys.unraisablehook = _ButClosedLoops(sys.unraisablehook)
