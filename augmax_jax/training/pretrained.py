"""Variables to start from or to evaluate that did not come from this run."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from augmax_jax.pytorch import importing as torch_import
from augmax_jax.runtime import paths
from augmax_jax.runtime.run_directory import has_checkpoints
from augmax_jax.training.checkpoints import read_variables

logger = logging.getLogger(__name__)


def is_imported(directory: Path) -> bool:
    """Whether a directory was written by `python -m augmax_jax.torch_import`."""
    return (directory / "model.json").is_file()


def load(
    directory: str | Path, fresh: dict[str, Any], *, model: ConfigDict, new_head: bool
) -> dict[str, Any]:
    """Reads an imported model, or the best checkpoint of a run.

    Args:
        directory: an import's `--out` or a run's `--workdir`.
        fresh: variables of the network to fill, freshly initialised.
        model: `config.model`, whose options and input normalisation an import must share.
        new_head: whether a head of another class count may stay fresh (fine-tuning).

    Returns:
        Variables of the structure of `fresh`, NumPy arrays.

    Raises:
        ValueError: the directory holds neither; or another network; or, unless `new_head`,
            another number of classes.
    """
    directory = paths.expand(directory)
    if is_imported(directory):
        options = model.options.to_dict()
        variables, info = torch_import.load_imported(directory)
        # Neither the input normalisation nor a stem's stride shows in the shapes of arrays.
        if info["options"] != options:
            raise ValueError(
                f"config.model.options is {options}, but {directory} was trained with "
                f"{info['options']}"
            )
        for name, ours, none in (
            ("mean", tuple(model.mean), 0.0),
            ("std", tuple(model.std), 1.0),
        ):
            theirs = info[name] or (none,) * 3
            if not np.allclose(ours, theirs):
                raise ValueError(
                    f"config.model.{name} is {ours}, but {directory} was trained with "
                    f"{tuple(theirs)}: set --config.model.{name}='{tuple(theirs)}'"
                )
    elif has_checkpoints(directory):
        variables = read_variables(directory)
    else:
        raise ValueError(
            f"{directory} holds neither an imported model (model.json) nor a run (checkpoints)"
        )
    started, facts = torch_import.init_from(fresh, variables)
    head = [fact for fact in facts if "new head" in fact]
    if head and not new_head:
        raise ValueError(f"{directory} has another number of classes than the dataset: {head[0]}")
    logger.info("starting from %s: %s", directory, "; ".join(facts))
    return started
