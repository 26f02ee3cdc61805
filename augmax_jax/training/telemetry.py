"""Logs a run: JSONL history, TensorBoard, progress bar.

`history.jsonl` is the record of a run: one JSON object per line with `step`, `epoch`,
`kind` ("train", "eval" or "benchmark"), `time` (Unix seconds) and the metrics. Only
the standard library is needed, so a machine without TensorFlow writes a full record too;
the report is drawn from it. JSON has no NaN or infinity: they are written as the
strings "nan", "inf" and "-inf", and `read_history` turns them back into floats.

TensorBoard logs lie in the workdir itself (`training.tensorboard`). In a bucket, where nothing can
be added to a file, both come twice a minute and with each checkpoint.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np

from augmax_jax.runtime import appending, files, hosts, paths, storage
from augmax_jax.runtime.epochs import Epochs
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.progress import Progress
from augmax_jax.runtime.run_directory import HISTORY, repair_history
from augmax_jax.training import tensorboard as tensorboard_files
from augmax_jax.training.tensorboard import clear_errors

KINDS = ("train", "eval", "benchmark")

_RESERVED = ("step", "epoch", "kind", "time")


class Telemetry:
    """Writes a run's history and TensorBoard logs and draws its progress bar.

    It is a context manager. In a run of several processes, only the first one writes: in the
    others no method has an effect.

    Args:
        workdir: directory of the run; made if it is missing.
        total_steps: steps of the whole run, for the time left.
        examples_per_epoch: examples in an epoch, for the epoch of a step.
        batch_size: global batch size.
        start_step: steps done before this process (the step of the restored checkpoint, 0
            for a new run). An earlier process may have left rows and TensorBoard events of
            later steps; they are removed, so that nothing is there twice. None keeps
            everything, for commands that only add to a run.
        renew: kinds of rows that this session writes anew; those of earlier sessions are
            removed.
        tensorboard: whether to write TensorBoard logs.
        progress: whether to draw a bar (on a terminal or in a notebook) or print a line now
            and then (elsewhere).
        process: index of this process; None: as `runtime.hosts` knows it.

    Raises:
        ValueError: a count is not positive.
        OSError: the workdir cannot be written; the message says what to do.
    """

    def __init__(
        self,
        workdir: str | os.PathLike[str],
        *,
        total_steps: int,
        examples_per_epoch: int,
        batch_size: int,
        start_step: int | None = 0,
        renew: Sequence[str] = (),
        tensorboard: bool = True,
        progress: bool = True,
        process: int | None = None,
    ) -> None:
        counts = {
            "total_steps": total_steps,
            "examples_per_epoch": examples_per_epoch,
            "batch_size": batch_size,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if start_step is not None and start_step < 0:
            raise ValueError(f"start_step must be at least 0, or None, got {start_step}")

        self.workdir = paths.expand_workdir(workdir)
        self._epochs = Epochs(batch_size, examples_per_epoch)
        self._active = hosts.is_writer() if process is None else process == 0
        self._file: TextIO | None = None
        self._writer: Any = None
        self._progress = Progress(
            total_steps=total_steps,
            batch_size=batch_size,
            start_step=start_step or 0,
            show=progress and self._active,
        )
        if not self._active:
            return
        path = self.workdir / HISTORY

        def keep(step: int, kinds: Sequence[str]) -> bool:
            return (start_step is None or step <= start_step) and not set(kinds) & set(renew)

        def keep_event(step: int, tags: list[str]) -> bool:
            return keep(step, [tag.partition("/")[0] for tag in tags])

        with clear_errors(path):
            storage.make(self.workdir)
            repair_history(path, lambda row: keep(row["step"], [str(row.get("kind"))]))
            self._file = appending.open_to_append(path)
        if tensorboard:
            self._writer = tensorboard_files.open_writer(self.workdir, keep_event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Seconds since the start, without pauses for evaluation."""
        return self._progress.seconds

    @property
    def images_per_second(self) -> float | None:
        """Mean speed from the first `progress` call on, so without compilation; None before."""
        return self._progress.mean_images_per_second

    def epoch(self, step: int) -> float:
        """Epochs passed after `step` steps, with the fraction."""
        return round(self._epochs.passed(step), 4)

    def scalars(self, step: int, kind: str, metrics: Mapping[str, Any]) -> None:
        """Adds a row to the history, and each number as `kind/name` to TensorBoard.

        Args:
            step: steps done.
            kind: "train", "eval" or "benchmark".
            metrics: name -> number (Python, NumPy or JAX scalar), or text, which only the
                history keeps.

        Raises:
            ValueError: the kind is unknown, a name is reserved, or a value is not one number.
            OSError: the row could not be written, for example because the disk is full.
        """
        check_name("kind of history row", kind, KINDS)
        if clash := sorted(set(metrics) & set(_RESERVED)):
            raise ValueError(f"metrics may not be named {', '.join(clash)}: the row uses these")
        values = {name: _scalar(name, value) for name, value in metrics.items()}
        if self._file is None:
            return
        step = int(step)
        row = {"step": step, "epoch": self.epoch(step), "kind": kind, "time": round(time.time(), 3)}
        row |= values
        with clear_errors(self.workdir / HISTORY):
            self._file.write(files.dumps(row) + "\n")
            self._file.flush()
        numbers = {f"{kind}/{k}": v for k, v in values.items() if isinstance(v, int | float)}
        self._log(lambda writer: writer.write_scalars(step, numbers))

    def images(self, step: int, tag: str, images: np.ndarray) -> None:
        """Shows images in TensorBoard.

        Args:
            step: steps done.
            tag: name of the group of images.
            images: uint8 `[N, H, W, 3]`.

        Raises:
            ValueError: `images` has another shape or dtype.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"images must be uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}"
            )
        self._log(lambda writer: writer.write_images(int(step), {tag: images}))

    def progress(self, step: int, postfix: Mapping[str, Any] | None = None) -> None:
        """Moves the progress bar to `step`.

        It may be called at every step: drawing is throttled.

        Args:
            step: steps done.
            postfix: what to show, such as `{"loss": 0.31, "SA": 0.94}`; a name keeps its
                last value until it is given again. SA, RA and accuracy show as percentages.
        """
        if self._active:
            self._progress.update(int(step), self.epoch(int(step)), postfix or {})

    def pause(self) -> contextlib.AbstractContextManager[None]:
        """A context whose time does not count for the speed, such as an evaluation's."""
        return self._progress.pause()

    def sync(self) -> None:
        """Brings all that was written so far into the bucket that the run lies in, if it does."""
        if isinstance(self._file, appending.Rewritten):
            self._file.sync()
        if isinstance(self._writer, tensorboard_files.Carried):
            self._log(lambda writer: writer.sync(), flush=False)

    def close(self) -> None:
        """Writes pending events, and closes the files and the bar; it may be called twice."""
        self._progress.close()
        file, self._file = self._file, None
        if file is not None:
            with clear_errors(self.workdir / HISTORY):
                file.close()
        if self._writer is not None:
            self._log(lambda writer: writer.close(), flush=False)
            self._writer = None

    def _log(self, write: Callable[[Any], None], *, flush: bool = True) -> None:
        if self._writer is None:
            return
        with tensorboard_files.clear_errors_of_tensorflow(self.workdir):
            write(self._writer)
            if flush:
                self._writer.flush()


def _scalar(name: str, value: Any) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    array = np.asarray(value)
    if array.size != 1 or (array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16"):
        raise ValueError(
            f"metric {name!r} must be one number, got {array.dtype} of shape {list(array.shape)}"
        )
    if array.dtype.kind in "iu":
        return int(array.item())
    return bool(array.item()) if array.dtype.kind == "b" else float(array.item())
