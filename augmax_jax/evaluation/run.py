"""Evaluating a run's candidates: its best and last weights on clean data and robustness sets."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from augmax_jax import report
from augmax_jax.data import Data
from augmax_jax.evaluation import robustness
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.evaluation.predictions import Score, model_score, predict, scores
from augmax_jax.runtime import files, parallel, run_directory

logger = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """Variables to evaluate: how many steps made them, and the record kept with them."""

    step: int
    variables: dict[str, Any]
    record: dict[str, Any]


class Subject(NamedTuple):
    """What is evaluated: a network, the data it is for, and the settings.

    Attributes:
        config: the run's settings, validated.
        devices: those to spread a batch over.
        data: the dataset's splits.
        model: the network.
    """

    config: ConfigDict
    devices: Sequence[jax.Device]
    data: Data
    model: nn.Module


def evaluate_candidates(
    subject: Subject,
    directory: Path,
    candidates: dict[str, Candidate],
    *,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Evaluates each candidate on clean data and the chosen one on robustness sets.

    Args:
        subject: what to evaluate.
        directory: where `results.json`, tables, pictures and `report.html` go.
        candidates: "best" or "last", or both; `config.evaluate.checkpoint` chooses.
        seconds: time spent training, if this process knows it.

    Returns:
        The results, as in `results.json`.
    """
    config = subject.config
    chosen = config.evaluate.checkpoint
    if chosen not in candidates:
        chosen = next(iter(candidates))
    score = model_score(subject.model, subject.devices)
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
        "device": f"{len(subject.devices)} x {subject.devices[0].device_kind}",
        "select_on": config.select_on,
        "selected": chosen,
        "seconds": seconds if seconds is not None else before.get("seconds"),
        "clean": {},
        "benchmarks": {},
        "not_measured": {},
    }
    for kind, candidate in candidates.items():
        predicted = predict(
            bound[kind], subject.data.test, config.eval_batch_size, devices=len(subject.devices)
        )
        found = {"split": config.data.test_split, "step": candidate.step, **scores(*predicted)}
        results["clean"][kind] = found
    if "best" in candidates:
        results["best_step"] = candidates["best"].step
        results["holdout"] = candidates["best"].record
    results["steps"] = candidates["last"].step if "last" in candidates else None
    if results["steps"] and results["seconds"]:
        results["images_per_second"] = results["steps"] * config.batch_size / results["seconds"]
    files.write_json(directory / run_directory.RESULTS, results)
    weights = robustness.fingerprint(candidates[chosen].variables)
    results["benchmarks"], results["not_measured"] = evaluate_benchmarks(
        subject,
        directory,
        bound[chosen],
        {"checkpoint": chosen, "step": candidates[chosen].step, "weights": weights},
        clean_accuracy=results["clean"][chosen]["accuracy"],
    )
    files.write_json(directory / run_directory.RESULTS, results)
    page = report.write(directory)
    print(report.summary_table(results))
    print(f"Report: {page}\nLogs:   tensorboard --logdir {directory}")
    return results


def evaluate_benchmarks(
    subject: Subject,
    directory: Path,
    score: Score,
    mark: dict[str, Any],
    *,
    clean_accuracy: float,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Measures the robustness sets that `config.evaluate` names.

    Args:
        subject: what to evaluate.
        directory: its directory.
        score: the network.
        mark: what tells these weights from others.
        clean_accuracy: SA.

    Returns:
        What was measured, by benchmark; and the reason for each that could not be.
    """
    config = subject.config.evaluate
    baseline = robustness.read_baseline(config.baseline)
    measured, missing = {}, {}
    for name in config.benchmarks:
        if name == robustness.SPATIAL:
            measured[name] = {
                "source": "generated",
                **robustness.evaluate_spatial(
                    score,
                    subject.data.test,
                    batch_size=subject.config.eval_batch_size,
                    devices=len(subject.devices),
                    seed=subject.config.seed,
                ),
            }
            continue
        try:
            benchmark = robustness.find(name, subject.config, subject.data)
        except (ValueError, OSError, ImportError) as error:
            missing[name] = str(error)
            logger.warning("%s is left out: %s", name, error)
            continue
        settings = {"constants": config.constants, "seed": subject.config.seed}
        store = robustness.Store(
            directory / "evaluation" / f"{benchmark.name}.json".replace("/", "_"), mark | settings
        )
        gallery = Gallery(subject.data.class_names)
        rows = robustness.evaluate_benchmark(
            score,
            benchmark,
            batch_size=subject.config.eval_batch_size,
            devices=len(subject.devices),
            store=store,
            gallery=gallery,
            progress=subject.config.progress,
        )
        gallery.write(directory / "pictures", benchmark)
        measured[name] = robustness.summarize(
            rows, benchmark, clean_accuracy=clean_accuracy, baseline=baseline
        )
    return measured, missing
