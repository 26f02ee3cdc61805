"""Evaluating a run: its best and last checkpoint on clean data and on robustness sets."""

import contextlib
import logging
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from augmax_jax import compiler, parallel, robustness, workdir
from augmax_jax.checkpoints import Checkpoints
from augmax_jax.gallery import Gallery
from augmax_jax.predict import Score, model_score, predict, scores
from augmax_jax.run import Run, build

logger = logging.getLogger(__name__)


def evaluate_workdir(config: ConfigDict, directory: str | Path) -> dict[str, Any]:
    """Evaluates the run in a directory, leaving its training as it is.

    Args:
        config: the run's config; `config.evaluate` may differ from when it was trained.
        directory: the run's directory.

    Returns:
        The results, as in `results.json`.

    Raises:
        FileNotFoundError: there is no run, or none with a checkpoint.
        ValueError: the directory holds a run of another config.
    """
    directory = Path(directory)
    if not (directory / "checkpoints").is_dir():
        raise FileNotFoundError(
            f"{directory} holds no checkpoints to evaluate: train there first with --mode=train"
        )
    compiler.enable_compilation_cache(config.compilation_cache or None)
    run = build(config)
    workdir.claim(config, directory)
    with contextlib.closing(Checkpoints(directory, keep=config.checkpoint.keep)) as checkpoints:
        return evaluate_run(run, directory, checkpoints)


def evaluate_run(
    run: Run, directory: Path, checkpoints: Checkpoints, *, seconds: float | None = None
) -> dict[str, Any]:
    """Evaluates the best and the last checkpoint of a run, and writes `results.json`.

    Args:
        run: the run.
        directory: its directory.
        checkpoints: its checkpoints.
        seconds: time spent training, if this process knows it.

    Returns:
        The results.

    Raises:
        FileNotFoundError: there is no checkpoint.
    """
    config = run.config
    like = run.initial_state()
    found = {"best": checkpoints.restore("best", like), "last": checkpoints.restore("latest", like)}
    if found["last"] is None and found["best"] is None:
        raise FileNotFoundError(f"{directory} holds no checkpoint to evaluate: train there first")
    score = model_score(run.model, run.devices)
    before = workdir.read_json(directory / workdir.RESULTS) or {}
    results = {
        "method": config.method,
        "model": config.model.name,
        "norm": config.model.norm,
        "dataset": config.data.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "device": f"{len(run.devices)} x {run.devices[0].device_kind}",
        "select_on": config.select_on,
        "seconds": seconds if seconds is not None else before.get("seconds"),
        "clean": {},
        "benchmarks": {},
    }
    for kind, restored in found.items():
        if restored is None:
            continue
        step, state, record = restored
        bound = score(parallel.replicate(state.variables, run.devices))
        predicted = predict(bound, run.data.test, config.eval_batch_size, devices=len(run.devices))
        results["clean"][kind] = {
            "split": config.data.test_split,
            "step": step,
            **scores(*predicted),
        }
        if kind == "best":
            results["best_step"], results["holdout"] = step, record
        else:
            results["steps"] = step
    chosen = found[config.evaluate.checkpoint] or found["last"] or found["best"]
    kind = next(kind for kind, restored in found.items() if restored is chosen)
    results["selected"] = kind
    workdir.write_json(directory / workdir.RESULTS, results)
    step, state, _ = chosen
    measured, missing = evaluate_benchmarks(
        run,
        directory,
        score(parallel.replicate(state.variables, run.devices)),
        {"checkpoint": kind, "step": step, "weights": robustness.fingerprint(state.variables)},
        clean_accuracy=results["clean"][kind]["accuracy"],
    )
    results["benchmarks"] = measured
    results["not_measured"] = missing
    workdir.write_json(directory / workdir.RESULTS, results)
    return results


def evaluate_benchmarks(
    run: Run,
    directory: Path,
    score: Score,
    mark: dict[str, Any],
    *,
    clean_accuracy: float,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Measures the robustness sets that `config.evaluate` names.

    Args:
        run: the run.
        directory: its directory.
        score: the network.
        mark: what tells these weights from others.
        clean_accuracy: SA.

    Returns:
        What was measured, by benchmark; and the reason for each that could not be.
    """
    config = run.config.evaluate
    baseline = robustness.read_baseline(config.baseline)
    measured, missing = {}, {}
    for name in config.benchmarks:
        try:
            benchmark = robustness.find(name, run)
        except (ValueError, OSError, ImportError) as error:
            missing[name] = str(error)
            logger.warning("%s is left out: %s", name, error)
            continue
        settings = {"constants": config.constants, "seed": run.config.seed}
        store = robustness.Store(
            directory / "evaluation" / f"{benchmark.name}.json".replace("/", "_"), mark | settings
        )
        gallery = Gallery(run.data.class_names)
        rows = robustness.evaluate_benchmark(
            score,
            benchmark,
            batch_size=run.config.eval_batch_size,
            devices=len(run.devices),
            store=store,
            gallery=gallery,
            progress=run.config.progress,
        )
        gallery.write(directory / "pictures", benchmark)
        measured[name] = robustness.summarize(
            rows, benchmark, clean_accuracy=clean_accuracy, baseline=baseline
        )
    return measured, missing
