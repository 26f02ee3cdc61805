"""Files that grow by lines: a disk appends, a bucket cannot and gets the whole file again."""

import io
import time
from typing import TextIO

from augmax_jax.runtime.paths import RunPath, is_remote

EVERY = 30.0  # seconds between two writes of the same object


class Rewritten(io.StringIO):
    """A text file in a bucket to add to. All of it is in memory, and is written again each time.

    A run of a million steps has a history of some megabytes; every half minute it is written in
    less than a second. What a killed process had not written yet is lost: `sync` writes it.

    Args:
        path: the object; it need not be there.
    """

    def __init__(self, path: RunPath) -> None:
        try:
            before = path.read_bytes().decode("utf-8", errors="replace")
        except FileNotFoundError:
            before = ""
        super().__init__(before, newline="")
        self.seek(0, io.SEEK_END)
        self._path, self._written, self._next = path, len(before), 0.0

    def flush(self) -> None:
        """Writes the object if the last time is `EVERY` seconds ago."""
        if time.monotonic() >= self._next:
            self.sync()

    def sync(self) -> None:
        """Writes the object if it is not up to date."""
        if self.tell() != self._written:
            self._path.write_bytes(self.getvalue().encode())
            self._written, self._next = self.tell(), time.monotonic() + EVERY

    def close(self) -> None:
        """Writes the object if it is not up to date."""
        if not self.closed:
            self.sync()
        super().close()


def open_to_append(path: RunPath) -> TextIO:
    """Opens a text file in UTF-8 to add to its end; what `flush` does reaches the disk.

    Args:
        path: the file; made if it is not there, in a bucket with the first text.

    Raises:
        OSError: it cannot be written.
    """
    if is_remote(path):
        return Rewritten(path)
    file: TextIO = path.open("a", encoding="utf-8")
    return file
