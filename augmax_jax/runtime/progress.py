"""What a command shows while it works: what it compiles, how far it is, and the time left.

On a terminal or in a notebook there is a bar. Elsewhere, such as in a log file, there are lines of
the log: one every half minute.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import jax

from augmax_jax.runtime import extras

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

LINE_EVERY = 30.0  # seconds between lines of the log where no bar can be drawn
_DRAW_EVERY = 0.2  # seconds between redraws of the bar
_WINDOW = 60.0  # seconds of work that the current speed is averaged over
_WORTH_A_LINE = 5.0  # seconds of work after which its end is a line of the log
_PERCENTAGES = ("SA", "RA", "accuracy")

Clock = Callable[[], float]  # seconds from any moment on


class _Compilation:
    """Adds up how long JAX traces, lowers and compiles in this process."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: str | int) -> None:
        if not event.startswith("/jax/core/compile/"):
            return
        end = time.monotonic()
        begin = end - duration_secs
        # What is traced inside a function that is traced itself counts once.
        while self._spans and self._spans[-1][0] >= begin:
            self._spans.pop()
        self._spans.append((begin, end))

    @property
    def seconds(self) -> float:
        return sum(end - begin for begin, end in self._spans)


_compilation = _Compilation()


@contextlib.contextmanager
def compiling(what: str) -> Iterator[None]:
    """Says that something is compiled, and afterwards how long that took.

    The first call of a compiled function belongs inside. A program that the compilation cache has
    takes less.

    Args:
        what: name of the function, such as "the training step".
    """
    logger.info("compiling %s ...", what)
    before = _compilation.seconds
    yield
    logger.info("compiled %s in %.1f s", what, _compilation.seconds - before)


class Announced:
    """A compiled function that says so when it compiles.

    Args:
        function: the function; it is called with the same arguments.
        what: names it from the arguments; another name means that it is compiled anew.
    """

    def __init__(self, function: Callable[..., Any], what: Callable[..., str]) -> None:
        self._function, self._what = function, what
        self._known: set[str] = set()

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function."""
        what = self._what(*arguments)
        if what in self._known:
            return self._function(*arguments)
        with compiling(what):
            result = self._function(*arguments)
        self._known.add(what)
        return result


def _on_screen() -> bool:
    """Whether a bar can be redrawn."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _new_bar(total: int, *, done: int = 0, leave: bool = True) -> tqdm:
    """A bar, to the right of which its description stands."""
    with extras.needed("train"):
        from tqdm import tqdm
    try:
        unknown = not os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # a notebook
        unknown = False
    # On a terminal that does not tell its size tqdm would draw nothing.
    size = {"ncols": 80, "nrows": 24} if unknown else {"dynamic_ncols": True}
    return tqdm(
        total=total,
        initial=done,
        leave=leave,
        bar_format="{percentage:3.0f}%|{bar}| {desc}",
        file=sys.stderr,
        **size,
    )


class Count:
    """How much of a task with a known size is done, such as parts of an evaluation or images.

    It is a context manager. Its end is a line of the log, with the time that it took.

    Args:
        total: size of the task.
        what: its name.
        unit: what is counted, in the plural.
        show: whether to show anything; only the first of several processes does.
        clock: gives the time; for tests.
    """

    def __init__(
        self,
        total: int,
        what: str,
        *,
        unit: str,
        show: bool = True,
        clock: Clock = time.monotonic,
    ) -> None:
        self._total, self._what, self._unit, self._clock = total, what, unit, clock
        self._done = self._skipped = 0.0
        self._doing = ""
        self._began = self._shown = clock()
        self._compiled = _compilation.seconds
        self._show = show and jax.process_index() == 0
        self._bar: tqdm | None = None
        if self._show and _on_screen():
            self._bar = _new_bar(total, leave=False)
            self._bar.set_description_str(self.line(), refresh=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        took = self._clock() - self._began
        if self._show and error is None and took >= _WORTH_A_LINE:
            logger.info("%s", self._end(took))

    def doing(self, name: str) -> None:
        """Names what is worked on, on a terminal at once: its first part may compile."""
        self._doing = name
        self._draw(now=self._bar is not None)

    def skip(self, count: float) -> None:
        """Counts what was done before: it tells nothing about the speed."""
        self._skipped += count
        self.update(count)

    def update(self, count: float) -> None:
        """Counts what is done."""
        self._done += count
        self._draw()

    def advance(self, share: float) -> None:
        """Counts a share of the whole."""
        self.update(share * self._total)

    def line(self) -> str:
        """How far the task is."""
        worked = self._done - self._skipped
        took = self._clock() - self._began
        # A sum of fractions may lack a last bit.
        parts = [f"{self._what}: {int(self._done + 1e-6):,} of {self._total:,} {self._unit}"]
        if self._doing:
            parts.append(self._doing)
        if worked > 0 and took > 0 and self._done < self._total:
            parts.append(f"{duration((self._total - self._done) * took / worked)} left")
        return ", ".join(parts)

    def _draw(self, *, now: bool = False) -> None:
        every = LINE_EVERY if self._bar is None else _DRAW_EVERY
        if not self._show or (not now and self._clock() - self._shown < every):
            return
        self._shown = self._clock()
        if self._bar is None:
            logger.info("%s", self.line())
            return
        self._bar.n = min(self._done, self._total)
        self._bar.set_description_str(self.line(), refresh=True)

    def _end(self, took: float) -> str:
        worked = int(self._done - self._skipped + 1e-6)
        text = f"{self._what}: {worked:,} {self._unit} in {duration(took)}"
        compiled = _compilation.seconds - self._compiled
        return f"{text}, of which {duration(compiled)} compiling" if compiled >= 1 else text


class Progress:
    """Step, epoch, images/s, metrics and time left of a run.

    On a terminal or in a notebook it is a bar; elsewhere (a log file) a line now and then.

    Args:
        total_steps: steps of the whole run.
        batch_size: images per step.
        start_step: steps done before this process.
        show: whether to draw; False: only measure.
        clock: gives the time; for tests.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        batch_size: int,
        start_step: int,
        show: bool,
        clock: Clock = time.monotonic,
    ) -> None:
        self._clock = clock
        self._total = total_steps
        self._batch_size = batch_size
        self._shown: dict[str, Any] = {}
        self._started = clock()
        self._paused = 0.0
        self._depth = 0
        self._pause_began = 0.0
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int] | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._drawn = -LINE_EVERY
        self._show = show
        self._bar: tqdm | None = None
        if show and _on_screen():
            self._bar = _new_bar(total_steps, done=min(start_step, total_steps))

    @property
    def seconds(self) -> float:
        """Seconds since the start, pauses left out."""
        now = self._pause_began if self._depth else self._clock()
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
        every = _DRAW_EVERY if self._bar is not None else LINE_EVERY
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
            self._pause_began = self._clock()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._paused += self._clock() - self._pause_began

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
            logger.info("%s", line)
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
