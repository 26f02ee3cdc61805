"""Checkpoints through orbax: the latest few and the best, with exact resume.

A workdir has `checkpoints/latest/<step>` (the last `keep`) and `checkpoints/best/<step>`
(one). Every checkpoint holds a whole `TrainState` and a record: the accuracies that were measured
at this step.
"""

import contextlib
import dataclasses
import json
import logging
import math
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from augmax_jax.runtime import extras, files, hosts, paths, storage, untrusted
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.run_directory import CHECKPOINTS

with extras.needed("train"):
    import orbax.checkpoint as ocp

logger = logging.getLogger(__name__)

Record = dict[str, Any]
_MARK = ".checkpoints"
_ASIDE = ".replaced"  # ends the name of a checkpoint while the one that replaces it is written


class Checkpoints:
    """Saves and restores a run's states under `<workdir>/checkpoints`.

    Args:
        workdir: the run's directory.
        keep: number of the latest checkpoints to keep.

    Raises:
        OSError: the directory cannot be written.
    """

    def __init__(self, workdir: str | RunPath, *, keep: int = 2):
        root = paths.absolute(paths.expand_workdir(workdir)) / CHECKPOINTS
        _put_back(root)
        self._managers = {
            "latest": _manager(root / "latest", keep=keep),
            "best": _manager(root / "best", keep=1),
        }

    def save(self, kind: str, step: int, state: Any, record: Record) -> None:
        """Writes one checkpoint, and returns when it is on disk.

        Args:
            kind: "latest" or "best".
            step: steps taken; a checkpoint of this step is replaced once the new one is whole.
            state: pytree of host arrays.
            record: plain values that JSON can hold.

        Raises:
            OSError: the disk is full or cannot be written; earlier checkpoints stay.
        """
        manager = self._managers[kind]
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(_fields(state)),
            record=ocp.args.JsonSave(_sealed(record, _fields(state))),
        )
        try:
            # It logs tracebacks of the errors that it raises, from several threads.
            with _replacing(manager, step), _orbax_says(logging.CRITICAL):
                manager.save(step, args=args, force=True)
                manager.wait_until_finished()
        except Exception as error:
            hosts.reraise_if_lost(error)  # the disk is not to blame
            raise OSError(
                f"the checkpoint of step {step} could not be written to {manager.directory} "
                f"({error}). Free space there or choose another --workdir; the same command "
                "then goes on from the last good checkpoint."
            ) from error

    def restore(
        self, kind: str, like: Any, *, before: int | None = None
    ) -> tuple[int, Any, Record] | None:
        """Reads the newest checkpoint that is undamaged.

        Args:
            kind: "latest" or "best".
            like: a state of the same structure, shapes and dtypes.
            before: a step; only checkpoints of earlier steps are read. None: all.

        Returns:
            Its step, the state as host arrays, and its record; None if there is no checkpoint.

        Raises:
            ValueError: there are checkpoints, but none of them can be read.
        """
        manager = self._managers[kind]
        steps = [step for step in manager.all_steps() if before is None or step < before]
        failures = []
        for step in sorted(steps, reverse=True):
            try:
                restored = manager.restore(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(_abstract(_fields(like))),
                        record=ocp.args.JsonRestore(),
                    ),
                )
                state = jax.tree.map(np.asarray, restored["state"])
                record = _opened(restored["record"], state)
            except Exception as error:  # orbax raises many kinds for damaged files
                hosts.reraise_if_lost(error)
                failures.append(f"{manager.directory / str(step)}: {_first_line(error)}")
                logger.warning(
                    "checkpoint %s of step %d is damaged (%s); trying the one before it",
                    kind,
                    step,
                    _first_line(error),
                )
                continue
            if dataclasses.is_dataclass(like) and not isinstance(like, type):
                state = dataclasses.replace(like, **state)
            return step, state, record
        if failures:
            raise ValueError(
                "no checkpoint can be read; move these away to start anew:\n" + "\n".join(failures)
            )
        return None

    def close(self) -> None:
        """Waits for checkpoints that are being written, and closes the files."""
        for manager in self._managers.values():
            manager.close()


def read_variables(
    workdir: str | RunPath, kind: str = "best", *, average: bool = False
) -> dict[str, Any]:
    """The variables of a run's checkpoint, for any network.

    Args:
        workdir: the run's directory.
        kind: "best" or "latest"; the other kind is read if this one has none that is readable.
        average: whether to read the moving average of the weights in place of the weights.

    Returns:
        `{"params": ..., "batch_stats...": ...}`, NumPy arrays.

    Raises:
        ValueError: there is no checkpoint, none can be read, its path is one that orbax cannot
            read, or it has no average.
    """
    workdir = paths.expand_workdir(workdir)
    paths.check_checkpoint_path(workdir, "the directory")
    failures = []
    for name in (kind, "latest" if kind == "best" else "best"):
        directory = paths.absolute(workdir) / CHECKPOINTS / name
        if not directory.is_dir():
            continue
        with _read_only(directory) as manager:
            for step in sorted(manager.all_steps(), reverse=True):
                try:
                    _check_declared(manager, step)
                    restored = manager.restore(
                        step,
                        args=ocp.args.Composite(
                            state=ocp.args.StandardRestore(), record=ocp.args.JsonRestore()
                        ),
                    )
                    state = jax.tree.map(np.asarray, restored["state"])
                    _opened(restored["record"], state)
                    variables = (
                        state.get("average")
                        if average
                        else {"params": state["params"], **state["statistics"]}
                    )
                except Exception as error:  # orbax raises many kinds for damaged files
                    failures.append(f"{directory / str(step)}: {_first_line(error)}")
                    continue
                if failures:
                    logger.warning("damaged and passed over: %s", "; ".join(failures))
                if variables is None:
                    raise ValueError(
                        f"{workdir} holds no average of the weights, as the run was trained "
                        "without config.optimizer.ema: choose the best or the last checkpoint"
                    )
                logger.info("%s: the %s checkpoint, of step %d", workdir, name, step)
                return variables
    if failures:
        raise ValueError(
            "no checkpoint can be read; put sound ones back, or train again:\n"
            + "\n".join(failures)
        )
    raise ValueError(f"{workdir} holds no checkpoint")


