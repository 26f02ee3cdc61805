"""Hands a trained network to other programs: as StableHLO, or as a PyTorch state_dict."""

import logging
import os
from collections.abc import Collection
from typing import Any

import jax
import numpy as np
from jax import export

from augmax_jax import models
from augmax_jax.augment import to_float
from augmax_jax.data import DataConfig
from augmax_jax.inference import exported, loading, output
from augmax_jax.models import Classifier
from augmax_jax.models.cpu import convolution
from augmax_jax.pytorch import exporting as pytorch
from augmax_jax.pytorch.importing import build
from augmax_jax.pytorch.state_dict import to_state_dict
from augmax_jax.runtime import parallel, paths, provenance, storage
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.run_directory import NETWORKS
from augmax_jax.training.pretrained import find, read_network

logger = logging.getLogger(__name__)

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")  # as jax.export calls them

Info = dict[str, Any]


def export_stablehlo(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    fold: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a trained network as one file that runs without this package.

    The file is a zip with a `jax.export` artefact, which takes uint8 images `[N, S, S, 3]` and
    gives float32 logits `[N, C]` for any N, on CPU, CUDA, ROCm and TPU, and with `model.json`:
    class names, how an image becomes one of S by S pixels, versions and provenance. `load` takes
    the file; docs/export.md shows how to use it with JAX alone, and from TensorFlow.

    Args:
        path: the `--workdir` of a run, or the `--out` of an import.
        out: the file to write, `*.zip`; folders above it are made.
        checkpoint: "best", "last" or "average", of a run.
        fold: route to keep of a network with two ("clean" is the one that serves), which becomes
            one with a single norm. The program is that of one route with and without it.
        overwrite: whether to replace a file that is there.

    Raises:
        FileNotFoundError: there is no such directory.
        FileExistsError: `out` exists, and `overwrite` is False.
        ValueError: the directory holds no network or a damaged one, `out` has another suffix, or
            a network with one route is to be folded.
        OSError: `out` cannot be written; nothing is left of it.
    """
    directory = _check_source(path, checkpoint, fold)
    target = _check_out(out, (exported.SUFFIX,), overwrite=overwrite)
    session = provenance.begin(parallel.local_devices(1))
    with storage.explained(directory):
        variables, info = loading.read(directory, checkpoint=checkpoint)
    variables, info = _folded(variables, info, fold)
    program = lower(
        build(info, dtype=info["dtype"]),
        variables,
        image_size=info["image_size"],
        route=info["route"],
    )
    info["export"] = {**_interface(info), **provenance.finish(session), "folded": fold}
    with storage.explained(target), output.named(target):
        storage.make(target.parent)
        exported.write(target, program, info)
    logger.info(
        "%s (%.1f MB): %s, uint8 images [N, %d, %d, 3] to logits, for %s",
        target,
        storage.size(target) / 1e6,
        _describe(info),
        info["image_size"],
        info["image_size"],
        ", ".join(PLATFORMS),
    )


def export_pytorch(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    checkpoint: str = "best",
    fold: str | None = None,
    prefix: str = "",
    overwrite: bool = False,
) -> None:
    """Writes a trained network as a PyTorch state_dict with the official keys.

    Args:
        path: the `--workdir` of a run, or the `--out` of an import.
        out: the file to write: .npz, .safetensors (both without PyTorch) or .pth.
        checkpoint: "best", "last" or "average", of a run.
        fold: route to keep of a network with two, which becomes one with a single norm: a DuBN
            network a plain one, a DuBIN network an IBN one.
        prefix: text to put before every key.
        overwrite: whether to replace a file that is there.

    Raises:
        FileNotFoundError: there is no such directory.
        FileExistsError: `out` exists, and `overwrite` is False.
        ValueError: the directory holds no network or a damaged one, `out` has another suffix or
            needs PyTorch, which is not there, or a network with one route is to be folded.
        OSError: `out` cannot be written; nothing is left of it.
    """
    directory = _check_source(path, checkpoint, fold)
    target = _check_out(out, pytorch.SUFFIXES, overwrite=overwrite)
    pytorch.check_format(target)
    with storage.explained(directory):
        variables, info = read_network(directory, checkpoint=checkpoint)
    variables, info = _folded(variables, info, fold)
    state_dict = to_state_dict(
        variables,
        info["model"],
        num_classes=info["num_classes"],
        norm=info["norm"],
        **info["options"],
    )
    with storage.explained(target):
        pytorch.write_state_dict(target, {prefix + key: a for key, a in state_dict.items()})
    logger.info("%d arrays -> %s: %s", len(state_dict), target, _describe(info))
    mean, std = models.input_normalization(info["model"], info["mean"], info["std"])
    logger.info(
        "its input is normalised by mean %s, std %s; the file does not hold that", mean, std
    )


def lower(
    model: Classifier, variables: Any, *, image_size: int, route: str = "clean"
) -> export.Exported:
    """A network in eval mode as a program for every platform, with its variables inside.

    Args:
        model: the network.
        variables: `{"params": ..., "batch_stats...": ...}`.
        image_size: side S of its images.
        route: of the norms.

    Returns:
        A program from uint8 `[N, S, S, 3]` to float32 `[N, C]`, N any number.
    """

    def logits(images: jax.Array) -> Any:
        return model.apply(variables, to_float(images), route=route, train=False)

    with jax.enable_x64(False), convolution.implementation("plain"):
        shape = export.symbolic_shape(f"N, {image_size}, {image_size}, 3")
        images = jax.ShapeDtypeStruct(shape, np.uint8)
        return export.export(jax.jit(logits), platforms=PLATFORMS)(images)


def _folded(variables: Any, info: Info, fold: str | None) -> tuple[Any, Info]:
    if fold is None:
        return variables, info
    return models.single_route(variables, fold), {**info, "norm": models.SINGLE_NORM[info["norm"]]}


def _interface(info: Info) -> Info:
    """What the program takes and gives, for people and programs without this package."""
    side = info["image_size"]
    resize = DataConfig(image_size=side, test_transform=info["test_transform"]).resize
    return {
        "usage": f"jax.export.deserialize(bytearray of {exported.NETWORK}).call(images)",
        "input": {
            "dtype": "uint8",
            "shape": ["N", side, side, 3],
            "layout": "NHWC",
            "channels": "RGB",
            "values": "0 to 255; scaling and normalisation are inside the program",
        },
        "output": {
            "dtype": "float32",
            "shape": ["N", info["num_classes"]],
            "values": "logits, in the order of class_names; their softmax gives probabilities",
        },
        "preparation": {
            "resize_shorter_side": resize,
            "center_crop": side,
            "rule": f"EXIF orientation applied, RGB; the shorter side resized to {resize} pixels "
            "(bilinear with antialiasing, as Pillow's Image.resize; the longer side in proportion, "
            f"rounded down); the centre of {side} x {side} pixels cut out",
        },
        "platforms": list(PLATFORMS),
    }


def _describe(info: Info) -> str:
    options = "".join(f", {name}={value}" for name, value in info["options"].items())
    return f"{info['model']} with norm {info['norm']}, {info['num_classes']} classes{options}"


def _check_source(path: str | os.PathLike[str], checkpoint: str, fold: str | None) -> RunPath:
    """The directory of a run or an import, before it is read; raises if an option is wrong."""
    directory = find(path)
    check_name("checkpoint", checkpoint, NETWORKS)
    if fold is not None:
        check_name("route to keep", fold, models.ROUTES)
    return directory


def _check_out(
    out: str | os.PathLike[str], suffixes: Collection[str], *, overwrite: bool
) -> RunPath:
    """Finds out, before any work, whether a file can be written; leaves nothing behind."""
    path = paths.expand_workdir(out)
    check_name("suffix of --out", path.suffix, suffixes)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists: choose another, or replace it with --overwrite (overwrite=True)"
        )
    with storage.explained(path), output.named(path):
        paths.try_writing(path.parent)
    return path
