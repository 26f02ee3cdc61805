"""Pillow's warnings, with the name of the file that they are about.

Pillow calls `warnings.warn` without saying which file it reads, and Python shows a text only once.
Here each goes to the log with the name. `warnings.catch_warnings` is no solution: many threads
decode images, and it changes a state that all threads share.
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
    """Within this context, the warnings of this thread name the file."""
    _install()
    _reading.name, before = name, getattr(_reading, "name", None)
    try:
        yield
    finally:
        _reading.name = before


class _Show:
    """Replaces `warnings.showwarning`; warnings that are not about an image go to the usual one."""

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
