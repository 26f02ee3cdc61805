"""From a directory or a file to a network that predicts."""

import logging
import os
from typing import Any

from augmax_jax import models
from augmax_jax.inference import exported
from augmax_jax.inference.predictor import Predictor
from augmax_jax.pytorch.importing import build
from augmax_jax.runtime import paths, storage
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.run_directory import NETWORKS

logger = logging.getLogger(__name__)


def load(path: str | os.PathLike[str], *, checkpoint: str = "best") -> Predictor:
    """Loads the network that a run or an import left in a directory, or an exported file.

        network = augmax_jax.load("runs/mine")
        for name, probability in network.predict("photo.jpg")[0]:
            print(f"{name}: {probability:.1%}")

    Nothing is written there, and neither the data that it was trained on nor TensorFlow is needed.

    Args:
        path: the `--workdir` of a run, the `--out` of an import
            (`python -m augmax_jax.torch_import`), or a file of `export_stablehlo`.
        checkpoint: "best" or "last", of a run; the other one where there is none that can be read.
            Or "average": the moving average of its weights, if it was trained with
            `config.optimizer.ema`.

    Returns:
        The network with its variables, class names and pre-processing; an exported one has no
        `model` and no `variables`. What a run or an import of an older version does not say is
        told from the network, and the log says so: class names are then numbers, and an import's
        image size is the usual one.

    Raises:
        FileNotFoundError: there is no such directory or file.
        ValueError: it holds no network, or a damaged one.
        OSError: the file cannot be read.
    """
    check_name("checkpoint", checkpoint, NETWORKS)
    place = paths.expand_workdir(path)
    with storage.explained(place):
        return _load(place, checkpoint)


def _load(place: RunPath, checkpoint: str) -> Predictor:
    if place.is_file():
        program, info = exported.read(place)
        _warn_of_numbers(place, info)
        return exported.ExportedPredictor(program, info)
    variables, info = read(place, checkpoint=checkpoint)
    return Predictor(
        build(info, dtype=info["dtype"]),
        variables,
        info["class_names"],
        image_size=info["image_size"],
        test_transform=info["test_transform"],
        route=info["route"],
    )


def read(
    path: str | os.PathLike[str], *, checkpoint: str = "best"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a network with what is known of it, from the directory of a run or an import.

    Args:
        path: the directory.
        checkpoint: as in `load`.

    Returns:
        Variables as NumPy arrays; and what `model.json` says, with an image size and a
        pre-processing, which are the usual ones where it says none.

    Raises:
        FileNotFoundError: there is no such directory.
        ValueError: it holds no network, or a damaged one, or the checkpoint's name is unknown.
    """
    # Imported here, because an exported file needs none of the packages that a run does.
    from augmax_jax.training.pretrained import read_network

    check_name("checkpoint", checkpoint, NETWORKS)
    directory = paths.expand_workdir(path)
    variables, info = read_network(directory, checkpoint=checkpoint)
    _warn_of_numbers(directory, info)
    image_size, transform = info["image_size"], info["test_transform"]
    if image_size is None:
        image_size = models.usual_image_size(info["model"], **info["options"])
        transform = transform or models.usual_test_transform(info["model"])
        logger.warning(
            "%s does not say the size of its images: they are given %d pixels, as is usual for %s",
            directory,
            image_size,
            info["model"],
        )
    return variables, {**info, "image_size": image_size, "test_transform": transform or "resize"}


def _warn_of_numbers(place: RunPath, info: dict[str, Any]) -> None:
    if info["class_names"] is None:
        logger.warning("%s does not say the names of its classes: they are numbers", place)
