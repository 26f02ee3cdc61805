"""Writes a state_dict to a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

from augmax_jax.runtime import extras, storage
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.files import write_atomically
from augmax_jax.runtime.paths import RunPath, expand_workdir


def write_state_dict(path: str | RunPath, state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes a state_dict in the format of the path's suffix: .npz, .safetensors or .pth.

    Raises:
        ValueError: `state_dict` is none, another suffix, or .pth where PyTorch is not installed
            (`extras.MissingExtraError`).
        OSError: the file cannot be written.
    """
    path = expand_workdir(path)
    check_format(path)
    wrong = not isinstance(state_dict, Mapping) or not all(
        isinstance(key, str) and isinstance(array, np.ndarray) for key, array in state_dict.items()
    )
    if wrong or not state_dict:
        raise ValueError("state_dict must map names to NumPy arrays, as to_state_dict gives it")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file")
    arrays = {key: np.require(array, requirements="C") for key, array in state_dict.items()}
    try:
        storage.make(path.parent)
        write_atomically(path, lambda partial: _WRITERS[path.suffix](partial, arrays))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{path} cannot be written ({reason}): choose another --out") from error


def check_format(path: RunPath) -> None:
    """Raises ValueError unless a state_dict can be written in the format of the path's suffix."""
    check_name("suffix of --out", path.suffix, _WRITERS)
    if path.suffix == ".pth":  # the other formats are written without PyTorch
        extras.check("torch", "torch")


def _write_npz(path: Path, state_dict: Mapping[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = dict(state_dict)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _write_safetensors(path: Path, state_dict: Mapping[str, np.ndarray]) -> None:
    # Not save_file, whose files only their owner may read.
    path.write_bytes(save(dict(state_dict), metadata={"format": "pt"}))


def _write_pth(path: Path, state_dict: Mapping[str, np.ndarray]) -> None:
    with extras.needed("torch"):
        import torch

    torch.save({key: torch.from_numpy(np.copy(a)) for key, a in state_dict.items()}, path)


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors, ".pth": _write_pth}
SUFFIXES = tuple(_WRITERS)
