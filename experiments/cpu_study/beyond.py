"""Beyond the paper: variants of AugMax-DuBIN at the study's size, each evaluated in four ways.

Every variant keeps an average of its weights, and every network is evaluated over the clean route
and with the probabilities of both routes averaged. So one training answers for a variant, for the
average of its weights, for the average over routes, and for their combinations.
"""

import copy
import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from augmax_jax.report import runs as reading
from augmax_jax.runtime import files, model_file, run_directory
from augmax_jax.training.commands import evaluate_workdir, train_and_evaluate
from experiments.cpu_study import setting
from experiments.recipes import Experiment

FOLDER = "beyond"  # of the records, in the folder of the study's
METHOD, NORM = "augmax", "dubin"
ROW = setting.row(METHOD, NORM)
SEEDS = (0, 1)
THIRD = 1 / 3


@dataclasses.dataclass(frozen=True)
class Variant:
    """A setting that may beat AugMax-DuBIN.

    Attributes:
        title: its name in tables.
        changes: the settings in which it differs from AugMax-DuBIN.
        later: whether its runs come after those of all others.
    """

    title: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    later: bool = False


# The cheapest and most promising come first.
VARIANTS = {
    "base": Variant("AugMax-DuBIN again"),
    "few-steps": Variant("2 steps of 0.3", {"adversary.steps": 2, "adversary.step_size": 0.3}),
    "half-batch": Variant("attack on half of the batch", {"adversary.every": 2}),
    "three-losses": Variant(
        "cross-entropy on the AugMix view",
        {f"objective.weights.{view}": THIRD for view in ("clean", "augmix", "augmax")},
    ),
    "ramp": Variant("λ rises over 10 epochs", {"objective.ramp_epochs": 10.0}),
    "width-5": Variant("5 chains", {"augment.width": 5}, later=True),
}
# What every variant has. The average reaches over some 200 steps, 2.6 epochs.
SHARED = {"adversary.steps": 5, "optimizer.ema": 0.995}
# Settings of the study that variants change, so that every run sets them for itself.
LEAVING = tuple(name for name in SHARED if name in setting.SETTINGS)


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to evaluate a trained network.

    Attributes:
        weights: `config.evaluate.checkpoint`.
        routes: `config.evaluate.routes`.
    """

    weights: str
    routes: tuple[str, ...]

    @property
    def name(self) -> str:
        """What records call it, such as "last, clean"."""
        return f"{self.weights}, {'+'.join(self.routes)}"


BOTH = ("clean", "augmented")
PLAIN = Way("last", ("clean",))
LAST_BOTH = Way("last", BOTH)
# The study's own way comes last, so that the results in a run's directory are of that one.
WAYS = (Way("average", BOTH), Way("average", ("clean",)), LAST_BOTH, PLAIN)
KEPT = "ways.json"  # in a run's directory


def experiments() -> list[Experiment]:
    """All runs, in the order in which they are done."""
    return [
        Experiment(
            "cifar10",
            "wrn40_2",
            METHOD,
            NORM,
            seed,
            changes=tuple((SHARED | dict(variant.changes)).items()),
            label=name,
        )
        for later in (False, True)
        for seed in SEEDS
        for name, variant in VARIANTS.items()
        if variant.later == later
    ]


def train_and_measure(config: ConfigDict, directory: Path) -> None:
    """Trains a run, or goes on with it, and evaluates it in every way that is not done.

    Args:
        config: the run's config.
        directory: its directory; `ways.json` in it gets the figures of each way as it is done.
    """
    kept = ways(directory)
    for way in WAYS:
        if way.name in kept and way != PLAIN:
            continue
        kept[way.name] = figures(train_and_evaluate(evaluated(config, way), directory))
        files.write_json(directory / KEPT, kept)


def measure_copy(source: Path, config: ConfigDict, directory: Path, way: Way) -> dict[str, Any]:
    """Evaluates a finished run in another way, and leaves its own files as they are.

    Args:
        source: the run's directory.
        config: its config.
        directory: a folder for a copy of its checkpoints, and for the results.
        way: how to evaluate it.

    Returns:
        The figures, as of `figures`.

    Raises:
        OSError: the run cannot be copied.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in (run_directory.CONFIG, model_file.MODEL):
        if (source / name).exists():
            shutil.copy2(source / name, directory / name)
    kept = run_directory.CHECKPOINTS
    if not (directory / kept).exists():
        half = directory / f"{kept}.half"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(source / kept, half)
        half.rename(directory / kept)
    return figures(evaluate_workdir(evaluated(config, way), directory))


def evaluated(config: ConfigDict, way: Way) -> ConfigDict:
    """The config of a run that is evaluated in this way."""
    changed = copy.deepcopy(config)
    changed.evaluate.checkpoint, changed.evaluate.routes = way.weights, way.routes
    return changed


def figures(results: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of an evaluation.

    Args:
        results: a run's `results.json`.

    Returns:
        "sa", "ra", and "accuracy" by corruption and severity.

    Raises:
        ValueError: the corrupted images were not measured.
    """
    found: Mapping[str, Any] = next(iter((results.get("benchmarks") or {}).values()), {})
    if "ra" not in found:
        raise ValueError(f"the corrupted images were not measured: {results.get('not_measured')}")
    sa = reading.clean(results)["accuracy"]
    return {"sa": sa, "ra": found["ra"], "accuracy": found["accuracy"]}


def ways(directory: Path) -> dict[str, Any]:
    """The figures of the ways in which a run was evaluated, by name."""
    return files.read_json(directory / KEPT) or {}


def study_name(seed: int) -> str:
    """The stem of the record of the study's own AugMax-DuBIN, evaluated over both routes."""
    return f"study-s{seed}"
