"""Packages that only some installations have: what is missing is one line with its remedy.

The core needs none of them. pyproject.toml has the extras and the packages of each.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from types import TracebackType


class MissingExtraError(ImportError, ValueError):
    """An optional package is not installed; the message says how to install it.

    A ValueError too, so that the commands end with its message, as with that of any wrong input.
    """


@contextlib.contextmanager
def needed(extra: str) -> Iterator[None]:
    """Around imports of optional packages.

        with extras.needed("tfds"):
            import tensorflow_datasets as tfds

    Args:
        extra: the extra of augmax-jax that has them.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package == "augmax_jax":
            raise
        raise _missing(package, extra) from None


def check(package: str, extra: str) -> None:
    """Finds out whether a package can be imported, without importing it: before work starts.

    Args:
        package: its name in imports, with dots if it lies in another.
        extra: the extra of augmax-jax that has it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        found = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # what it lies in is not there
        found = False
    if not found:
        raise _missing(package, extra)


def _missing(package: str, extra: str) -> MissingExtraError:
    main = sys.modules.get("__main__")
    program = getattr(getattr(main, "__spec__", None), "name", "")
    if program.partition(".")[0] == "augmax_jax":
        # A command that cannot even be imported has no chance to catch the error.
        sys.excepthook = _one_line
    return MissingExtraError(
        f"the package {package} is not installed: pip install 'augmax-jax[{extra}]'"
    )


def _one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, MissingExtraError):
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
