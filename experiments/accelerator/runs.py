"""The run list of Table 2, as far as the time goes; the next session goes on from there."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from augmax_jax.report import runs as reading
from augmax_jax.runtime import run_directory
from experiments import grid, study
from experiments.accelerator import pieces
from experiments.options import Options
from experiments.recipes import Experiment
from experiments.table2 import GRID

logger = logging.getLogger(__name__)

FOLDER = "runs"
RESERVE = 25.0  # seconds to save and pack in
LEAST = 150.0  # seconds below which it is not worth beginning: images are read, a step is compiled
# What TensorBoard needs is not there; the bar is for people.
SETTINGS = (("tensorboard", "false"), ("progress", "false"), ("checkpoint.keep", "1"))


def experiments() -> list[Experiment]:
    """The runs of Table 2, those of the smallest network first."""
    return sorted(GRID.experiments, key=lambda e: e.network != "wrn40_2")


def go_on(
    out: Path,
    data: Path,
    seconds: float,
    *,
    changes: Sequence[tuple[str, str]] = (),
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains and evaluates the runs that are not done, for some seconds.

    Args:
        out: folder with the pieces of earlier sessions, and of this one at its end.
        data: CIFAR-10 as `train/<class>/*` and `test/<class>/*`.
        seconds: time to use.
        changes: settings that differ from the paper's, as (name, text).
        only: names of the runs; empty: all.

    Returns:
        Name of each run -> its state, epoch, and figures as fractions.

    Raises:
        ValueError: a setting is wrong, or the pieces are damaged.
    """
    folder = pieces.unpack(FOLDER, out)
    try:
        options = Options(
            folder,
            data={"cifar10": str(data)},
            corrupt=True,
            settings=(*SETTINGS, *changes),
            only=tuple(only),
        )
        found = study.Study(experiments(), options)
        with contextlib.suppress(KeyboardInterrupt), interrupted_after(seconds - RESERVE):
            found.run()
        return {name: _state(found, name, options.root / name) for name in found.experiments}
    finally:
        pieces.pack(folder, out)


def _state(found: study.Study, name: str, directory: Path) -> dict[str, Any]:
    outcome = found.outcome(found.experiments[name])
    trained = [r for r in run_directory.read_history(directory) if r.get("kind") == "train"]
    selected = reading.clean(outcome.results) if outcome.results else {}
    return {
        "state": outcome.state,
        "epoch": trained[-1]["epoch"] if trained else 0,
        "epochs": found.configs[name].epochs,
        "SA": selected.get("accuracy"),
        "RA": grid.figure(outcome.results, "RA"),
        **({"note": outcome.note} if outcome.note else {}),
    }


@contextlib.contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Sends this process SIGTERM after some seconds, on which a training saves its state.

    Outside a training the signal raises KeyboardInterrupt. After the context nothing is sent.
    """

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    timer = threading.Timer(max(0.0, seconds), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGTERM, before)
