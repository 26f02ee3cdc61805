"""Trains and evaluates a run, or evaluates an existing one: the functions behind the command."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax

from augmax_jax import config as configs
from augmax_jax import report
from augmax_jax.evaluation import benchmarks
from augmax_jax.evaluation.run import Candidate, evaluate_candidates
from augmax_jax.runtime import compiler, hosts, lock, model_file, paths, storage
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.run_directory import LOCK, has_checkpoints
from augmax_jax.training import nonfinite, sessions, tensorboard, workdir
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.loop import train
from augmax_jax.training.pretrained import is_imported
from augmax_jax.training.run import Run, build
from augmax_jax.training.telemetry import Telemetry

if TYPE_CHECKING:
    from ml_collections import ConfigDict


logger = logging.getLogger(__name__)


def train_and_evaluate(config: ConfigDict, directory: str | RunPath) -> dict[str, Any]:
    """Trains as the config says, evaluates, and writes all results to the directory.

    Started again on the same directory, it goes on from the last checkpoint with the same draws
    as an uninterrupted run. A finished run is evaluated only.

    Args:
        config: from a config file, or `augmax_jax.config.defaults()`.
        directory: for checkpoints, TensorBoard logs, `history.jsonl`, `results.json`,
            pictures and `report.html`.

    Returns:
        The results, as in `results.json`.

    Raises:
        ValueError: a setting, the data or the directory does not fit; nothing was changed.
        TrainingDiverged: the loss, the gradient or the parameters are not finite, and
            `config.optimizer.on_nonfinite` does not skip the step.
        Stopped: SIGINT or SIGTERM asked the run to stop; the state was saved first.
        OSError: the directory cannot be written, or another process works in it.
    """
    configs.check_keys(config)
    directory = paths.expand_workdir(directory)
    with storage.explained(directory), _session(config):
        with _agreed(config, directory):
            if is_imported(directory):
                raise ValueError(
                    f"{directory} holds an imported model, which training would overwrite: choose "
                    "another --workdir, and start from the import with "
                    f"--config.init_from={directory}"
                )
            run = build(config)
        with _alone_in(directory):
            workdir.check(config, directory)
            benchmarks.missing(config, run.data)  # logs what cannot be measured later
            with contextlib.closing(Checkpoints(directory, keep=config.checkpoint.keep)) as kept:
                seconds = train(run, directory, kept)
                return evaluate_run(run, directory, kept, seconds=seconds)


def evaluate_workdir(config: ConfigDict, directory: str | RunPath) -> dict[str, Any]:
    """Evaluates the run in a directory, or an imported model, without any training.

    Args:
        config: the run's config; `config.evaluate` may differ from that of the training.
        directory: the run's directory; or one that `augmax_jax.torch_import` wrote; or a new
            one, if `config.init_from` names the network to evaluate.

    Returns:
        The results, as in `results.json`.

    Raises:
        FileNotFoundError: there is nothing to evaluate.
        ValueError: the directory holds a run of another config, or the model does not fit.
        OSError: the directory cannot be written, or another process works in it.
    """
    configs.check_keys(config)
    directory = paths.expand_workdir(directory)
    with storage.explained(directory), _session(config):
        with _agreed(config, directory):
            trained = has_checkpoints(directory)
            source = directory if is_imported(directory) else config.init_from
            if not trained and not source:
                raise FileNotFoundError(
                    f"{directory} holds no checkpoints to evaluate: train there first with "
                    "--mode=train, or name an imported model with --config.init_from=DIR"
                )
            run = build(config)
            workdir.check(config, directory)
        if not trained:
            variables = run.load(source, run.abstract_state(), new_head=False)
            with _alone_in(directory):
                return _evaluate(run, directory, {"last": Candidate(0, variables, {})})
        with (
            _alone_in(directory),
            contextlib.closing(Checkpoints(directory, keep=config.checkpoint.keep)) as kept,
        ):
            return evaluate_run(run, directory, kept)


def replay_workdir(config: ConfigDict, directory: str | RunPath) -> dict[str, float]:
    """Takes the last step of a run again whose loss or gradient was not finite.

    The state, the images and all draws are those of the run. Nothing is written but the log, which
    has the step's metrics.

    Args:
        config: the run's config.
        directory: the run's directory.

    Returns:
        "step", and the step's metrics.

    Raises:
        FileNotFoundError: the directory keeps no batch of such a step.
        ValueError: it holds a run of another config, or the batch is damaged or of other data.
        OSError: another process works in the directory.
    """
    directory = paths.expand_workdir(directory)
    with storage.explained(directory), _session(config):
        nonfinite.last_kept(directory)  # said before the data is read
        run = build(config)
        workdir.check(config, directory)
        with (
            _alone_in(directory),
            contextlib.closing(Checkpoints(directory, keep=config.checkpoint.keep)) as kept,
        ):
            metrics = nonfinite.replay(run, directory, kept)
    for name, value in metrics.items():
        logger.info("%s: %g", name, value)
    if all(math.isfinite(value) for value in metrics.values()):
        logger.warning("all is finite this time: another device or version computes otherwise")
    else:
        logger.info("JAX_DEBUG_NANS=True before the same command names the operation")
    return metrics


def evaluate_run(
    run: Run, directory: RunPath, checkpoints: Checkpoints, *, seconds: float | None = None
) -> dict[str, Any]:
    """Evaluates a run's best and last checkpoint, and writes `results.json`.

    If the run keeps an average of its weights, that of the last checkpoint is evaluated too.

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
    like = run.abstract_state()
    candidates = {}
    for name, kind in (("best", "best"), ("last", "latest")):
        restored = checkpoints.restore(kind, like)
        if restored is not None:
            step, state, record = restored
            candidates[name] = Candidate(step, state.variables, record)
            if name == "last" and state.average is not None:
                candidates["average"] = Candidate(step, state.average, record)
    if not candidates:
        raise FileNotFoundError(f"{directory} holds no checkpoint to evaluate: train there first")
    if model_file.read(directory) is None:  # a run of an older version
        sessions.keep(run, directory)
    return _evaluate(run, directory, candidates, seconds=seconds)


