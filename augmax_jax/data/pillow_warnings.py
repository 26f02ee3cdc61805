"""Pillow's warnings, with the name of the file that they are about.

Pillow calls `warnings.warn` without saying which file it reads, and Python shows a text only once.
Here each goes to the log with the name. `warnings.catch_warnings` would not do: images are decoded
by many threads, and it keeps what it changes in one place for all of them.
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

_reading = threading.local()
_installing = threading.Lock()

log = logging.getLogger(__name__)


@contextlib.contextmanager
def of(name: str) -> Iterator[None]:
    """Names a file in the warnings that this thread meets within."""
    _install()
    _reading.name, before = name, getattr(_reading, "name", None)
    try:
        yield
    finally:
        _reading.name = before


class _Show:
    """Stands for `warnings.showwarning`; what is not about an image goes to the usual one."""

    def __init__(self, usual: Any) -> None:
        self.usual = usual

    def __call__(self, message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
        name = getattr(_reading, "name", None)
        if name is None:
            self.usual(message, category, *args, **kwargs)
        else:
            log.warning("%s: %s", name, " ".join(str(message).split()))


def _install() -> None:
    if isinstance(warnings.showwarning, _Show):
        return
    with _installing:
        if not isinstance(warnings.showwarning, _Show):
            warnings.filterwarnings("always", module=r"PIL\.")
            warnings.showwarning = _Show(warnings.showwarning)
