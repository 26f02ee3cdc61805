"""Robustness of any network: accuracy by corruption and severity, RA, mCE, calibration.

A benchmark is read part by part; what a part gave is written at once, so an interrupted
evaluation goes on where it was.
"""

import csv
import functools
import io
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from scipy.special import log_softmax
from tqdm import tqdm

from augmax_jax import corruptions
from augmax_jax.adversary import spatial
from augmax_jax.data import Data, Split
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.benchmarks import Benchmark, open_benchmark
from augmax_jax.evaluation import metrics
from augmax_jax.evaluation.corrupted import CORRUPTED, DerivedSplit, corrupted
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.evaluation.predictions import Score, function_score, predict, scores
from augmax_jax.runtime import files, paths, run_directory

logger = logging.getLogger(__name__)

SPATIAL = "spatial"  # the benchmark "worst of 10 rotations and shifts of the test split"

# corruption (or "all" for a set without) -> severity -> scores
Rows = dict[str, dict[str, dict[str, float]]]


def find(name: str, config: ConfigDict, data: Data) -> Benchmark:
    """The benchmark that a config names: "corrupted", a published one, or a folder.

    Raises:
        ValueError: the name is unknown, or the set does not fit the run.
        FileNotFoundError: it is not there.
    """
    if name == CORRUPTED:
        return corrupted(data.test, constants=config.evaluate.constants, seed=config.seed)
    return open_benchmark(
        name,
        class_names=data.class_names,
        image_size=config.data.image_size,
        root=config.evaluate.data_dir,
        data_dir=config.data.data_dir,
        bad_images=config.data.bad_images,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


class Store:
    """What has been evaluated so far, kept in a JSON file that belongs to one set of weights.

    Args:
        path: the file; None keeps nothing.
        fingerprint: of the weights and settings; a file of another is started anew.
    """

    def __init__(self, path: Path | None = None, fingerprint: Mapping[str, Any] | None = None):
        self._path, self._fingerprint = path, dict(fingerprint or {})
        self.rows: Rows = {}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = files.read_json(path, numbers=True) or {}
            if kept.get("fingerprint") == self._fingerprint:
                self.rows = kept["rows"]

    def add(self, corruption: str, severity: str, found: dict[str, float]) -> None:
        """Keeps the scores of one part."""
        self.rows.setdefault(corruption, {})[severity] = found
        if self._path is not None:
            files.write_json(self._path, {"fingerprint": self._fingerprint, "rows": self.rows})

    def write_csv(self) -> None:
        """Writes the rows as a table beside the JSON file."""
        if self._path is None:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["corruption", "severity", "accuracy", "loss", "ece", "count"])
        for corruption, by_severity in self.rows.items():
            for severity, row in by_severity.items():
                values = [row[name] for name in ("accuracy", "loss", "ece", "count")]
                writer.writerow([corruption, severity, *values])
        files.write_text(self._path.with_suffix(".csv"), text.getvalue())


def fingerprint(tree: Any) -> int:
    """A checksum of a tree of host arrays, such as a network's variables."""
    check = 0
    for leaf in jax.tree.leaves(tree):
        check = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), check)
    return check


def evaluate_benchmark(
    score: Score,
    benchmark: Benchmark,
    *,
    batch_size: int,
    devices: int = 1,
    store: Store | None = None,
    gallery: Gallery | None = None,
    progress: bool = True,
) -> Rows:
    """Scores a network on every part of a benchmark.

    Args:
        score: the network.
        benchmark: the set.
        batch_size: examples at a time.
        devices: over which `score` splits a batch.
        store: keeps what is done, and knows what was.
        gallery: collects pictures as the images pass.
        progress: show a bar.

    Returns:
        corruption -> severity -> {"accuracy", "loss", "ece", "count"}; a set without
        corruptions has the one row "all", "0".
    """
    store = store or Store()
    parts: list[tuple[str | None, int | None]] = [
        (corruption, severity)
        for corruption in benchmark.corruptions
        for severity in benchmark.severities
    ] or [(None, None)]
    bar = tqdm(parts, desc=benchmark.name, disable=None if progress else True, leave=False)
    for corruption, severity in bar:
        row, column = corruption or "all", str(severity or 0)
        if column in store.rows.get(row, {}):
            continue
        bar.set_postfix_str(f"{row} {column}")
        logits, labels = predict(
            score,
            benchmark.load(corruption, severity),
            batch_size,
            devices=devices,
            observe=gallery.observer(row, column) if gallery else None,
        )
        if benchmark.classes is not None:
            logits = metrics.restrict_classes(logits, benchmark.classes)
        store.add(row, column, scores(logits, labels))
    store.write_csv()
    return store.rows


