"""The minutes of a session, and the file that keeps what was measured."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from augmax_jax.runtime import files

logger = logging.getLogger(__name__)

FILE = "accelerator.json"


class Session:
    """Measures items one by one, as long as there is time.

    Items that were measured in an earlier session are not measured again; those that failed are.

    Args:
        out: folder of the JSON file; made if it is missing.
        minutes: time from now on.
        facts: what the measurements depend on, such as device and sizes, as JSON can hold it.

    Raises:
        ValueError: the folder has measurements under other facts.
        OSError: it cannot be made.
    """

    def __init__(self, out: Path, minutes: float, facts: dict[str, Any]) -> None:
        if minutes <= 0:
            raise ValueError(f"--minutes must be positive, got {minutes:g}")
        self._end = time.monotonic() + 60 * minutes
        files.make_folder(out, "--out")
        self.path = out / FILE
        kept = files.read_json(self.path) or {"facts": facts, "items": {}, "sessions": []}
        if kept["facts"] != facts:
            changed = [k for k in facts if facts[k] != kept["facts"].get(k)]
            raise ValueError(
                f"{self.path} holds measurements of other settings ({', '.join(changed)}: "
                f"{kept['facts'].get(changed[0]) if changed else '?'}): use another --out"
            )
        self.results: dict[str, Any] = kept
        self._longest: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Seconds that are left, negative after the end."""
        return self._end - time.monotonic()

    def measure(self, name: str, task: Callable[[], Any], *, seconds: float = 0.0) -> None:
        """Measures an item and keeps the result, unless it is known or there is no time.

        An error is kept in place of the result, and the next items go on.

        Args:
            name: "part/...": items of one part are expected to take about equally long.
            task: gives what JSON can hold.
            seconds: how long it may take at least, where no item of the part has told it.
        """
        items = self.results["items"]
        if name in items and "error" not in items[name]:
            return
        part = name.partition("/")[0]
        if self.left < 1.2 * self._longest.get(part, seconds):
            logger.info("%s: no time left", name)
            return
        begin = time.monotonic()
        try:
            items[name] = task()
        except Exception as error:  # such as too little memory: the others may fit
            logger.warning("%s failed: %s", name, error)
            items[name] = {"error": f"{type(error).__name__}: {error}"[:600]}
        took = time.monotonic() - begin
        self._longest[part] = max(took, self._longest.get(part, 0.0))
        logger.info("%s: %.1f s", name, took)
        self.save()

    def save(self) -> None:
        """Writes the file."""
        files.write_json(self.path, self.results)
