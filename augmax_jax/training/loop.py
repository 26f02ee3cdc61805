"""The training loop (host side): feeds bytes, reads metrics, saves, resumes, reports."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from augmax_jax.runtime import hosts, parallel, storage
from augmax_jax.runtime.paths import RunPath, is_remote
from augmax_jax.training import augmentation_pictures, sessions, tensorboard, workdir
from augmax_jax.training.batches import device_batches
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.nonfinite import TrainingDiverged, Watch
from augmax_jax.training.run import Run
from augmax_jax.training.selection import Selection
from augmax_jax.training.telemetry import Telemetry
from augmax_jax.training.window import Window

if TYPE_CHECKING:
    from ml_collections import ConfigDict

__all__ = ["Stopped", "TrainingDiverged", "train"]

logger = logging.getLogger(__name__)

# The steps of a session that `config.profile` traces: a few steps after compilation.
PROFILE_FROM = 5
PROFILE_STEPS = 3


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop, in one of its processes; the state was saved first.

    Attributes:
        signal: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number

    @property
    def status(self) -> int:
        """The exit status by which shells report a stop by this signal: 130 or 143."""
        return 128 + self.signal


def train(run: Run, directory: RunPath, checkpoints: Checkpoints) -> float:
    """Trains up to the last step, from the newest checkpoint if there is one.

    Once a step has worked, `config.json` and `model.json` claim the directory for the run.

    Args:
        run: the run.
        directory: its directory.
        checkpoints: its checkpoints.

    Returns:
        Seconds spent in training steps, over all sessions of the run.

    Raises:
        ValueError: the directory belongs to another run.
        TrainingDiverged: the loss, the gradient or the parameters are not finite, and
            `config.optimizer.on_nonfinite` does not skip the step.
        Stopped: SIGINT or SIGTERM asked the run to stop; the state was saved first.
        OSError: a file cannot be written, or the processes of the run see different ones.
    """
    config = run.config
    start, seconds, best, kept = 0, 0.0, None, None
    like = run.abstract_state()
    restored = checkpoints.restore("latest", like)
    if restored is not None:
        start, state, record = restored
        seconds, best, kept = record["seconds"], record["best"], record.get("window")
        logger.info("going on from the checkpoint of step %d", start)
    if len(starts := set(hosts.everyone(start))) > 1:
        raise OSError(
            f"the processes found checkpoints of different steps, {sorted(starts)}, in "
            f"{directory}: wait until all hosts see the same files there, and start again"
        )
    if start >= run.total_steps:
        return seconds

    step_fn = run.mapped_step(like)  # first, because it is traced beside what follows
    if restored is None:
        state = run.initial_state()
    select = Selection(run, checkpoints, best)
    draw = augmentation_pictures.make_drawer(run, directory)
    state = parallel.replicate(hosts.same_arrays(state), run.devices)
    batches = device_batches(run, start)
    vote = hosts.Votes(run.devices)
    pending: list[tuple[int, Any]] = []
    window = Window(config.log_every, run.total_steps, kept)
    watch = Watch(run, directory)
    begin = time.perf_counter()
    telemetry = Telemetry(
        directory,
        total_steps=run.total_steps,
        examples_per_epoch=len(run.data.train),
        batch_size=config.batch_size,
        start_step=start,
        tensorboard=config.tensorboard,
        progress=config.progress,
    )
    session = sessions.session(run, directory, resumed=start > 0)
    with _stop_signals() as stopping, telemetry, session as describe:
        for step in range(start + 1, run.total_steps + 1):
            with jax.transfer_guard("disallow"), profiled(config.profile, directory, step - start):
                state, metrics = step_fn(state, next(batches))
            pending.append((step, metrics))
            if step == start + 1:
                jax.block_until_ready(metrics)
                _claim(config, directory)
                describe()
                logger.info("first step after %.1f s", time.perf_counter() - begin)

            stop = vote(stopping(), last=step == run.total_steps)
            save = bool(stop) or run.due(step, config.checkpoint.every_epochs)
            choose = run.due(step, config.eval_every_epochs)
            if save or choose or step % config.log_every == 0:
                # Also before every save: a checkpoint must not hold a diverged state.
                _flush(pending, watch, window, telemetry)
                loss = window.latest.get("loss", math.nan)  # all steps so far may be skipped
                telemetry.progress(step, {"loss": loss} | select.postfix())
            else:
                telemetry.progress(step)
            with telemetry.pause():
                if choose:
                    telemetry.scalars(step, "eval", select(step, state))
                if hosts.is_writer() and run.due(step, config.pictures_every_epochs):
                    telemetry.images(step, "augmentations", draw(step, state)[None])
                if save:
                    telemetry.sync()  # a run that goes on from it needs what was logged before
                    record = {
                        "seconds": seconds + telemetry.seconds,
                        "best": select.best,
                        "window": window.kept(),
                    }
                    checkpoints.save("latest", step, parallel.first(state), record)
            if stop:
                logger.warning("stopped at step %d; the same command goes on from there", step)
                raise Stopped(stop)
    if late := stopping():
        logger.warning("stopped after the last step; the same command evaluates")
        raise Stopped(late)
    return seconds + telemetry.seconds


def _claim(config: ConfigDict, directory: RunPath) -> None:
    """Claims the directory for the run and shows the run in TensorBoard; first process only."""
    if hosts.is_writer():
        workdir.claim(config, directory)
        if config.tensorboard:
            tensorboard.write_hparams(directory, config, {})


def _flush(
    pending: list[tuple[int, Any]], watch: Watch, window: Window, telemetry: Telemetry
) -> None:
    """Reads the pending steps' metrics, checks that they are finite, and logs full windows.

    Raises:
        TrainingDiverged: as of `Watch.check`; the message names the first such step.
    """
    rows = [(step, parallel.first(metrics)) for step, metrics in pending]
    pending.clear()
    for step, row in rows:
        watch.check(step, row)
        means = window.add(step, row)
        if means is not None:
            if telemetry.images_per_second:
                means["images_per_second"] = telemetry.images_per_second
            telemetry.scalars(step, "train", means)


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Turns the first Ctrl-C or SIGTERM into a flag, so that the present step is completed.

    A second signal interrupts at once.

    Yields:
        A function that returns the signal's number, 0 before there is one.
    """
    asked = 0
    before: dict[int, Any] = {}

    def ask(number, frame):
        nonlocal asked
        del frame
        asked = number
        restore()

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        restore()


@contextlib.contextmanager
def profiled(enabled: bool, directory: RunPath, steps_done: int) -> Iterator[None]:
    """Traces a few warm steps for TensorBoard or Perfetto, if the config asks for it."""
    enabled = enabled and hosts.is_writer()
    place = directory / "profile"
    # JAX writes to a disk alone.
    folder = Path(tempfile.gettempdir(), f"profile-{os.getpid()}") if is_remote(place) else place
    if enabled and steps_done == PROFILE_FROM:
        jax.profiler.start_trace(str(folder), create_perfetto_trace=True)
    yield
    if enabled and steps_done == PROFILE_FROM + PROFILE_STEPS:
        jax.profiler.stop_trace()
        if is_remote(place):
            storage.upload(folder, place)
            shutil.rmtree(folder)
        logger.info("wrote the profile to %s", place)