def evaluate_spatial(
    score: Score, split: Split, *, batch_size: int, devices: int = 1, k: int = 10, seed: int = 0
) -> dict[str, float]:
    """Worst-of-k spatial robustness: the scores under each image's most harmful map (Table 11).

    The k maps are random rotations within 30 degrees with shifts within 3 pixels
    (`adversary.worst_of_k_spatial` is the same as one jittable function).

    Args:
        score: the network.
        split: clean images.
        batch_size: examples at a time.
        devices: over which `score` splits a batch.
        k: maps tried for each image.
        seed: of the maps.

    Returns:
        {"accuracy", "loss", "ece", "count"} of the worst of k.
    """
    draw = jax.jit(functools.partial(spatial.draw_spatial, k=k), static_argnums=1)
    warp = jax.jit(spatial.spatial_transform)
    key = jax.random.key(seed)
    tried = []
    for i in range(k):

        def transform(images, first, i=i):
            degrees, shifts = draw(key, len(images), first_index=first)
            return warp(images, degrees[i], shifts[i])

        logits, labels = predict(score, DerivedSplit(split, transform), batch_size, devices=devices)
        tried.append(logits)
    every = np.stack(tried)
    chosen = np.take_along_axis(log_softmax(every, axis=-1), labels[None, :, None], -1)
    worst = chosen[..., 0].argmin(axis=0)
    return scores(every[worst, np.arange(len(labels))], labels)


def summarize(
    rows: Rows,
    benchmark: Benchmark,
    *,
    clean_accuracy: float | None = None,
    baseline: metrics.Baseline | None = None,
) -> dict[str, Any]:
    """What `results.json` keeps of a benchmark.

    Args:
        rows: from `evaluate_benchmark`.
        benchmark: the set.
        clean_accuracy: SA, for relative mCE.
        baseline: adds mCE.

    Returns:
        "source", "accuracy", "loss" and "ece" by corruption and severity, and what
        `metrics.summarize` finds; a set without corruptions has its scores only.
    """
    if benchmark.kind == "shift":
        return {"source": benchmark.source, **rows["all"]["0"]}
    tables = {
        name: {c: {s: row[name] for s, row in by.items()} for c, by in rows.items()}
        for name in ("accuracy", "loss", "ece")
    }
    out: dict[str, Any] = {"source": benchmark.source, **tables}
    if benchmark.complete:
        errors = {
            c: [1 - tables["accuracy"][c][str(s)] for s in benchmark.severities]
            for c in benchmark.corruptions
        }
        clean_error = None if clean_accuracy is None else 1 - clean_accuracy
        out |= metrics.summarize(errors, clean_error=clean_error, baseline=baseline)
        standard = [tables["loss"][c][str(s)] for c in corruptions.BENCHMARK for s in range(1, 6)]
        out["mean_loss"] = float(np.mean(standard))
        standard = [tables["ece"][c][str(s)] for c in corruptions.BENCHMARK for s in range(1, 6)]
        out["mean_ece"] = float(np.mean(standard))
    return out


