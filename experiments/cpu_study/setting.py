"""The runs of the study and the settings that they share."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from augmax_jax import config as configs
from augmax_jax.runtime import files
from experiments.options import Options
from experiments.recipes import Experiment

# Name of a row -> its method and norm. The paper's Table 8 has the last four.
METHODS = {
    "Normal-BN": ("normal", "bn"),
    "AugMix-BN": ("augmix", "bn"),
    "AugMix-DuBIN": ("augmix", "dubin"),
    "AugMax-DuBN": ("augmax", "dubn"),
    "AugMax-DuBIN": ("augmax", "dubin"),
}
SEEDS = (0, 1, 2)
# The row that variants are compared with. Beside its weights it keeps their average, over some 200
# steps (2.6 epochs), which does not change the training.
BASE = "AugMax-DuBIN"
AVERAGE = ("optimizer.ema", 0.995)

# What differs from `configs/cifar10_wrn40_2.py`. The network has 0.3 M parameters. The last
# checkpoint is measured, so the held-out images choose nothing: they draw the learning curve.
SETTINGS = {
    "model.options.depth": "10",
    "batch_size": "128",
    "epochs": "25",
    "adversary.steps": "5",  # n of the paper's ImageNet runs; its CIFAR runs have 10
    "data.holdout": repr(1 / 11),  # of 11,000 images: 10,000 are left to train on
    "evaluate.checkpoint": "last",
    "log_every": "78",  # about an epoch
    "pictures_every_epochs": "0",
    "checkpoint.keep": "1",
    "tensorboard": "false",
    "progress": "false",
}
# Settings that differ between the rows, or say only where files lie.
_NOT_SHARED = (
    "method",
    "model.norm",
    "seed",
    "objective.consistency_weight",  # AugMix has its own
    "fat.boundaries",  # follows the epochs, and no run here uses it
    "data.name",
    "data.labels",
    "evaluate.benchmarks",
)


def experiments() -> list[Experiment]:
    """All runs, in the order in which they are done: every method once, then the next seed."""
    return [
        Experiment(
            "cifar10", "wrn40_2", method, norm, seed, changes=(AVERAGE,) if title == BASE else ()
        )
        for seed in SEEDS
        for title, (method, norm) in METHODS.items()
    ]


def name(experiment: Experiment) -> str:
    """The stem of a run's JSON file, such as "augmax-dubin-s0"."""
    kind = experiment.label or f"{experiment.method}-{experiment.norm}"
    return f"{kind}-s{experiment.seed}"


def row(method: str, norm: str) -> str:
    """The name of the row of a method and a norm."""
    return next(title for title, pair in METHODS.items() if pair == (method, norm))


def options(
    data: Path,
    workdir: Path,
    *,
    table: Path,
    benchmark: Path,
    changes: Sequence[tuple[str, str]] = (),
    only: Sequence[str] = (),
    leaving: Collection[str] = (),
) -> Options:
    """The options under which `experiments.study` does the runs.

    Args:
        data: folder of the images, with `train/<class>/` and `test/<class>/`.
        workdir: the folder of the study; the runs go into `runs/` in it.
        table: the table of the images that take part.
        benchmark: the folder of the corrupted images.
        changes: settings that differ from `SETTINGS`, as (name, text).
        only: patterns of the names of runs; empty: all.
        leaving: names in `SETTINGS` that every run sets for itself.
    """
    own = {name: text for name, text in SETTINGS.items() if name not in leaving}
    settings = own | {
        "data.labels": str(table),
        "evaluate.benchmarks": repr((str(benchmark),)),
    }
    return Options(
        workdir / "runs",
        data={"cifar10": str(data)},
        settings=(*settings.items(), *changes),
        only=tuple(only),
    )


def shared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in which all runs of one study differ from the defaults, by name; no paths.

    Args:
        config: a run's config, as `augmax_jax.config.to_dict` gives it.
    """
    usual = configs.settings_of(configs.to_dict(configs.defaults()))
    return {
        key: value
        for key, value in sorted(configs.settings_of(config).items())
        if key not in _NOT_SHARED
        and configs.has_effect(key)
        and (key not in usual or usual[key] != value)
    }


def digest(config: Mapping[str, Any], changed: Collection[str] = ()) -> str:
    """A digest of the settings that `shared` gives: runs with different ones do not compare.

    Args:
        config: a run's config, as `augmax_jax.config.to_dict` gives it.
        changed: names of settings that count as the study has them, because the run is about them.
    """
    found = {key: value for key, value in shared(config).items() if key not in changed}
    found |= {k: configs.read_setting(k, SETTINGS[k]) for k in changed if k in SETTINGS}
    return hashlib.sha256(files.dumps(dict(sorted(found.items()))).encode()).hexdigest()[:16]
