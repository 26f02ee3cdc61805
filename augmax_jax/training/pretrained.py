"""Loads variables of another run or of an imported checkpoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from augmax_jax import config as configs
from augmax_jax import models
from augmax_jax.pytorch import importing as torch_import
from augmax_jax.runtime import model_file, storage
from augmax_jax.runtime.files import read_json
from augmax_jax.runtime.paths import RunPath, expand_workdir
from augmax_jax.runtime.run_directory import CHECKPOINTS, CONFIG, has_checkpoints
from augmax_jax.training import model_facts
from augmax_jax.training.checkpoints import read_variables

if TYPE_CHECKING:
    from ml_collections import ConfigDict

logger = logging.getLogger(__name__)


def is_imported(directory: RunPath) -> bool:
    """Whether a directory was written by `python -m augmax_jax.torch_import`."""
    return (directory / model_file.MODEL).is_file() and not (directory / CHECKPOINTS).is_dir()


def find(directory: str | RunPath) -> RunPath:
    """The directory of a run or an import, its path expanded.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    path = expand_workdir(directory)
    with storage.explained(path):
        there = path.is_dir()
    if not there:
        raise FileNotFoundError(f"there is no directory {str(path)!r}: name that of a run")
    return path


def read_network(
    directory: str | RunPath, *, checkpoint: str = "best"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the network in the directory of a run or an import.

    Args:
        directory: a run's `--workdir` or an import's `--out`.
        checkpoint: "best" or "last" checkpoint of a run; the other one if there is none. Or
            "average": the moving average of its weights at the last step.

    Returns:
        Variables as NumPy arrays; and what `model.json` says (see `runtime.model_file.write`), from
        which `torch_import.build` makes the network. If a run is too old to have the file, its
        `config.json` says the same but for the class names.

    Raises:
        FileNotFoundError: there is no such directory.
        ValueError: the directory holds neither a run nor an import, or is damaged, or the run has
            no average.
    """
    directory = find(directory)
    if is_imported(directory):
        return torch_import.load_imported(directory)
    if not has_checkpoints(directory):
        raise ValueError(
            f"{directory} holds neither an imported model (model.json) nor a run (checkpoints)"
        )
    info = model_file.read(directory)
    settings = None if info else _read_settings(directory)
    variables = read_variables(
        directory,
        "best" if checkpoint == "best" else "latest",
        average=checkpoint == "average",
    )
    classes = variables["params"]["head"]["kernel"].shape[1]
    if info is None:
        assert settings is not None
        return variables, model_facts.of_settings(settings, classes)
    if info["num_classes"] != classes:
        raise ValueError(
            f"{directory / model_file.MODEL} is of a network with {info['num_classes']} classes, "
            f"but the checkpoint has {classes}: put the run's own file back, or remove it"
        )
    return variables, info


def _read_settings(directory: RunPath) -> dict[str, Any]:
    """The settings of a run that is too old for a `model.json`, by their present names."""
    kept = read_json(directory / CONFIG)
    if not isinstance(kept, dict) or not {"name", "norm"} <= (kept.get("model") or {}).keys():
        raise ValueError(
            f"{directory} holds checkpoints but no {CONFIG} that says of which network: put that "
            "file back"
        )
    return configs.settings_of(kept)


def load(
    directory: str | RunPath, fresh: dict[str, Any], *, model: ConfigDict, new_head: bool
) -> dict[str, Any]:
    """Reads an imported model, or the best checkpoint of a run.

    Args:
        directory: an import's `--out` or a run's `--workdir`.
        fresh: freshly initialised variables of the network.
        model: `config.model`; its options and input normalisation must be those in the
            directory.
        new_head: whether the number of classes may differ; the head then stays fresh
            (fine-tuning).

    Returns:
        Variables of the structure of `fresh`, NumPy arrays.

    Raises:
        ValueError: the directory holds neither a run nor an import, or another network, or
            without `new_head` another number of classes.
    """
    with storage.explained(directory):
        variables, info = read_network(directory)
    # The shapes of arrays show neither a stem's stride nor the input normalisation.
    options = model.options.to_dict()
    if info["options"] != options:
        raise ValueError(
            f"config.model.options is {options}, but {directory} was trained with {info['options']}"
        )
    ours = models.input_normalization(model.name, model.mean, model.std)
    theirs = models.input_normalization(info["model"], info["mean"], info["std"])
    for name, our, their in zip(("mean", "std"), ours, theirs, strict=True):
        if not np.allclose(our, their):
            raise ValueError(
                f"config.model.{name} is {our}, but {directory} was trained with {their}: set "
                f"--config.model.mean='{theirs[0]}' --config.model.std='{theirs[1]}'"
            )
    started, facts = torch_import.init_from(fresh, variables)
    head = [fact for fact in facts if "new head" in fact]
    if head and not new_head:
        raise ValueError(f"{directory} has another number of classes than the dataset: {head[0]}")
    logger.info("starting from %s: %s", directory, "; ".join(facts))
    return started
