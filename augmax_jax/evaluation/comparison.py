"""Which baseline the mCE of a benchmark is relative to; errors on another set are refused."""

import dataclasses
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from augmax_jax.corruptions import BENCHMARK, SEVERITIES
from augmax_jax.evaluation.baselines import BASELINES, Baseline
from augmax_jax.evaluation.metrics import error_matrix, interval, robust_accuracy
from augmax_jax.runtime import files, paths, run_directory
from augmax_jax.runtime.errors import nearest

logger = logging.getLogger(__name__)

# A CE divides by a number of errors. With this many, a tenth of it is chance.
FEWEST_ERRORS = 100


@dataclasses.dataclass(frozen=True)
class Target:
    """The benchmark whose mCE is wanted.

    Attributes:
        name: its name in results.
        constants: the benchmark whose severities it has, "" if that is not known.
        dataset: the dataset that the network was made for, "" if that is not known.
        identity: identity of the set, as `Store.identity` gives it; empty before it is read.
    """

    name: str
    constants: str = ""
    dataset: str = ""
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Reference:
    """The baseline that a name stands for: a published one, or the results of runs.

    Attributes:
        published: the published baseline, or None.
        runs: path -> content of the `results.json` of each run.
    """

    published: Baseline | None
    runs: Mapping[str, Mapping[str, Any]]

    def fit(self, target: Target) -> Baseline:
        """The baseline for one benchmark.

        Args:
            target: the benchmark.

        Raises:
            ValueError: the errors belong to another benchmark or dataset or are no fractions, or
                one of the 15 is 0, so that no error can be relative to it.
        """
        if self.published is not None:
            if self.published.constants != target.constants:
                theirs = repr(target.constants) if target.constants else "unknown"
                raise ValueError(
                    f"the errors of {self.published.name!r} are those under the severities of "
                    f"{self.published.constants!r}, and those of {target.name!r} are {theirs}"
                )
            return self.published
        found = [_errors(path, results, target) for path, results in self.runs.items()]
        cleans = [_clean_error(results) for results in self.runs.values()]
        known_cleans = [clean for clean in cleans if clean is not None]
        baseline = Baseline(
            " + ".join(dict.fromkeys(_name(path, run) for path, run in self.runs.items())),
            {c: float(np.mean([errors[c] for errors in found])) for c in BENCHMARK},
            float(np.mean(known_cleans)) if len(known_cleans) == len(cleans) else None,
        )
        for corruption in BENCHMARK:
            baseline.mean_error(corruption)  # refuses an error of 0
        return baseline

    def figures(self, target: Target) -> dict[str, Any] | None:
        """What the runs reach themselves, to stand beside the network's own figures.

        Args:
            target: the benchmark.

        Returns:
            "name", "sa" and "ra", a list with an entry for each run (`sa` is empty unless all
            runs know it), and, if the number of images is known, "ra_interval", that of the
            mean; None for a published baseline.

        Raises:
            ValueError: as `fit`.
        """
        if self.published is not None:
            return None
        found = [_errors(path, results, target) for path, results in self.runs.items()]
        cleans = [_clean_error(results) for results in self.runs.values()]
        ra = [robust_accuracy(errors) for errors in found]
        figures: dict[str, Any] = {
            "name": self.fit(target).name,
            "sa": [] if None in cleans else [1 - clean for clean in cleans if clean is not None],
            "ra": ra,
        }
        if count := target.identity.get("count"):
            figures["ra_interval"] = list(interval(float(np.mean(ra)), count))
        return figures

    def against(self, target: Target) -> tuple[Baseline | None, dict[str, Any]]:
        """What a benchmark can be compared with.

        Args:
            target: the benchmark, after it was read.

        Returns:
            The baseline of its mCE, None if there is none; and for its entry in `results.json`
            "reference", as of `figures`, and "no_mce", the reason for no mCE, if they apply.
        """
        try:
            baseline, figures = self.fit(target), self.figures(target)
        except ValueError as error:
            return None, {"no_mce": str(error)}
        beside: dict[str, Any] = {"reference": figures} if figures else {}
        if reason := mostly_chance(baseline, target.identity.get("count")):
            return None, beside | {"no_mce": reason}
        return baseline, beside


def mostly_chance(baseline: Baseline, images: int | None) -> str:
    """Why a baseline errs too seldom for an mCE; "" if it does not.

    mCE is a mean of ratios. Where the baseline errs on a handful of images, a ratio of two
    handfuls says little, and seeds of one setting differ in it by a factor.

    Args:
        baseline: the baseline.
        images: clean images of the benchmark; None if that is not known.
    """
    if images is None or baseline.constants:  # a published baseline was measured on a large set
        return ""
    errors = {name: baseline.mean_error(name) for name in BENCHMARK}
    name = min(errors, key=lambda corruption: errors[corruption])
    total = images * len(SEVERITIES)
    if errors[name] * total >= FEWEST_ERRORS:
        return ""
    return (
        f"the baseline errs on only {errors[name] * total:.0f} of {total:,} images under {name}, "
        "so that mCE, a mean of ratios, would be mostly chance; compare RA"
    )


