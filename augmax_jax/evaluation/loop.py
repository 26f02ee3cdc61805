"""The benchmark loop: accuracy, loss and calibration by corruption and severity, and their means.

A benchmark is read part by part, and the scores of each part are written at once, so an interrupted
evaluation goes on where it stopped.
"""

from typing import Any

import numpy as np

from augmax_jax import corruptions
from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.evaluation import by_class, identity, metrics
from augmax_jax.evaluation.baselines import Baseline
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.evaluation.predictions import Score, predict, scores
from augmax_jax.evaluation.spatial import Worst
from augmax_jax.evaluation.store import Rows, Store
from augmax_jax.runtime import hosts
from augmax_jax.runtime.progress import Count


def evaluate_benchmark(
    score: Score,
    benchmark: Benchmark,
    *,
    batch_size: int,
    devices: int = 1,
    store: Store | None = None,
    gallery: Gallery | None = None,
    progress: bool = True,
    together: bool = False,
) -> Rows:
    """Scores a network on every part of a benchmark.

    Args:
        score: the network.
        benchmark: the set.
        batch_size: examples at a time.
        devices: number of devices over which `score` splits a batch.
        store: keeps the scores of parts, and has those of earlier sessions.
        gallery: collects pictures from the images.
        progress: whether to show how far it is.
        together: whether all processes of a run evaluate the benchmark, each its share.

    Returns:
        corruption -> severity -> {"accuracy", "loss", "ece", "count", "by_class"}, the last as
        of `by_class.count`. A set without corruptions has the one row "all", "0"; one of which
        the worst part counts has it besides, without "by_class".

    Raises:
        ValueError: the network gives NaN or infinity, or a part of the set is wrong.
    """
    store = store or Store(benchmark=benchmark)
    parts: list[tuple[str | None, int | None]] = [
        (corruption, severity)
        for corruption in benchmark.corruptions
        for severity in benchmark.severities
    ] or [(None, None)]
    store.keep_only([(corruption or "all", str(severity or 0)) for corruption, severity in parts])
    if together:
        store.share()
        progress = progress and hosts.is_writer()
    worst = _worst_so_far(store, together) if benchmark.kind == "worst" else None
    with Count(len(parts), benchmark.name, unit="parts", show=progress) as count:
        for corruption, severity in parts:
            row, column = corruption or "all", str(severity or 0)
            split = benchmark.load(corruption, severity)
            part = {} if benchmark.recipe else identity.of_split(split)
            there = store.has(row, column, part)
            if hosts.from_writer(there) if together else there:
                count.skip(1)
                continue
            count.doing(f"{row} {column}")
            logits, labels = predict(
                score,
                split,
                batch_size,
                devices=devices,
                observe=gallery.observer(row, column) if gallery else None,
                advance=count.update,
                what=f"{benchmark.name} {row} {column}",
            )
            if benchmark.classes is not None:
                logits = metrics.restrict_classes(logits, benchmark.classes)
            if worst is not None:
                worst.add(logits, labels)  # written first: taking a part in twice changes nothing
            found = {**scores(logits, labels), "by_class": by_class.count(logits, labels)}
            store.add(row, column, found, part)
    if worst is not None:
        store.add("all", "0", worst.scores(), {})
    store.write_csv()
    return store.rows


def _worst_so_far(store: Store, together: bool) -> Worst:
    """Restores the worst outcomes of the parts in the store; without them, clears the store."""
    path = store.path and store.path.with_suffix(".npz")
    worst = Worst(path, owner=store.owner)
    restored = bool(store.rows) and worst.restore()
    if not (all(hosts.everyone(restored)) if together else restored):
        store.clear()
        worst = Worst(path, owner=store.owner)
    return worst


def summarize(
    rows: Rows,
    benchmark: Benchmark,
    *,
    clean_accuracy: float | None = None,
    baseline: Baseline | None = None,
) -> dict[str, Any]:
    """The entry of a benchmark in `results.json`.

    Args:
        rows: from `evaluate_benchmark`.
        benchmark: the set.
        clean_accuracy: SA, for relative mCE.
        baseline: if given, the entry has mCE.

    Returns:
        "source", "accuracy", "loss" and "ece" by corruption and severity, what
        `metrics.summarize` finds, and "ra_interval", as of `metrics.interval`; of a set without
        corruptions, or of which the worst part counts, its scores only. "by_class" is the accuracy
        of each class, the mean over all parts, unless parts were evaluated by a version that did
        not keep it; "note" what part of the set takes part, where that is not all of it.
    """
    extra: dict[str, Any] = {"note": benchmark.note} if benchmark.note else {}
    counted = rows if benchmark.kind != "worst" else {}
    parts = [row.get("by_class") for by in counted.values() for row in by.values()]
    means = by_class.mean_accuracies(parts) if parts else None
    if means is not None:
        extra["by_class"] = means
    if benchmark.kind != "corruptions":
        scored = {name: value for name, value in rows["all"]["0"].items() if name != "by_class"}
        return {"source": benchmark.source, **scored, **extra}
    tables = {
        name: {c: {s: row[name] for s, row in by.items()} for c, by in rows.items()}
        for name in ("accuracy", "loss", "ece")
    }
    out: dict[str, Any] = {"source": benchmark.source, **tables, **extra}
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
        first = rows[corruptions.BENCHMARK[0]]["1"]
        out["ra_interval"] = list(metrics.interval(out["ra"], int(first["count"])))
    return out