def read_baseline(name: str) -> metrics.Baseline | None:
    """The classifier that mCE is relative to.

    Args:
        name: "" for none, a published one, or the `results.json` of another run; of several runs
            (seeds, say), separated by commas, the errors are averaged. The first benchmark
            with all 15 corruptions counts.

    Raises:
        ValueError: the name is unknown, a file holds no such benchmark, or no run makes any
            mistake on one of the corruptions: nothing can be relative to that.
    """
    if not name:
        return None
    if not name.endswith(".json"):
        metrics.check_name("baseline", name, metrics.BASELINES)
        return metrics.BASELINES[name]
    runs = [_read_run(paths.expand(path.strip())) for path in name.split(",")]
    baseline = metrics.Baseline(
        " + ".join(dict.fromkeys(run.name for run in runs)),
        {c: float(np.mean([run.errors[c] for run in runs])) for c in corruptions.BENCHMARK},
        float(np.mean([run.clean_error for run in runs])),
    )
    for corruption in corruptions.BENCHMARK:
        baseline.mean_error(corruption)  # refuses an error of 0 now, not after the evaluation
    return baseline


def _read_run(path: Path) -> metrics.Baseline:
    """The errors of a run from its `results.json`."""
    results = files.read_json(path, numbers=True)
    if results is None:
        raise ValueError(f"config.evaluate.baseline {str(path)!r} is not there")
    for benchmark in results.get("benchmarks", {}).values():
        table = benchmark.get("accuracy", {})
        if isinstance(table, dict) and set(corruptions.BENCHMARK) <= set(table):
            clean = results["clean"][results["selected"]]["accuracy"]
            errors = {c: [1 - a for a in table[c].values()] for c in corruptions.BENCHMARK}
            return metrics.Baseline(results.get("method", path.stem), errors, 1 - clean)
    raise ValueError(f"{path} holds no benchmark with all 15 corruptions to be a baseline")


def evaluate_model(
    logits_fn: Callable[[jax.Array], jax.Array],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    constants: str = "cifar",
    baseline: str = "",
    batch_size: int = 1000,
    seed: int = 0,
    directory: str | Path | None = None,
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measures how robust any network is on any images: SA, RA, mCE, calibration.

        results = evaluate_model(lambda x: net.apply(params, x), images, labels, directory="out")

    Args:
        logits_fn: float32 `[B, H, W, 3]` in [0, 1] to logits `[B, num_classes]`; jittable.
        images: uint8 `[N, H, W, 3]`.
        labels: int `[N]` in [0, num_classes).
        constants: whose severities; see `corrupted`.
        baseline: see `read_baseline`.
        batch_size: examples at a time.
        seed: of the corruptions.
        directory: if given, `results.json`, pictures and `report.html` go there, and an
            interrupted evaluation of the same network goes on.
        class_names: for the pictures.

    Returns:
        The results, as a run's `results.json`.

    Raises:
        ValueError: arrays, names or constants are not as described.
    """
    split = ArraySplit(np.asarray(images), np.asarray(labels, np.int32), seed=seed)
    score = function_score(logits_fn)
    compared = read_baseline(baseline)
    names = tuple(class_names or (str(i) for i in range(int(np.max(labels)) + 1)))
    logits, _ = predict(score, split, batch_size)
    clean = scores(logits, split.arrays()[1])
    benchmark = corrupted(split, constants=constants, seed=seed)
    store, gallery = Store(), None
    if directory is not None:
        directory = paths.expand(directory)
        mark = {"logits": fingerprint(logits), "constants": constants, "seed": seed}
        store = Store(directory / "evaluation" / f"{benchmark.name}.json", mark)
        gallery = Gallery(names)
    rows = evaluate_benchmark(score, benchmark, batch_size=batch_size, store=store, gallery=gallery)
    results = {
        "selected": "last",
        "clean": {"last": {"split": "given", **clean}},
        "benchmarks": {
            benchmark.name: summarize(
                rows, benchmark, clean_accuracy=clean["accuracy"], baseline=compared
            )
        },
    }
    if directory is not None and gallery is not None:
        from augmax_jax import report

        gallery.write(directory / "pictures", benchmark)
        files.write_json(directory / run_directory.RESULTS, results)
        report.write(directory)
    return results
