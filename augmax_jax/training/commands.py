"""What the command does: train and evaluate a run, or evaluate one that is there."""

import contextlib
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from augmax_jax import report
from augmax_jax.evaluation import benchmarks
from augmax_jax.evaluation.run import Candidate, evaluate_candidates
from augmax_jax.runtime import compiler
from augmax_jax.training import workdir
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.loop import train
from augmax_jax.training.pretrained import is_imported
from augmax_jax.training.run import Run, build


def train_and_evaluate(config: ConfigDict, directory: str | Path) -> dict[str, Any]:
    """Trains as the config says, evaluates, and leaves everything in the directory.

    Started again on the same directory it goes on from the last checkpoint, drawing what
    the unbroken run would have drawn; a finished run is evaluated only.

    Args:
        config: from a config file, or `augmax_jax.config.defaults()`.
        directory: for checkpoints, TensorBoard logs, `history.jsonl`, `results.json`,
            pictures and `report.html`.

    Returns:
        The results, as in `results.json`.

    Raises:
        ValueError: a setting, the data or the directory does not fit; nothing was changed.
        TrainingDiverged: the loss is no longer finite.
        OSError: the directory cannot be written.
    """
    directory = Path(directory)
    compiler.enable_compilation_cache(config.compilation_cache or None)
    run = build(config)
    benchmarks.missing(config, run.data)  # says now what would be missing after the training
    workdir.claim(config, directory)
    checkpoints = Checkpoints(directory, keep=config.checkpoint.keep)
    try:
        seconds = train(run, directory, checkpoints)
        return evaluate_run(run, directory, checkpoints, seconds=seconds)
    finally:
        checkpoints.close()


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
    results = evaluate_candidates(run.subject, directory, {"last": Candidate(0, variables, {})})
    _show(results, directory)
    return results


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
    results = evaluate_candidates(run.subject, directory, candidates, seconds=seconds)
    _show(results, directory)
    return results


def _show(results: dict[str, Any], directory: Path) -> None:
    """Prints the summary of an evaluation, and where to look further."""
    print(report.summary_table(results))
    print(f"Report: {directory / report.REPORT}\nLogs:   tensorboard --logdir {directory}")
