"""Notes in a run's `model.json` what network it is and which sessions trained it."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from augmax_jax import config as configs
from augmax_jax.runtime import hosts, model_file, provenance, storage
from augmax_jax.runtime.paths import RunPath
from augmax_jax.training import model_facts
from augmax_jax.training.run import Run

logger = logging.getLogger(__name__)


def keep(run: Run, directory: RunPath, sessions: Sequence[Mapping[str, Any]] = ()) -> None:
    """Writes a run's `model.json`; for the first process.

    Args:
        run: the run.
        directory: its directory.
        sessions: the trainings that made it, as of `runtime.provenance`.
    """
    if hosts.is_writer():
        made = {"seed": run.config.seed, "sessions": list(sessions)}
        model_file.write(directory, {**_facts(run), "provenance": made})


@contextlib.contextmanager
def session(run: Run, directory: RunPath, *, resumed: bool) -> Iterator[Callable[[], None]]:
    """Notes a session of training in `model.json`, with its end, however it ends.

    Args:
        run: the run.
        directory: its directory.
        resumed: whether earlier sessions of the file are this run's.

    Yields:
        What writes the file for the first time; to be called when the directory is the run's.

    Raises:
        ValueError: the file that is there is damaged.
        OSError: it cannot be written.
    """
    before = model_file.read(directory) if resumed else None
    sessions = ((before or {}).get("provenance") or {}).get("sessions", [])
    this = provenance.begin(run.devices)
    whole = run.config.sync_batch_norm and run.config.optimizer.micro_batches == 1
    if sessions and not whole:
        _warn_of_other_devices(sessions[-1].get("device", ""), this["device"])
    begun = False

    def begin() -> None:
        nonlocal begun
        keep(run, directory, [*sessions, this])
        begun = True

    def end() -> None:
        if begun:
            keep(run, directory, [*sessions, provenance.finish(this)])

    try:
        yield begin
    except BaseException:
        # What went wrong is to be said, not this.
        with contextlib.suppress(OSError), storage.explained(directory):
            end()
        raise
    end()


def _warn_of_other_devices(before: str, now: str) -> None:
    """Warns if the number of devices changed: batch statistics are those of other shares."""
    if before.partition(" x ")[0] != now.partition(" x ")[0]:
        logger.warning(
            "the run had %s before, and now has %s: without config.sync_batch_norm, or with "
            "micro-batches, batch norm has the statistics of a share of a batch, so the run goes "
            "on in another way than it would have",
            before,
            now,
        )


def _facts(run: Run) -> dict[str, Any]:
    """The facts of a run's network."""
    settings = configs.settings_of(configs.to_dict(run.config))
    return model_facts.of_settings(settings, run.data.num_classes, run.data.class_names)