def read(name: str) -> Reference | None:
    """Reads the baseline that `config.evaluate.baseline` names.

    Args:
        name: "" for none, a published baseline, or the `results.json` of another run, or its
            directory. The errors of several runs (such as seeds), separated by commas, are
            averaged.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the name is unknown, or a file holds no benchmark with all 15 corruptions.
    """
    parts = [part.strip() for part in name.split(",") if part.strip()]
    if not parts:
        return None
    if len(parts) == 1 and parts[0] in BASELINES:
        return Reference(BASELINES[parts[0]], {})
    return Reference(None, {part: _read_run(part) for part in parts})


def _read_run(name: str) -> Mapping[str, Any]:
    path = paths.expand(name)
    if path.is_dir():
        path = path / run_directory.RESULTS
        if not path.is_file():
            raise FileNotFoundError(
                f"config.evaluate.baseline {name!r} is a directory without {path.name}: evaluate "
                "the run there first"
            )
        logger.info("the baseline %s is a directory: its %s is read", name, path.name)
    elif not path.is_file():
        if path.suffix != ".json" and os.sep not in name and not name.startswith(("~", ".")):
            raise ValueError(
                f"unknown baseline {name!r}.{nearest(name, BASELINES)} Available: "
                f"{', '.join(BASELINES)}, or the results.json of a run, or its directory"
            )
        raise FileNotFoundError(f"config.evaluate.baseline {name!r} is not there")
    results = files.read_json(path, numbers=True)
    if not isinstance(results, dict) or not _tables(results):
        raise ValueError(f"{path} holds no benchmark with all 15 corruptions to be a baseline")
    return results


def _tables(results: Mapping[str, Any]) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """Accuracies by corruption and severity of each benchmark with all 15 corruptions."""
    benchmarks = results.get("benchmarks")
    tables = {
        name: found["accuracy"]
        for name, found in (benchmarks if isinstance(benchmarks, dict) else {}).items()
        if isinstance(found, dict) and isinstance(found.get("accuracy"), dict)
    }
    return {name: table for name, table in tables.items() if set(BENCHMARK) <= set(table)}


def _errors(path: str, results: Mapping[str, Any], target: Target) -> dict[str, list[float]]:
    """A run's errors on the 15 corruptions of the benchmark of this name."""
    tables = _tables(results)
    found = [name for name in tables if _last(name) == _last(target.name)]
    name = target.name if target.name in found else next(iter(found), None)
    if name is None:
        raise ValueError(f"{path} has no errors on {target.name!r}, but on {', '.join(tables)}")
    theirs = results.get("dataset")
    theirs = theirs if isinstance(theirs, str) else ""
    if theirs and target.dataset and _last(theirs) != _last(target.dataset):
        raise ValueError(f"the errors in {path} are those on {theirs!r}, not on {target.dataset!r}")
    their_set = results["benchmarks"][name].get("set")
    if isinstance(their_set, dict):
        _check_same_set(path, name, their_set, target.identity)
    try:
        accuracies = {c: [float(tables[name][c][str(s)]) for s in SEVERITIES] for c in BENCHMARK}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: {name!r} does not have an accuracy at each of the five severities"
        ) from error
    errors = {c: [1 - a for a in row] for c, row in accuracies.items()}
    try:
        error_matrix(errors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return errors


def _check_same_set(
    path: str, name: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> None:
    """Compares two sets as far as both are known."""
    differing = run_directory.differences_of_sets(theirs, ours)
    if differing:
        raise ValueError(
            f"the errors in {path} are those on another set called {name!r}: "
            f"{' and '.join(differing)} differ"
        )


def _clean_error(results: Mapping[str, Any]) -> float | None:
    """The run's error on clean images; None if its results lack it."""
    clean, selected = results.get("clean"), results.get("selected")
    scores = clean.get(selected) if isinstance(clean, dict) and isinstance(selected, str) else None
    accuracy = scores.get("accuracy") if isinstance(scores, dict) else None
    return 1 - accuracy if isinstance(accuracy, int | float) and 0 <= accuracy <= 1 else None


def _name(path: str, results: Mapping[str, Any]) -> str:
    return str(results.get("method") or results.get("name") or Path(path).stem)


def _last(name: str) -> str:
    """A name, or the last part of a path."""
    return Path(name).name if os.sep in name else name
