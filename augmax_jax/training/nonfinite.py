"""Steps whose loss or gradient is NaN or infinite: the run stops or goes on, and they are kept.

The batch of such a step is kept as `<workdir>/nonfinite/step_<step>.npz`: "image", uint8
`[B, H, W, 3]`, and "label", int32 `[B]`, of this process, before any augmentation. `replay` takes
the step again.
"""

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from augmax_jax.runtime import files, hosts, parallel, storage, untrusted
from augmax_jax.runtime.paths import RunPath
from augmax_jax.training.batches import device_batches, host_batch
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.run import Run

logger = logging.getLogger(__name__)

FOLDER = "nonfinite"
MOST_KEPT = 10  # batches of a run
MOST_SKIPPED = 50  # steps in a row, after which a run that skips stops
# The loss is from before the update; the parameters' norm shows whether the update is finite.
FIGURES = ("loss", "gradient_norm", "parameter_norm")


class TrainingDiverged(RuntimeError):
    """The loss, the gradient or the parameters are not finite; the last good checkpoint is kept."""


class Watch:
    """Looks at the metrics of every step of a run.

    Args:
        run: the run.
        directory: its directory.

    Attributes:
        skipped: steps that were skipped in this session.
    """

    def __init__(self, run: Run, directory: RunPath) -> None:
        self._run, self._directory = run, directory
        self.skipped = self._in_a_row = 0

    def check(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Keeps the batch of a step that is not finite, and stops the run unless it was skipped.

        Args:
            step: its number, from 1; steps come in order.
            metrics: what the training step gave.

        Raises:
            TrainingDiverged: a figure is not finite and the step was not skipped, or `MOST_SKIPPED`
                steps in a row were.
        """
        bad = next((name for name in FIGURES if not math.isfinite(metrics[name])), None)
        if bad is None:
            self._in_a_row = 0
            return
        what = f"the {bad.replace('_', ' ')} became {metrics[bad]} at step {step}"
        kept = keep_batch(self._run, self._directory, step)
        hint = ""
        if kept:
            # All processes say the same, though each has a file of its own.
            place = kept.parent if hosts.are_several() else kept
            hint = (
                f" The step's batch is in {place}; this takes the step again: "
                f"python -m augmax_jax.main --mode=replay --workdir={self._directory}"
            )
        if metrics.get("skipped"):
            self.skipped += 1
            self._in_a_row += 1
            logger.warning(
                "%s: it is skipped (%d skipped in this session).%s", what, self.skipped, hint
            )
            if self._in_a_row < MOST_SKIPPED:
                return
            what += f", and {MOST_SKIPPED} steps in a row were skipped"
        raise TrainingDiverged(
            f"{what}. The last good checkpoint is kept. Lower config.optimizer.learning_rate, or "
            f"give it config.optimizer.warmup_epochs.{hint}"
        )


def keep_batch(run: Run, directory: RunPath, step: int) -> RunPath | None:
    """Writes the batch of a step to the run's directory.

    Args:
        run: the run.
        directory: its directory.
        step: the step, from 1.

    Returns:
        The file; None, and a line in the log, if there are `MOST_KEPT` others or it cannot be
        written: that must not stop a run, nor hide why it stops.
    """
    folder = directory / FOLDER
    path = folder / f"step_{step:08}{_share()}.npz"
    if len(_kept(directory) - {path}) >= MOST_KEPT:
        logger.warning("%s is full (%d): the batch of step %d is not kept", folder, MOST_KEPT, step)
        return None
    batch = host_batch(run, step)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, image=batch["image"], label=batch["label"])

    try:
        with storage.explained(path):
            storage.make(folder)
            files.write_atomically(path, write)
    except OSError as error:
        logger.warning("the batch of step %d cannot be written to %s: %s", step, path, error)
        return None
    return path


def last_kept(directory: RunPath) -> RunPath:
    """The file of the batch that was kept last in the directory of a run.

    Raises:
        FileNotFoundError: there is none.
    """
    kept = _kept(directory)
    if not kept:
        raise FileNotFoundError(
            f"{directory / FOLDER} holds no batch to replay: a run keeps one there when its loss "
            "or its gradient is not finite"
        )
    return max(kept, key=lambda path: (storage.modified(path), path.name))


def replay(run: Run, directory: RunPath, checkpoints: Checkpoints) -> dict[str, float]:
    """Takes the step again whose batch was kept last: the same state, images and draws.

    The steps from the newest checkpoint before it, or else from the start, are taken again first.

    Args:
        run: the run.
        directory: its directory.
        checkpoints: its checkpoints.

    Returns:
        "step", and the step's metrics.

    Raises:
        FileNotFoundError: no batch is kept.
        ValueError: the file is damaged, or the run has another batch at this step by now.
    """
    path = last_kept(directory)
    step = int(path.stem.split("_")[1])
    batch = read_batch(path)
    if any(not np.array_equal(batch[name], x) for name, x in host_batch(run, step).items()):
        raise ValueError(
            f"{path} is not the batch that this run has at step {step}: the data or the settings "
            "have changed. Remove the file, or put the data back"
        )
    state = run.initial_state()
    restored = checkpoints.restore("latest", state, before=step)
    start, state = restored[:2] if restored else (0, state)
    logger.info("from step %d to step %d, whose batch is in %s", start, step, path)
    step_fn = run.mapped_step(state)
    state = parallel.replicate(hosts.same_arrays(state), run.devices)
    batches = device_batches(run, start)
    for _ in range(start, step - 1):
        state, _ = step_fn(state, next(batches))
    _, metrics = step_fn(state, parallel.shard(batch, run.devices))
    return {"step": step, **{k: float(v) for k, v in parallel.first(metrics).items()}}


def _share() -> str:
    """What tells this process's files from those of others."""
    return f"_of_{jax.process_index()}" if jax.process_count() > 1 else ""


def _kept(directory: RunPath) -> set[RunPath]:
    files = (directory / FOLDER).glob("step_*.npz")
    return {file for file in files if re.fullmatch(rf"step_\d+{_share()}", file.stem)}


def read_batch(path: RunPath) -> dict[str, np.ndarray]:
    """Reads what `keep_batch` wrote: "image" and "label".

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with untrusted.Bounded(path) as file:
            arrays = untrusted.read_npz(file)
        return {name: arrays[name] for name in ("image", "label")}
    except Exception as error:  # NumPy and zipfile raise many kinds for damaged files
        raise ValueError(f"{path} is damaged ({error}): remove it") from error