@contextlib.contextmanager
def _read_only(directory: RunPath) -> Iterator[ocp.CheckpointManager]:
    """A manager that writes nothing; orbax warns that it does not, which is meant."""
    with _orbax_says(logging.ERROR):
        manager = _manager(directory, read_only=True)
    with contextlib.closing(manager):
        yield manager


@contextlib.contextmanager
def _orbax_says(level: int) -> Iterator[None]:
    """Lets orbax log what is of this level or above."""
    log = logging.getLogger("absl")
    usual = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(usual)


@contextlib.contextmanager
def _replacing(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Holds a checkpoint of this step aside until the new one is whole; orbax cannot replace.

    In a bucket, where a folder is not renamed in one step, it is removed first. The checkpoints of
    other steps stay, from which a run that is killed before the new one is whole makes it again.
    """
    if step not in manager.all_steps():
        yield
        return
    if paths.is_remote(manager.directory):
        manager.delete(step)
        yield
        return
    present = Path(manager.directory) / str(step)
    aside = present.parent.parent / f"{present.parent.name}.{step}{_ASIDE}"
    with hosts.together():
        if hosts.is_writer():
            present.rename(aside)
    manager.reload()
    try:
        yield
    except Exception:
        if hosts.is_writer() and not present.exists():
            aside.rename(present)
        manager.reload()
        raise
    if hosts.is_writer():
        shutil.rmtree(aside)


def _put_back(root: RunPath) -> None:
    """Puts checkpoints back that a killed process held aside, unless the new ones are whole."""
    if paths.is_remote(root):  # where none is held aside
        return
    with hosts.together():
        if not hosts.is_writer():
            return
        for aside in root.glob(f"*{_ASIDE}"):
            kind, step = aside.name.removesuffix(_ASIDE).split(".")
            if (root / kind / step).exists():
                shutil.rmtree(aside)
            else:
                (root / kind).mkdir(exist_ok=True)
                aside.rename(root / kind / step)


def _manager(
    directory: RunPath, *, keep: int | None = None, read_only: bool = False
) -> ocp.CheckpointManager:
    if not read_only:
        storage.make(directory)
        _mark(directory)
    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=False,
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,  # killed processes leave them
            # orbax would turn these off itself, with a warning.
            **({"save_interval_steps": 0} if read_only else {}),
        ),
        item_names=("state", "record"),
    )


def _mark(directory: RunPath) -> None:
    """Writes an object to a bucket: orbax lists the folder, which must hold something."""
    if paths.is_remote(directory) and hosts.is_writer():
        (directory / _MARK).write_bytes(b"")


def _fields(state: Any) -> Any:
    """A dataclass as a dict of the fields that hold arrays.

    So files stay readable when a field that most runs leave empty is added or removed.
    """
    if not dataclasses.is_dataclass(state):
        return state
    named = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in named.items() if jax.tree.leaves(value)}


def _abstract(tree: Any) -> Any:
    """Shapes and dtypes; arrays are restored to the host, so that the device count may differ."""
    return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)


def _check_declared(manager: ocp.CheckpointManager, step: int) -> None:
    """Refuses a checkpoint whose arrays would take more memory than its files can hold."""
    folder = manager.directory / str(step)
    metadata = ocp.StandardCheckpointHandler().metadata(folder / "state")
    declared = 0
    for leaf in jax.tree.leaves(metadata):
        chunk = getattr(leaf.storage, "chunk_shape", None) or ()
        size = max(math.prod(leaf.shape), math.prod(chunk))
        declared += size * np.dtype(leaf.dtype).itemsize
    stored = storage.total_size(paths.expand_workdir(folder))
    untrusted.check_declared(declared, stored, "its arrays")


def _sealed(record: Record, arrays: Any) -> dict[str, Any]:
    """A record with the checksum of it and of the arrays: orbax keeps none of either."""
    return {"record": record, "checksum": _checksum(record, arrays)}


def _opened(kept: dict[str, Any], arrays: Any) -> Record:
    """The record; that of an older version has no checksum."""
    if "record" not in kept and "checksum" not in kept:
        return dict(kept)
    if _checksum(kept.get("record"), arrays) != kept.get("checksum"):
        raise ValueError("it does not have the checksum that it was written with")
    return dict(kept["record"])


def _checksum(record: Any, arrays: Any) -> int:
    """A sum, as a tree that is read without its structure has its leaves in another order."""
    parts = [json.dumps(files.to_json(record), sort_keys=True, allow_nan=False).encode()]
    parts += [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(arrays)]
    return sum(map(zlib.crc32, parts)) % 2**32


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]
