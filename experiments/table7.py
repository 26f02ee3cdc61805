"""Table 7: training time of Normal, AugMix, AT (PGD) and AugMax, ResNet18 on ImageNet.

The script times whole training steps on real batches, with the reading of the batch and without
compilation. The methods take turns, so that other load on the machine affects all of them. The time
of an epoch is the median step times the steps of an epoch. Only ratios can be compared with the
paper's. Attacks that stop early cost more on a network of higher accuracy: if Table 4 has trained
a run in the same workdir, its network is used, otherwise an untrained one.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax.report.tables import Table
from augmax_jax.runtime import compiler, files, parallel
from augmax_jax.runtime.run_directory import has_checkpoints
from augmax_jax.training.batches import device_batches
from augmax_jax.training.checkpoints import read_variables
from augmax_jax.training.commands import use_compilation_cache
from augmax_jax.training.run import build
from experiments import common, grid, paper, study
from experiments.recipes import Experiment

RUNS = {
    "Normal": Experiment("imagenet", "resnet18", "normal", "bn"),
    "AugMix": Experiment("imagenet", "resnet18", "augmix", "bn"),
    "AT": Experiment("imagenet", "resnet18", "pgd_at", "bn"),
    "AugMax": Experiment("imagenet", "resnet18", "augmax", "dubin"),
}
TITLE = "Table 7: seconds per epoch, ResNet18 on ImageNet"
TIMING = "timing.json"  # in the run's directory


class Clock:
    """One method's compiled step, timed step by step.

    Args:
        config: config of the run.
        directory: directory of the run; if a network was trained there, it is used.
    """

    def __init__(self, config: ConfigDict, directory: Path):
        use_compilation_cache(config)
        run = build(config)
        state = run.initial_state()
        self.trained = has_checkpoints(directory)
        if self.trained:
            state = state.with_variables(read_variables(directory))
        self._step = parallel.pmap(
            run.train_step(),
            run.devices,
            donate=(0,),
            compiler_options=compiler.jit_options(run.devices[0].platform),
        )
        self._state = parallel.replicate(state, run.devices)
        self._batches: Iterator = device_batches(run, 0)
        self.steps_per_epoch = -(-len(run.data.train) // config.batch_size)
        self.device = f"{len(run.devices)} x {run.devices[0].device_kind}"
        self.most = config.adversary.steps if config.method == "augmax" else None
        self.seconds: list[float] = []
        self.ascent: list[float] = []
        for _ in range(2):  # compiles; fills the queue of batches
            self.tick()
        self.seconds.clear()
        self.ascent.clear()

    def tick(self) -> None:
        """Takes one training step and its time."""
        start = time.perf_counter()
        self._state, metrics = self._step(self._state, next(self._batches))
        jax.block_until_ready((self._state, metrics))
        self.seconds.append(time.perf_counter() - start)
        if "ascent_steps" in metrics:
            self.ascent.append(float(parallel.first(metrics)["ascent_steps"]))

    def results(self) -> dict[str, Any]:
        """The content of `timing.json`."""
        step = statistics.median(self.seconds)
        return {
            "seconds_per_step": step,
            "steps_timed": len(self.seconds),
            "steps_per_epoch": self.steps_per_epoch,
            "seconds_per_epoch": step * self.steps_per_epoch,
            "ascent_steps": statistics.fmean(self.ascent) if self.ascent else None,
            "ascent_steps_at_most": self.most,
            "trained_network": self.trained,
            "device": self.device,
        }


def look(config: ConfigDict, directory: Path) -> study.Outcome:
    """Whether a method was timed with this config."""
    kept = files.read_json(directory / TIMING)
    if kept is None or configs.differences(configs.to_dict(config), kept["config"]):
        return study.Outcome(study.WAITING)
    return study.Outcome(study.DONE, results=kept["results"])


def measure(found: study.Study) -> None:
    """Times all methods together, unless all have been timed already."""
    steps = 3 if found.options.smoke else found.options.extra["steps"]
    if steps < 1:
        raise ValueError(f"--steps must be at least 1, got {steps}")
    wanted = found.wanted()
    if all(look(found.configs[n], found.options.root / n).state == study.DONE for n in wanted):
        return
    clocks: dict[str, Clock] = {}
    for name in wanted:
        print(f"compiling the step of {name}", flush=True)
        try:
            clocks[name] = Clock(found.configs[name], found.options.root / name)
        except FileNotFoundError as error:
            found.note(name, study.Outcome(study.NO_DATA, str(error)))
        except Exception as error:  # after any error the other methods go on
            found.note(name, study.failure(name, error))
    for _ in range(steps):
        for clock in clocks.values():
            clock.tick()
    for name, clock in clocks.items():
        directory = found.options.root / name
        directory.mkdir(parents=True, exist_ok=True)
        results = clock.results()
        kept = {"config": configs.to_dict(found.configs[name]), "results": results}
        files.write_json(directory / TIMING, kept)
        found.note(name, study.Outcome(study.DONE, results=results))


def draw(found: study.Study) -> Table:
    """Seconds per epoch and ratios."""
    ours = {name: found.outcome(run).results for name, run in RUNS.items()}
    theirs = {row["method"]: float(row["seconds"]) for row in paper.rows("table7")}
    base = ours["Normal"].get("seconds_per_epoch")
    rows = {}
    for name, results in ours.items():
        seconds = results.get("seconds_per_epoch")
        ratio = f"{seconds / base:.2f}" if seconds and base else grid.ABSENT
        rows[name] = (
            [f"{seconds:,.4g}" if seconds else grid.ABSENT, ratio],
            [f"{theirs[name]:,.0f}", f"{theirs[name] / theirs['Normal']:.2f}"],
        )
    table = grid.beside(("s per epoch", "× Normal"), rows, smoke_run=found.options.smoke)
    notes = []
    for name, results in ours.items():
        if results:
            network = "trained" if results["trained_network"] else "untrained"
            text = (
                f"{name}: {1000 * results['seconds_per_step']:.4g} ms a step, median of "
                f"{results['steps_timed']}, x {results['steps_per_epoch']} steps; {network} network"
            )
            if results["ascent_steps_at_most"]:
                most = results["ascent_steps_at_most"]
                text += f", {results['ascent_steps']:.2f} of at most {most} ascent steps a sample"
            notes.append(f"{text}; {results['device']}.")
    table.note = "\n".join([*notes, "Extrapolated from single steps, compilation excluded."])
    return table


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the script's own flags."""
    parser.add_argument("--steps", type=int, default=20, help="steps to time per method")


def main(arguments: list[str] | None = None) -> int:
    """Runs the script; returns the exit status."""
    return common.run_script(
        "table7",
        __doc__,
        TITLE,
        list(RUNS.values()),
        draw,
        perform=measure,
        look=look,
        flags=flags,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