def use_compilation_cache(config: ConfigDict) -> None:
    """Keeps compiled programs in the folder `config.compilation_cache`.

    If the config has the default and JAX already has a directory, such as from
    `JAX_COMPILATION_CACHE_DIR`, JAX's directory stays.
    """
    directory = config.compilation_cache
    usual = configs.defaults().compilation_cache
    if directory and not (
        directory == usual and getattr(jax.config, "jax_compilation_cache_dir", None)
    ):
        compiler.enable_compilation_cache(directory)


@contextlib.contextmanager
def _session(config: ConfigDict) -> Iterator[None]:
    """Computes in 32 bits, whatever JAX's setting is, so that the results do not depend on it."""
    use_compilation_cache(config)
    with jax.enable_x64(False):
        yield


@contextlib.contextmanager
def _agreed(config: ConfigDict, directory: RunPath) -> Iterator[None]:
    """The checks and preparations of a command, in which no process may fail alone.

    Raises:
        ValueError: the processes have other settings or directories than the first one.
        OSError: the directory cannot be written, or another process failed.
    """
    mine = {"workdir": str(directory), **configs.settings_of(configs.to_dict(config))}
    first = hosts.from_writer(mine)
    with hosts.together():
        # The folders of a host are its own.
        differing = [
            f"{name}: {first.get(name)!r} -> {mine.get(name)!r}"
            for name in sorted({*first, *mine})
            if first.get(name) != mine.get(name)
            and not name.startswith("distributed.")
            and name not in ("compilation_cache", "data.data_dir", "evaluate.data_dir")
        ]
        if differing:
            raise ValueError(
                "all processes need one command line; this one differs from that of process 0:\n  "
                + "\n  ".join(differing)
            )
        if hosts.is_writer():
            paths.check_output(directory, "--workdir")
    with hosts.together():
        yield


@contextlib.contextmanager
def _alone_in(directory: RunPath) -> Iterator[None]:
    """Makes the directory, and locks it against other commands; for all processes, by the first.

    Raises:
        OSError: the directory cannot be made, another process works in it, or its disk is full.
    """
    with _full_disk_explained(directory), contextlib.ExitStack() as stack:
        with hosts.together():
            if hosts.is_writer():
                storage.make(directory)
                stack.enter_context(lock.held(directory / LOCK))
        hosts.check_one_directory(directory)
        yield


@contextlib.contextmanager
def _full_disk_explained(directory: RunPath) -> Iterator[None]:
    """Makes the system's own error for a full disk say what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full or error.strerror != os.strerror(error.errno or 0):
            raise
        raise OSError(
            error.errno,
            f"{error.filename or directory} could not be written ({error.strerror}). Free space "
            "there; the same command then goes on from the last good checkpoint",
        ) from error


def _evaluate(
    run: Run,
    directory: RunPath,
    candidates: dict[str, Candidate],
    *,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Evaluates weights that fit the config, and claims the directory for the config."""
    if hosts.is_writer():
        workdir.claim(run.config, directory)
    results = evaluate_candidates(run.subject, directory, candidates, seconds=seconds)
    if hosts.is_writer():
        _record(run, directory, results)
        print(report.summary_table(results))
        print(f"Report: {directory / report.REPORT}\nLogs:   tensorboard --logdir {directory}")
    return results


def _record(run: Run, directory: RunPath, results: dict[str, Any]) -> None:
    """Adds the results to the history and to TensorBoard, in place of earlier ones."""
    config = run.config
    selected = results["selected"]
    step = results["clean"][selected]["step"]
    found = {"clean": results["clean"][selected], **results["benchmarks"]}
    with Telemetry(
        directory,
        total_steps=run.total_steps,
        examples_per_epoch=len(run.data.train),
        batch_size=config.batch_size,
        start_step=None,
        renew=("benchmark",),
        tensorboard=config.tensorboard,
        progress=False,
    ) as telemetry:
        rows = {name: _numbers(scores, name) for name, scores in found.items()}
        for row in rows.values():
            telemetry.scalars(step, "benchmark", row)
    if config.tensorboard:
        metrics = {
            name: value
            for row in rows.values()
            for name, value in row.items()
            if name.endswith(("/accuracy", "/ra", "/mce"))
        }
        tensorboard.write_hparams(directory, config, metrics)


def _numbers(scores: Mapping[str, Any], name: str) -> dict[str, float]:
    """The numbers of a benchmark, and its accuracies by corruption and severity."""
    row = {
        f"{name}/{key}": value
        for key, value in scores.items()
        if isinstance(value, int | float) and key != "step"
    }
    table = scores.get("accuracy")
    if isinstance(table, Mapping):
        for corruption, by_severity in table.items():
            for severity, value in by_severity.items():
                row[f"{name}/accuracy/{corruption}/{severity}"] = value
    return row
