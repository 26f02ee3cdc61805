"""Means of what training steps measure, over windows of equally many steps."""

from collections.abc import Mapping
from typing import Any


class Window:
    """Gathers the metrics of steps and gives their means when a window closes.

    Windows close after every `length` steps of the run, whenever checkpoints are saved: a mean
    over one step beside means over many would be a jump in a curve that training did not have.
    The steps that are left at the end of a run belong to its last window.

    Args:
        length: steps in a window.
        total_steps: steps of the whole run.
        kept: the open window of a checkpoint, as `kept` gives it; None starts an empty one.

    Attributes:
        latest: the means of the window that closed last, or of the open one before that.
    """

    def __init__(
        self, length: int, total_steps: int, kept: Mapping[str, Any] | None = None
    ) -> None:
        self._length, self._total = length, total_steps
        self._count = int(kept["count"]) if kept else 0
        self._sums: dict[str, float] = dict(kept["sums"]) if kept else {}
        self.latest: dict[str, float] = {}
        self._closed = False

    def add(self, step: int, metrics: Mapping[str, Any]) -> dict[str, float] | None:
        """Takes in a step.

        Args:
            step: its number, from 1; steps come in order.
            metrics: name to number. Of the learning rate the last value counts. Of a step whose
                "skipped" is 1 nothing else counts; the means say how many steps were.

        Returns:
            The means if the window closes with this step, else None.
        """
        self._count += 1
        skipped = bool(metrics.get("skipped"))
        for name, value in {"skipped": 1.0}.items() if skipped else metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        counted = self._count - self._sums.get("skipped", 0.0)
        means = {
            name: total if name == "skipped" else total / counted
            for name, total in self._sums.items()
        }
        if "learning_rate" in metrics:
            means["learning_rate"] = float(metrics["learning_rate"])
        full = step % self._length == 0 and step + self._length <= self._total
        closes = full or step == self._total
        if closes or not self._closed:
            self.latest = means
        if not closes:
            return None
        self._count, self._sums, self._closed = 0, {}, True
        return means

    def kept(self) -> dict[str, Any]:
        """The open window, as values that JSON keeps, for a checkpoint."""
        return {"count": self._count, "sums": dict(self._sums)}
