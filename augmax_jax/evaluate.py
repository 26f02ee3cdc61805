"""Evaluating a run: its best and last checkpoint on clean data and on robustness sets."""

import contextlib
import logging
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from augmax_jax import compiler, parallel, report, robustness, workdir
from augmax_jax.checkpoints import Checkpoints
from augmax_jax.gallery import Gallery
from augmax_jax.initial import is_imported
from augmax_jax.predict import Score, model_score, predict, scores
from augmax_jax.run import Run, build

logger = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """Variables to evaluate: how many steps made them, and the record kept with them."""

    step: int
    variables: dict[str, Any]
    record: dict[str, Any]


def evaluate_workdir(config: ConfigDict, directory: str | Path) -> dict[str, Any]:
    """Evaluates the run in a directory, or an imported model, and leaves its training alone.

    Args:
        config: the run's config; `config.evaluate` may differ from when it was trained.
        directory: the run's directory; or one written by `augmax_jax.torch_import`; or a
            new one, with `config.init_from` naming what to evaluate.

    Returns:
        The results, as in `results.json`.

    Raises:
        FileNotFoundError: there is nothing to evaluate.
        ValueError: the directory holds a run of another config.
    """
    directory = Path(directory)
    trained = (directory / "checkpoints").is_dir()
    source = directory if is_imported(directory) else config.init_from
    if not trained and not source:
        raise FileNotFoundError(
            f"{directory} holds no checkpoints to evaluate: train there first with --mode=train, "
            "or name an imported model with --config.init_from=DIR"
        )
    compiler.enable_compilation_cache(config.compilation_cache or None)
    run = build(config)
    workdir.claim(config, directory)
    if trained:
        with contextlib.closing(Checkpoints(directory, keep=config.checkpoint.keep)) as kept:
            return evaluate_run(run, directory, kept)
    variables = run.load(source, run.initial_state(), new_head=False)
    return evaluate_candidates(run, directory, {"last": Candidate(0, variables, {})})


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
    like = run.initial_state()
    candidates = {}
    for kind, place in (("best", "best"), ("last", "latest")):
        restored = checkpoints.restore(place, like)
        if restored is not None:
            step, state, record = restored
            candidates[kind] = Candidate(step, state.variables, record)
    if not candidates:
        raise FileNotFoundError(f"{directory} holds no checkpoint to evaluate: train there first")
    return evaluate_candidates(run, directory, candidates, seconds=seconds)


def evaluate_candidates(
    run: Run, directory: Path, candidates: dict[str, Candidate], *, seconds: float | None = None
) -> dict[str, Any]:
    """Evaluates each candidate on clean data and the chosen one on robustness sets.

    Args:
        run: the run.
        directory: where `results.json`, tables, pictures and `report.html` go.
        candidates: "best" or "last", or both; `config.evaluate.checkpoint` chooses.
        seconds: time spent training, if this process knows it.

    Returns:
        The results, as in `results.json`.
    """
    config = run.config
    chosen = config.evaluate.checkpoint
    if chosen not in candidates:
        chosen = next(iter(candidates))
    score = model_score(run.model, run.devices)
    bound = {
        kind: score(parallel.replicate(candidate.variables, run.devices))
        for kind, candidate in candidates.items()
    }
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
        "selected": chosen,
        "seconds": seconds if seconds is not None else before.get("seconds"),
        "clean": {},
        "benchmarks": {},
        "not_measured": {},
    }
    for kind, candidate in candidates.items():
        predicted = predict(
            bound[kind], run.data.test, config.eval_batch_size, devices=len(run.devices)
        )
        found = {"split": config.data.test_split, "step": candidate.step, **scores(*predicted)}
        results["clean"][kind] = found
    if "best" in candidates:
        results["best_step"] = candidates["best"].step
        results["holdout"] = candidates["best"].record
    results["steps"] = candidates["last"].step if "last" in candidates else None
    if results["steps"] and results["seconds"]:
        results["images_per_second"] = results["steps"] * config.batch_size / results["seconds"]
    workdir.write_json(directory / workdir.RESULTS, results)
    weights = robustness.fingerprint(candidates[chosen].variables)
    results["benchmarks"], results["not_measured"] = evaluate_benchmarks(
        run,
        directory,
        bound[chosen],
        {"checkpoint": chosen, "step": candidates[chosen].step, "weights": weights},
        clean_accuracy=results["clean"][chosen]["accuracy"],
    )
    workdir.write_json(directory / workdir.RESULTS, results)
    page = report.write(directory)
    print(report.summary_table(results))
    print(f"Report: {page}\nLogs:   tensorboard --logdir {directory}")
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
        if name == robustness.SPATIAL:
            measured[name] = {
                "source": "generated",
                **robustness.evaluate_spatial(
                    score,
                    run.data.test,
                    batch_size=run.config.eval_batch_size,
                    devices=len(run.devices),
                    seed=run.config.seed,
                ),
            }
            continue
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
