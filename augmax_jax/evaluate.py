"""Evaluation: predictions over whole splits, every example exactly once."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from augmax_jax import compiler, metrics, parallel, workdir
from augmax_jax.checkpoints import Checkpoints
from augmax_jax.methods import to_float
from augmax_jax.run import Run, build

# (replicated variables, split) -> logits float32 [N, C] and labels int32 [N].
Predict = Callable[[Any, Any], tuple[np.ndarray, np.ndarray]]


def make_predict(
    model: nn.Module,
    devices: Sequence[jax.Device],
    batch_size: int,
    *,
    route: str = "clean",
) -> Predict:
    """A pmapped eval-mode forward over splits, compiled once for all of them.

    Splits are read in batches of one size, the last one padded and masked, so no example
    is dropped or counted twice whatever the sizes. Of several processes each reads its
    share of the split, and all get the predictions of the whole.

    Args:
        model: the network.
        devices: those to spread a batch over.
        batch_size: examples at a time; rounded up to a multiple of the devices.
        route: norm route; the paper evaluates on the clean one (spec §8.1).
    """

    def logits(variables, images):
        return model.apply(variables, to_float(images), route=route, train=False)

    step = parallel.pmap(
        logits, devices, compiler_options=compiler.jit_options(devices[0].platform)
    )
    batch_size = -(-batch_size // len(devices)) * len(devices)

    def predict(variables, split):
        columns = []
        for batch in split.eval_batches(batch_size * jax.process_count()):
            scores = parallel.gather(step(variables, parallel.shard(batch["image"], devices)))
            columns.append((scores, batch["label"], batch["mask"]))
        outputs, labels, real = parallel.all_processes(
            tuple(np.concatenate(column) for column in zip(*columns, strict=True))
        )
        return outputs[real], labels[real]

    return predict


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, loss and calibration of predictions.

    Args:
        logits: float `[N, C]`.
        labels: int `[N]`.

    Returns:
        {"accuracy", "loss" (mean negative log-likelihood), "ece", "count"}.
    """
    return {
        "accuracy": float(np.mean(np.argmax(logits, axis=-1) == labels)),
        "loss": metrics.negative_log_likelihood(logits, labels),
        "ece": metrics.expected_calibration_error(logits, labels),
        "count": len(labels),
    }


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
    predict = make_predict(run.model, run.devices, config.eval_batch_size)
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
        "selected": config.evaluate.checkpoint,
        "seconds": seconds if seconds is not None else before.get("seconds"),
        "clean": {},
        "benchmarks": before.get("benchmarks", {}),
    }
    for kind, restored in found.items():
        if restored is None:
            continue
        step, state, record = restored
        variables = parallel.replicate(state.variables, run.devices)
        results["clean"][kind] = {
            "split": config.data.test_split,
            "step": step,
            **scores(*predict(variables, run.data.test)),
        }
        if kind == "best":
            results["best_step"], results["holdout"] = step, record
        else:
            results["steps"] = step
    workdir.write_json(directory / workdir.RESULTS, results)
    return results
