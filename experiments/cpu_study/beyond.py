"""Beyond the paper: variants of AugMax-DuBIN at the study's size.

Two need no training of their own. The study's AugMax-DuBIN keeps an average of its weights, and is
evaluated in four ways: its last weights and their average, over the clean route and with the
probabilities of both routes averaged. The others are trained, and evaluated as the study's runs.
"""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from augmax_jax.report import runs as reading
from augmax_jax.runtime import files
from augmax_jax.training.commands import train_and_evaluate
from experiments.cpu_study import setting
from experiments.recipes import Experiment

FOLDER = "beyond"  # of the records, in the folder of the study's
METHOD, NORM = setting.METHODS[setting.BASE]
SEEDS = (0, 1)


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


_HALF = {"adversary.every": 2}
_THREE_LOSSES = {f"objective.weights.{view}": 1 / 3 for view in ("clean", "augmix", "augmax")}
# The cheapest and most promising come first. Half of the attack gained most, so the next idea is
# tried together with it.
VARIANTS = {
    "few-steps": Variant("2 steps of 0.3", {"adversary.steps": 2, "adversary.step_size": 0.3}),
    "half-batch": Variant("attack on half of the batch", _HALF),
    "half-batch-three-losses": Variant(
        "attack on half and cross-entropy on the AugMix view", _HALF | _THREE_LOSSES
    ),
    "three-losses": Variant("cross-entropy on the AugMix view", _THREE_LOSSES, later=True),
    "ramp": Variant("λ rises over 10 epochs", {"objective.ramp_epochs": 10.0}, later=True),
    "width-5": Variant("5 chains", {"augment.width": 5}, later=True),
}
# What every variant has that does not change it.
SHARED = {"adversary.steps": 5}
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
# The study's own way comes last, so that the results in a run's directory are of that one.
WAYS = (Way("average", BOTH), Way("average", ("clean",)), Way("last", BOTH), PLAIN)
KEPT = "ways.json"  # in a run's directory


def experiments() -> list[Experiment]:
    """All runs of variants, in the order in which they are done."""
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
