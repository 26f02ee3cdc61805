"""Reads the files that a run left in its workdir; each may be missing."""

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augmax_jax.methods import METHODS
from augmax_jax.runtime import files, paths, storage
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.run_directory import CONFIG, RESULTS, read_history

_NORMS = {"bn": "", "ibn": "IBN", "dubn": "DuBN", "dubin": "DuBIN"}
_MODELS = {
    "resnet18": "ResNet18", "wrn40_2": "WRN40-2", "resnext29": "ResNeXt29",
    "resnet18_imagenet": "ResNet18", "resnet50_imagenet": "ResNet50",
}  # fmt: skip


@dataclasses.dataclass
class SavedRun:
    """A run as its workdir shows it.

    Attributes:
        path: the workdir.
        name: what tells the run from others.
        config: nested settings, from `config.json`.
        history: rows of `history.jsonl`.
        results: `results.json`.
        pictures: name without `.png` -> file, from `pictures/`.
        mistakes: name of the benchmark's files -> the mistakes on it, from `pictures/`.
    """

    path: RunPath
    name: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    results: dict[str, Any]
    pictures: dict[str, RunPath]
    mistakes: dict[str, RunPath] = dataclasses.field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method as the paper writes it, such as AugMax-DuBIN."""
        return method_label(self.results, self.config)

    @property
    def model(self) -> str:
        """The network as the paper writes it."""
        return model_label(self.results, self.config)

    @property
    def given(self) -> bool:
        """Whether it is a network that was handed to `evaluate_model`, no run of ours."""
        return is_given(self.results)

    @property
    def title(self) -> str:
        """The network and what it is for, as the paper writes them, or as they were given."""
        return f"{network_label(self.results, self.config)} on {self.dataset}"

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        if self.given:
            return self.results.get("dataset") or "the images given"
        name = self.results.get("dataset") or self.config.get("data", {}).get("name") or "?"
        return Path(str(name)).name if os.sep in str(name) else str(name)

    @property
    def seed(self) -> Any:
        """The run's seed, None where unknown."""
        return self.results.get("seed", self.config.get("seed"))

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Rows of the history of one kind."""
        return [row for row in self.history if row.get("kind") == kind]


def load(workdir: str | os.PathLike[str], *, history: bool = True) -> SavedRun:
    """Reads a run.

    A damaged JSON file counts as missing, with a warning.

    Args:
        workdir: the run's directory.
        history: read `history.jsonl` too, which is long after a long run.

    Raises:
        ValueError: it is not a directory, or holds none of a run's files.
    """
    path = paths.expand_workdir(workdir)
    with storage.explained(path):
        return _load(path, os.fspath(workdir), history=history)


def _load(path: RunPath, given: str, *, history: bool) -> SavedRun:
    if not path.is_dir():
        raise ValueError(f"run {given!r} is not a directory")
    run = SavedRun(
        path=path,
        name=resolved(path).name,
        config=_read(path / CONFIG),
        history=read_history(path) if history else [],
        results=_read(path / RESULTS),
        pictures={p.stem: p for p in sorted((path / "pictures").glob("*.png"))},
        mistakes={
            p.stem.removeprefix("mistakes_"): p
            for p in sorted((path / "pictures").glob("mistakes_*.json"))
        },
    )
    if not (run.config or run.history or run.results):
        raise ValueError(f"run {given!r} holds none of config.json, history.jsonl and results.json")
    return run


def load_all(workdirs: Sequence[str | os.PathLike[str]]) -> list[SavedRun]:
    """Reads several runs and gives them names that differ.

    Raises:
        ValueError: as `load`; or a single path is given.
    """
    if isinstance(workdirs, str | os.PathLike):
        raise ValueError(f"runs must be a list of directories, got {workdirs!r}")
    runs = [load(workdir) for workdir in workdirs]
    parts = [resolved(run.path).parts for run in runs]
    length = 1
    while length < 20 and len({p[-length:] for p in parts}) < len({*parts}):
        length += 1
    for run, part in zip(runs, parts, strict=True):
        run.name = "/".join(part[-length:])
    return runs


def resolved(path: RunPath) -> RunPath:
    """A path without links and dots, which one of a bucket has not."""
    return path if paths.is_remote(path) else path.resolve()


def method_label(results: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> str:
    """The method as the paper writes it, such as AugMax-DuBIN."""
    config = config or {}
    method = results.get("method") or config.get("method")
    norm = results.get("norm") or config.get("model", {}).get("norm") or "bn"
    if method is None:
        return results.get("name") or "model"
    known = METHODS.get(method)
    return "-".join(filter(None, (known.label if known else method, _NORMS.get(norm, norm))))


def model_label(results: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> str:
    """The network as the paper writes it, such as WRN40-2."""
    name = results.get("model") or (config or {}).get("model", {}).get("name") or "?"
    return _MODELS.get(name, name)


def is_given(results: Mapping[str, Any]) -> bool:
    """Whether results are those of a network that was handed to `evaluate_model`."""
    return "called" in results


def network_label(results: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> str:
    """Method and network as the paper writes them, or the name that a network was given."""
    if is_given(results):
        return results.get("name") or "the network given"
    return f"{method_label(results, config)}, {model_label(results, config)}"


def clean(results: Mapping[str, Any]) -> dict[str, Any]:
    """Clean scores of the checkpoint that counts."""
    scores = results.get("clean") or {}
    return scores.get(results.get("selected", "best")) or next(iter(scores.values()), {})


def benchmark_scores(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Benchmark -> the figures that stand in tables: "RA" and "mCE" (fractions).

    A set without corruptions (such as CIFAR-10.1) has "accuracy" alone.
    """
    scores: dict[str, dict[str, float]] = {}
    for name, found in (results.get("benchmarks") or {}).items():
        shown = {}
        if isinstance(found.get("accuracy"), int | float):
            shown["accuracy"] = found["accuracy"]
        for key, title in (("ra", "RA"), ("mce", "mCE")):
            if found.get(key) is not None:
                shown[title] = found[key]
        if shown:
            scores[name] = shown
    return scores


def accuracy_table(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Corruption -> severity -> accuracy of a benchmark; empty for one without corruptions."""
    table = found.get("accuracy")
    return dict(table) if isinstance(table, Mapping) else {}


def ascent_shares(train: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Ascent steps taken -> share of the samples, over all rows; empty without an ascent."""
    prefix = "ascent_steps/"
    lengths = sorted({int(name.removeprefix(prefix)) for row in train for name in row
                      if name.startswith(prefix)})  # fmt: skip
    steps = [row.get("step") for row in train]
    # A row is the mean of the steps since the one before it.
    weighted = [
        (row, step - before if step is not None and before is not None else 1)
        for row, step, before in zip(train, steps, [0, *steps], strict=False)
        if f"{prefix}0" in row
    ]
    total = sum(weight for _, weight in weighted)
    return {t: sum(w * row.get(f"{prefix}{t}", 0.0) for row, w in weighted) / total
            for t in lengths}  # fmt: skip


def ascent_work(shares: Mapping[int, float]) -> float:
    """Evaluations that samples needed, over those of the full number of steps for all.

    A sample that stops after t steps is evaluated once more, to see that it is misclassified.
    """
    most = max(shares)
    if most == 0:
        return 0.0
    return sum(share * min(taken + 1, most) for taken, share in shares.items()) / most


def _read(path: RunPath) -> dict[str, Any]:
    try:
        value = files.read_json(path, numbers=path.name == RESULTS)
    except ValueError as error:
        warnings.warn(f"{error}; it was left out", stacklevel=3)
        return {}
    return value if isinstance(value, dict) else {}
