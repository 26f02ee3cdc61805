"""Runs that are done without having been run."""

from pathlib import Path

import pytest

from augmax_jax.corruptions import BENCHMARK
from augmax_jax.runtime import files, run_directory
from augmax_jax.training import workdir
from experiments import recipes
from experiments.options import Options


def results_of(config, accuracy=0.9, robust=0.7, missing=()):
    """The results that a run with these figures would write."""
    by_corruption = {c: {str(s): robust for s in range(1, 6)} for c in BENCHMARK}
    measured = {}
    for name in config.evaluate.benchmarks:
        if name in missing:
            continue
        shift = name in ("cifar10_1_v4", "spatial")
        measured[name] = (
            {"source": "files", "accuracy": robust - 0.1}
            if shift
            else {
                "source": "files",
                "accuracy": by_corruption,
                "ra": robust,
                "mce": 0.8,
                "ra_noise_free": robust + 0.05,
                "mce_noise_free": 0.75,
            }
        )
    return {
        "method": config.method,
        "selected": "best",
        "clean": {"best": {"accuracy": accuracy}},
        "benchmarks": measured,
        "not_measured": {name: f"{name} is not there" for name in missing},
    }


class Worker:
    """Replaces training: writes the files of a run, and records its calls.

    Attributes:
        done: names of the directories it was called for.
        errors: name -> what to raise instead.
        options: of `results_of`.
    """

    def __init__(self):
        self.done, self.errors, self.options = [], {}, {}

    def __call__(self, config, directory: Path):
        self.done.append(directory.name)
        workdir.claim(config, directory)
        if directory.name in self.errors:
            raise self.errors[directory.name]
        files.write_json(directory / run_directory.RESULTS, results_of(config, **self.options))


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path / "runs")


@pytest.fixture
def normal():
    return recipes.Experiment("cifar10", "wrn40_2", "normal", "bn")


@pytest.fixture
def augmax():
    return recipes.Experiment("cifar10", "wrn40_2", "augmax", "dubin")
