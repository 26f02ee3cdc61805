"""A progress bar whose speed and remaining time leave out pauses such as evaluation."""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from augmax_jax.runtime import extras

with extras.needed("train"):
    from tqdm import tqdm

_DRAW_EVERY = 0.2  # seconds between redraws of the bar
_PRINT_EVERY = 20.0  # seconds between lines where no bar can be drawn
_WINDOW = 60.0  # seconds of work that the current speed is averaged over
_PERCENTAGES = ("SA", "RA", "accuracy")


class Progress:
    """Step, epoch, images/s, metrics and time left of a run.

    On a terminal or in a notebook it is a bar; elsewhere (a log file) a line now and then.

    Args:
        total_steps: steps of the whole run.
        batch_size: images per step.
        start_step: steps done before this process.
        show: whether to draw; False: only measure.
    """

    def __init__(self, *, total_steps: int, batch_size: int, start_step: int, show: bool) -> None:
        self._total = total_steps
        self._batch_size = batch_size
        self._shown: dict[str, Any] = {}
        self._started = time.monotonic()
        self._paused = 0.0
        self._depth = 0
        self._pause_began = 0.0
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._drawn = -_PRINT_EVERY
        self._show = show
        self._bar: tqdm | None = None
        if show and (sys.stderr.isatty() or "ipykernel" in sys.modules):
            self._bar = tqdm(
                total=total_steps,
                initial=min(start_step, total_steps),
                bar_format="{percentage:3.0f}%|{bar}| {desc}",
                dynamic_ncols=True,
            )

    @property
    def seconds(self) -> float:
        """Seconds since the start, pauses left out."""
        now = self._pause_began if self._depth else time.monotonic()
        return now - self._started - self._paused

    @property
    def mean_images_per_second(self) -> float | None:
        """Mean speed from the first update on, or None before the second.

        The time runs to now and not to the last update: steps are dispatched ahead of the device,
        so the speed is right only after the metrics of the steps were read.
        """
        return self._last and self._speed(self._first, (self.seconds, self._last[1]))

    def update(self, step: int, epoch: float, postfix: Mapping[str, Any]) -> None:
        """Moves to `step`; draws unless it was drawn a moment ago."""
        now = (self.seconds, step)
        self._first = self._first or now
        self._last = now
        if not self._recent or now[0] - self._recent[-1][0] > _WINDOW / 100:
            self._recent.append(now)
        while len(self._recent) > 2 and now[0] - self._recent[0][0] > _WINDOW:
            self._recent.popleft()
        self._shown |= postfix
        every = _DRAW_EVERY if self._bar is not None else _PRINT_EVERY
        if self._show and (now[0] - self._drawn >= every or step >= self._total):
            self._drawn = now[0]
            self._draw(self.line(step, epoch), step)

    def line(self, step: int, epoch: float) -> str:
        """What is shown beside the bar."""
        parts = [f"step {step:,}/{self._total:,}", f"epoch {epoch:.2f}"]
        speed = self._speed(self._recent[0], self._last) if self._recent else None
        if speed:
            parts.append(f"{speed:,.0f} images/s" if speed >= 10 else f"{speed:.2g} images/s")
        parts += [f"{name} {_readable(name, value)}" for name, value in self._shown.items()]
        if speed and step < self._total:
            parts.append(f"{duration((self._total - step) * self._batch_size / speed)} left")
        return ", ".join(parts)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Stops the clock; may be nested."""
        if not self._depth:
            self._pause_began = time.monotonic()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._paused += time.monotonic() - self._pause_began

    def close(self) -> None:
        """Leaves the finished bar on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._show = False

    def _speed(
        self, first: tuple[float, int] | None, last: tuple[float, int] | None
    ) -> float | None:
        if first is None or last is None or last[0] <= first[0] or last[1] <= first[1]:
            return None
        return (last[1] - first[1]) * self._batch_size / (last[0] - first[0])

    def _draw(self, line: str, step: int) -> None:
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
            return
        self._bar.n = min(step, self._total)
        self._bar.set_description_str(line, refresh=True)


def _readable(name: str, value: Any) -> str:
    if name in _PERCENTAGES:
        return f"{100 * float(value):.2f}%"
    return value if isinstance(value, str) else f"{float(value):.4g}"


def duration(seconds: float) -> str:
    """A time as 1:23, or 1:02:03 from an hour on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
