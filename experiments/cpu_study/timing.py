"""Step times of the study's methods in turns, for a quiet machine.

The runs share their machine with other work, so their clocks do not compare. Here every method
takes one training step after the other, on the network that its run has trained if there is one,
and the medians are compared.
"""

import os
import statistics
import time
from typing import Any

import jax

from augmax_jax.runtime import provenance
from experiments import study
from experiments.cpu_study import setting
from experiments.table7 import Clock

QUIET = 0.6  # load average before the measurement, above which others were working


def measure(found: study.Study, steps: int) -> dict[str, Any]:
    """Times the five methods.

    Args:
        found: the study; the runs of the first seed are timed.
        steps: steps of each method.

    Returns:
        The content of `time.json`: for each row seconds of wall clock and CPU a step, medians and
        all of them, and the ratios to Normal.

    Raises:
        ValueError: `steps` is not positive.
    """
    if steps < 1:
        raise ValueError(f"--steps must be at least 1, got {steps}")
    before = os.getloadavg()[0]
    clocks: dict[str, Clock] = {}
    for experiment in setting.experiments()[: len(setting.METHODS)]:
        title = setting.row(experiment.method, experiment.norm)
        print(f"compiling the step of {title}", flush=True)
        clocks[title] = Clock(found.config(experiment), found.directory(experiment))
    session = provenance.begin(jax.local_devices()[:1])
    cpu: dict[str, list[float]] = {title: [] for title in clocks}
    for _ in range(steps):
        for title, clock in clocks.items():
            begin = time.process_time()
            clock.tick()
            cpu[title].append(time.process_time() - begin)
    rows = {title: _row(clock, cpu[title]) for title, clock in clocks.items()}
    base = next(iter(rows.values()))
    for row in rows.values():
        for kind in ("wall", "cpu"):
            row[f"{kind}_ratio"] = round(row[f"{kind}_median"] / base[f"{kind}_median"], 3)
    config = found.config(setting.experiments()[0])
    session = provenance.finish(session)
    return {
        "steps": steps,
        "batch_size": config.batch_size,
        "load_before": round(before, 2),
        "quiet": before < QUIET,
        "cores": os.cpu_count(),
        "rows": rows,
        "provenance": {name: value for name, value in session.items() if name != "command"},
    }


def _row(clock: Clock, cpu: list[float]) -> dict[str, Any]:
    results = clock.results()
    return {
        "wall_median": round(statistics.median(clock.seconds), 5),
        "wall_least": round(min(clock.seconds), 5),
        "cpu_median": round(statistics.median(cpu), 5),
        "wall": [round(value, 5) for value in clock.seconds],
        "seconds_per_epoch": round(results["seconds_per_epoch"], 2),
        "ascent_steps": results["ascent_steps"],
        "trained_network": results["trained_network"],
    }
