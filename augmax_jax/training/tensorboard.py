"""TensorBoard's files in a run's directory, written by clu.

clu imports TensorFlow; both are imported on first use, with accelerators hidden from TensorFlow.
The curves lie in the directory itself, the settings with the results in `hparams/`. TensorFlow
writes to the disk alone; what belongs into a bucket is brought there.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augmax_jax import config as configs
from augmax_jax.runtime import appending, extras, files, run_directory, storage
from augmax_jax.runtime.paths import RunPath, is_remote

if TYPE_CHECKING:
    from ml_collections import ConfigDict

HPARAMS = "hparams"
_LARGE = 8_000_000  # bytes of a file that is not written to a bucket again
# Shown for every run, beside the settings that differ from the defaults.
_ALWAYS = ("method", "model.name", "model.norm", "data.name", "seed")

# (step of an event, names of its values) -> whether the event stays.
Keep = Callable[[int, list[str]], bool]


def open_writer(directory: RunPath, keep: Keep | None = None) -> Any:
    """A clu writer for a directory; None, with a warning, if TensorFlow or clu is missing.

    Args:
        directory: the directory, which must exist.
        keep: decides which events of earlier sessions stay; None keeps all.

    Raises:
        OSError: the files cannot be written; the message says what to do.
    """
    try:
        writer = _import_writer()
    except Exception as error:  # for example, a clash of protobuf versions raises TypeError
        warnings.warn(
            f"TensorBoard logs are off, because they need TensorFlow, clu and tensorboard "
            f"({type(error).__name__}: {error}). The history goes to "
            f"{directory / run_directory.HISTORY} all the same.",
            stacklevel=3,
        )
        return None
    with clear_errors_of_tensorflow(directory):
        if keep is not None:
            for path in directory.glob("*tfevents*"):
                _drop_events(path, keep)
        if is_remote(directory):
            return Carried(directory, writer)
        return writer(os.fspath(directory))


class Carried:
    """A clu writer whose files go to a bucket: twice a minute, with each checkpoint, at the end.

    An object is written whole, so a file that is large enough is left, and another one begun.

    Args:
        directory: where they go.
        make: clu's class of writers.
    """

    def __init__(self, directory: RunPath, make: Callable[[str], Any]) -> None:
        self._directory, self._make = directory, make
        self._folder = tempfile.TemporaryDirectory()
        self._writer = make(self._folder.name)
        self._next = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def flush(self) -> None:
        """Brings the files to the bucket if the last time is half a minute ago."""
        self._writer.flush()
        if time.monotonic() >= self._next:
            self.sync()

    def sync(self) -> None:
        """Brings the files to the bucket."""
        self._writer.flush()
        folder = Path(self._folder.name)
        storage.upload(folder, self._directory)
        self._next = time.monotonic() + appending.EVERY
        if storage.total_size(folder) > _LARGE:
            self._writer.close()
            storage.upload(folder, self._directory)
            for file in folder.iterdir():
                file.unlink()
            self._writer = self._make(self._folder.name)

    def close(self) -> None:
        """Brings the files to the bucket, and removes them here."""
        self._writer.close()
        storage.upload(Path(self._folder.name), self._directory)
        self._folder.cleanup()


def _import_writer() -> Any:
    """clu's class of writers; TensorFlow is only used to write files."""
    # Without these TensorFlow prints notes over the progress bar.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with extras.needed("tensorboard"):
        import tensorboard  # noqa: F401 - clu needs it and does not say so
        import tensorflow as tf
        from clu.metric_writers import SummaryWriter

    # A RuntimeError means that TensorFlow already uses the devices that it found.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")
    return SummaryWriter


def write_hparams(workdir: RunPath, config: ConfigDict, results: Mapping[str, float]) -> None:
    """Shows the run in TensorBoard's HPARAMS tab, once: earlier entries are replaced.

    Without TensorFlow or clu nothing is written; `open_writer` has warned of that.

    Args:
        workdir: the run's directory.
        config: the run's config; the settings that differ from the defaults are shown.
        results: name of each metric -> number.

    Raises:
        OSError: the files cannot be written.
    """
    try:
        make_writer = _import_writer()
    except Exception:  # as in `open_writer`
        return
    directory = workdir / HPARAMS
    with clear_errors_of_tensorflow(directory):
        storage.remove(directory)
        with (
            storage.written(directory) as folder,
            contextlib.closing(make_writer(os.fspath(folder))) as writer,
        ):
            writer.write_hparams(distinctive_settings(config))
            writer.write_scalars(0, results)


def distinctive_settings(config: ConfigDict) -> dict[str, bool | int | float | str]:
    """The settings that identify a run: its main ones, and those that differ from the defaults.

    Args:
        config: the run's config.

    Returns:
        Dotted name -> value.
    """
    mine = configs.to_dict(config)
    # Lines "name: one -> other".
    differing = configs.differences(mine, configs.to_dict(configs.defaults()))
    names = {*_ALWAYS, *(line.partition(":")[0] for line in differing)}
    return {name: value for name, value in run_directory.flatten(mine).items() if name in names}


def _drop_events(path: RunPath, keep: Keep) -> None:
    """Removes events from a file, atomically: TensorBoard would draw old and new as one curve."""
    import tensorflow as tf
    from tensorboard.compat.proto.event_pb2 import Event

    records = []
    # A killed process may leave a half-written last record.
    with storage.on_disk(path) as file, contextlib.suppress(tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(os.fspath(file)).as_numpy_iterator():
            records.append(record)

    def stays(record: bytes) -> bool:
        event = Event.FromString(record)
        return keep(event.step, [value.tag for value in event.summary.value])

    kept = [record for record in records if stays(record)]
    if len(kept) == len(records):
        return

    def write(partial: Path) -> None:
        with tf.io.TFRecordWriter(os.fspath(partial)) as writer:
            for record in kept:
                writer.write(record)

    files.write_atomically(path, write)


@contextlib.contextmanager
def clear_errors(path: RunPath) -> Iterator[None]:
    """Makes an OSError name the file and say what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path}: {error.strerror or error}. Free some space, or choose a "
            "--workdir that can be written; what was written so far is kept",
        ) from error


@contextlib.contextmanager
def clear_errors_of_tensorflow(directory: RunPath) -> Iterator[None]:
    """Makes TensorFlow's errors, too, an OSError that names the directory and says what to do."""
    import tensorflow as tf

    try:
        with clear_errors(directory):
            yield
    except tf.errors.OpError as error:
        # The first line has the file and the cause, after the operation's name in braces.
        cause = error.message.partition("\n")[0].rpartition("}} ")[2]
        raise OSError(
            f"cannot write TensorBoard logs to {directory}: {cause}. "
            "Free some space or choose another --workdir; what was written so far is kept"
        ) from error
