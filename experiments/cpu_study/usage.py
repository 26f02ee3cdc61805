"""How much time a run takes while it goes on: wall clock, CPU time of the process, load."""

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

USAGE = "usage.jsonl"  # in the run's directory
EVERY = 5.0  # seconds between samples


@contextlib.contextmanager
def recorded(directory: Path, every: float = EVERY) -> Iterator[None]:
    """Adds a sample to the run's `usage.jsonl` now and then, as long as the context lasts.

    A sample is {"session", "time" (Unix seconds), "cpu" (seconds of this process), "load" (mean
    number of processes that wanted a core during the last minute)}.

    Args:
        directory: the run's directory; made if it is missing.
        every: seconds between samples.
    """
    directory.mkdir(parents=True, exist_ok=True)
    session = f"{os.getpid()}-{time.time():.0f}"
    done = threading.Event()

    def sample() -> None:
        row = {
            "session": session,
            "time": round(time.time(), 3),
            "cpu": round(time.process_time(), 3),
            "load": round(os.getloadavg()[0], 2),
        }
        with (directory / USAGE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def watch() -> None:
        while not done.wait(every):
            with contextlib.suppress(OSError):  # a full disk must not end the run from here
                sample()

    sample()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        sample()


def read(directory: Path) -> list[dict[str, Any]]:
    """The samples of a run, oldest first; a half-written line is passed over."""
    try:
        lines = (directory / USAGE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def between(
    samples: Sequence[Mapping[str, Any]], times: Sequence[float]
) -> list[dict[str, float] | None]:
    """What each interval between neighbouring times took.

    Args:
        samples: from `read`.
        times: Unix seconds, ascending; the interval before times[i] ends there.

    Returns:
        For times[1:]: "wall" and "cpu" seconds and the mean "load", or None where the two times
        are not in one session, for example because the run was stopped between them.
    """
    sessions: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        sessions.setdefault(sample["session"], []).append(sample)
    found: list[dict[str, float] | None] = []
    for begin, end in itertools.pairwise(times):
        home = next(
            (s for s in sessions.values() if s[0]["time"] <= begin and end <= s[-1]["time"]), None
        )
        if home is None:
            found.append(None)
            continue
        clock, cpu, load = (np.array([s[k] for s in home]) for k in ("time", "cpu", "load"))
        inside = load[(clock >= begin) & (clock <= end)]
        found.append(
            {
                "wall": round(end - begin, 2),
                "cpu": round(float(np.diff(np.interp([begin, end], clock, cpu))[0]), 2),
                "load": round(float(inside.mean() if len(inside) else load.mean()), 2),
            }
        )
    return found
