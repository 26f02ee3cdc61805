"""Our variables as a PyTorch state_dict with the official keys; the way back of torch_import.

    python -m augmax_jax.torch_export --checkpoint imported/wrn40_2 --out wrn40_2.pth

The file's suffix chooses the format: .npz, .safetensors (both without PyTorch) or .pth.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from augmax_jax import models
from augmax_jax.models.routes import SINGLE
from augmax_jax.pytorch import importing as torch_import
from augmax_jax.pytorch import keys as torch_keys
from augmax_jax.runtime import console, files, paths
from augmax_jax.runtime.errors import check_name

logger = logging.getLogger("augmax_jax.torch_export")  # __name__ is __main__ in the command


def to_state_dict(
    variables: Mapping[str, Any],
    model_name: str,
    *,
    num_classes: int,
    norm: str = "dubin",
    **options: Any,
) -> dict[str, np.ndarray]:
    """Names and lays out variables as the official PyTorch code does.

    Args:
        variables: of `models.create(model_name, num_classes, norm=norm, **options)`.
        model_name: as in `models.create`.
        num_classes: number of logits.
        norm: as in `models.create`.
        **options: of the model.

    Returns:
        Key -> float32 array, and int64 zeros for batch norm's counters, which PyTorch's
        `load_state_dict` wants and which have no effect. `torch_import.from_state_dict` gives
        back the same variables, bit for bit.

    Raises:
        ValueError: the variables are not those of this model.
    """
    module = models.create(model_name, num_classes, norm=norm, **options)
    entries = torch_keys.entries(module)
    result: dict[str, np.ndarray] = {}
    problems = []
    for key, entry in entries.items():
        node: Any = variables
        try:
            for name in entry.path:
                node = node[name]
        except KeyError:
            problems.append(f"missing {'/'.join(entry.path)}")
            continue
        array = np.ascontiguousarray(entry.to_torch(np.asarray(node, np.float32)))
        if array.shape != entry.shape:
            problems.append(f"{key} has shape {array.shape} instead of {entry.shape}")
        result[key] = array
    if problems:
        raise ValueError(
            f"the variables are not of {model_name} (norm={norm}, {num_classes} classes): "
            + ", ".join(problems)
        )
    for key in torch_keys.counter_keys(entries):
        result[key] = np.zeros((), np.int64)
    return result


def write_state_dict(path: str | Path, state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes a state_dict in the format of the path's suffix: .npz, .safetensors or .pth.

    Raises:
        ValueError: another suffix, or .pth where PyTorch is not installed.
        OSError: the file cannot be written.
    """
    path = paths.expand(path)
    check_name("suffix of --out", path.suffix, _WRITERS)
    path.parent.mkdir(parents=True, exist_ok=True)
    write = _WRITERS[path.suffix]
    files.write_atomically(path, lambda partial: write(partial, state_dict))


def _write_npz(path: Path, state_dict: Mapping[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = dict(state_dict)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _write_safetensors(path: Path, state_dict: Mapping[str, np.ndarray]) -> None:
    names = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
    header, end = {}, 0
    # By descending alignment, as the format asks for aligned data.
    items = sorted(state_dict.items(), key=lambda item: -item[1].itemsize)
    for key, array in items:
        begin, end = end, end + array.nbytes
        header[key] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in items:
            file.write(array.astype(array.dtype.newbyteorder("<")).tobytes())


def _write_pth(path: Path, state_dict: Mapping[str, np.ndarray]) -> None:
    try:
        import torch
    except ImportError:
        raise ValueError(
            "writing .pth files needs PyTorch (requirements-torch.txt); "
            ".npz and .safetensors do not"
        ) from None
    torch.save({key: torch.from_numpy(np.copy(a)) for key, a in state_dict.items()}, path)


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors, ".pth": _write_pth}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    console.prepare()
    jax.config.update("jax_platforms", "cpu")  # no accelerator is needed, nor its memory taken
    parser = argparse.ArgumentParser(
        prog="python -m augmax_jax.torch_export",
        description="Writes a model as a PyTorch state_dict with the official keys.",
    )
    parser.add_argument("--checkpoint", required=True, help="directory with a model.json")
    parser.add_argument("--out", required=True, help=".npz, .safetensors or .pth file to write")
    parser.add_argument(
        "--prefix",
        default="",
        help="put before every key; the official test script wants 'module.'",
    )
    parser.add_argument(
        "--route",
        help="clean or augmented: write this route alone, with the keys of a single norm",
    )
    flags = parser.parse_args(arguments)
    try:
        variables, info = torch_import.load_imported(flags.checkpoint)
        if flags.route is not None:
            variables = models.single_route(variables, flags.route)
            info["norm"] = SINGLE[info["norm"]]
        state_dict = to_state_dict(
            variables,
            info["model"],
            num_classes=info["num_classes"],
            norm=info["norm"],
            **info["options"],
        )
        write_state_dict(flags.out, {flags.prefix + key: a for key, a in state_dict.items()})
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    logger.info("%d arrays -> %s", len(state_dict), flags.out)
