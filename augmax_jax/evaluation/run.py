"""Evaluates the best and the last checkpoint of a run on clean data and robustness sets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax

from augmax_jax import report
from augmax_jax.data import Data
from augmax_jax.evaluation import benchmarks, by_class, comparison, identity
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.evaluation.loop import evaluate_benchmark, summarize
from augmax_jax.evaluation.predictions import Score, model_score, predict, scores
from augmax_jax.evaluation.store import Store
from augmax_jax.runtime import files, hosts, model_file, parallel, provenance, run_directory
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.progress import Count

if TYPE_CHECKING:
    from ml_collections import ConfigDict

logger = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """Variables to evaluate, their number of training steps, and the record kept with them."""

    step: int
    variables: dict[str, Any]
    record: dict[str, Any]


class Subject(NamedTuple):
    """What is evaluated: a network, its data and the settings.

    Attributes:
        config: the run's settings, validated.
        devices: devices over which a batch is split, of all processes.
        data: the dataset's splits.
        model: the network.
    """

    config: ConfigDict
    devices: Sequence[jax.Device]
    data: Data
    model: nn.Module


def evaluate_candidates(
    subject: Subject,
    directory: RunPath,
    candidates: dict[str, Candidate],
    *,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Evaluates each candidate on clean data and the chosen one on robustness sets.

    Args:
        subject: what to evaluate.
        directory: directory for `results.json`, tables, pictures and `report.html`.
        candidates: some of `run_directory.NETWORKS`; `config.evaluate.checkpoint` chooses.
        seconds: time spent training, if this process knows it.

    Returns:
        The results, as in `results.json`.

    Raises:
        ValueError: the network gives NaN or infinity for some images.
    """
    config = subject.config
    session = provenance.begin(subject.devices)
    chosen = config.evaluate.checkpoint
    if chosen not in candidates:
        chosen = next(iter(candidates))
    routes = tuple(config.evaluate.routes)
    score = model_score(subject.model, subject.devices, routes=routes)
    bound = {
        kind: score(parallel.replicate(candidate.variables, subject.devices))
        for kind, candidate in candidates.items()
    }
    before = files.read_json(directory / run_directory.RESULTS, numbers=True) or {}
    results = {
        "method": config.method,
        "model": config.model.name,
        "norm": config.model.norm,
        "dataset": config.data.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "device": session["device"],
        "select_on": config.select_on,
        "selected": chosen,
        "routes": list(routes),
        "seconds": seconds if seconds is not None else before.get("seconds"),
        "clean": {},
        "benchmarks": {},
        "not_measured": {},
        "test_set": {"place": subject.data.test_location, **identity.of_split(subject.data.test)},
        "class_names": list(subject.data.class_names),
    }
    for kind, candidate in candidates.items():
        show = config.progress and hosts.is_writer()
        total = len(subject.data.test)
        with Count(total, f"clean ({kind})", unit="images", show=show) as count:
            predicted = predict(
                bound[kind],
                subject.data.test,
                config.eval_batch_size,
                devices=len(parallel.own(subject.devices)),
                advance=count.advance,
                what=f"the test split, evaluating the {kind} weights",
            )
        results["clean"][kind] = {
            "split": config.data.test_split,
            "step": candidate.step,
            **scores(*predicted),
            **by_class.of_clean(*predicted),
        }
    if "best" in candidates:
        results["best_step"] = candidates["best"].step
        results["holdout"] = candidates["best"].record
    results["steps"] = candidates["last"].step if "last" in candidates else None
    if hosts.is_writer():
        files.write_json(directory / run_directory.RESULTS, results)
    results["benchmarks"], results["not_measured"] = evaluate_benchmarks(
        subject,
        directory,
        bound[chosen],
        {
            "checkpoint": chosen,
            "step": candidates[chosen].step,
            "weights": identity.digest(candidates[chosen].variables),
            "network": {k: v for k, v in config.model.to_dict().items() if k != "remat"},
            "dtype": config.dtype,
            # Results from before there was a choice have none.
            **({} if routes == ("clean",) else {"routes": routes}),
        },
        clean_accuracy=results["clean"][chosen]["accuracy"],
    )
    results["provenance"] = _provenance(directory, provenance.finish(session))
    if hosts.is_writer():
        files.write_json(directory / run_directory.RESULTS, results)
        report.write(directory)
    return results


def _provenance(directory: RunPath, session: dict[str, Any]) -> dict[str, Any]:
    """Where the network and its results come from.

    Returns:
        "evaluated", a session as of `runtime.provenance`; "trained", the seed and sessions of a
        run; or "imported", the source of an import.
    """
    known = model_file.read(directory) or {}
    found = {"trained": known.get("provenance"), "imported": known.get("source")}
    return {name: value for name, value in found.items() if value} | {"evaluated": session}


def evaluate_benchmarks(
    subject: Subject,
    directory: RunPath,
    score: Score,
    network: dict[str, Any],
    *,
    clean_accuracy: float,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Measures the robustness sets that `config.evaluate` names.

    Args:
        subject: what to evaluate.
        directory: its directory.
        score: the network.
        network: facts that identify this network, as values that JSON can hold.
        clean_accuracy: SA.

    Returns:
        Name of each benchmark -> its entry in `results.json`; and name -> the reason for each that
        could not be measured.
    """
    config = subject.config.evaluate
    reference = comparison.read(config.baseline)
    measured, missing = {}, {}
    for name in config.benchmarks:
        try:
            with hosts.together():
                benchmark = benchmarks.find(name, subject.config, subject.data)
        except (ValueError, OSError, ImportError) as error:
            missing[name] = str(error)
            logger.warning("%s is left out: %s", name, error)
            continue
        stem = benchmarks.file_stem(name, benchmark)
        store = Store(
            directory / "evaluation" / f"{stem}.json", network=network, benchmark=benchmark
        )
        gallery = Gallery(subject.data.class_names) if benchmark.kind != "worst" else None
        if not store.rows and hosts.is_writer():
            Gallery.clear(directory / "pictures", stem)
        rows = evaluate_benchmark(
            score,
            benchmark,
            batch_size=subject.config.eval_batch_size,
            devices=len(parallel.own(subject.devices)),
            store=store,
            gallery=gallery,
            progress=subject.config.progress,
            together=True,
        )
        if gallery is not None:
            gallery.share()
            if hosts.is_writer():
                gallery.write(directory / "pictures", stem, benchmark)
        of_set: dict[str, Any] = {"set": store.identity()}
        baseline = None
        if reference is not None and benchmark.complete:
            target = comparison.Target(
                name, benchmark.constants, subject.config.data.name, of_set["set"]
            )
            baseline, beside = reference.against(target)
            of_set |= beside
        found = summarize(rows, benchmark, clean_accuracy=clean_accuracy, baseline=baseline)
        measured[name] = found | of_set
    return measured, missing
