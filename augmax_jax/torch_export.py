"""The command `python -m augmax_jax.torch_export`, and the functions of exporting.

    python -m augmax_jax.torch_export --checkpoint runs/cifar10 --out wrn40_2.pth

The directory is a run's workdir, or what torch_import wrote. The file's suffix chooses the
format: .npz, .safetensors (both without PyTorch) or .pth.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import jax

from augmax_jax import models
from augmax_jax.pytorch.exporting import check_format, write_state_dict
from augmax_jax.pytorch.state_dict import to_state_dict
from augmax_jax.runtime import console
from augmax_jax.runtime.paths import expand

__all__ = ["main", "to_state_dict", "write_state_dict"]

logger = logging.getLogger("augmax_jax.torch_export")  # __name__ is __main__ in the command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.torch_export"),
        description="Writes a network as a PyTorch state_dict with the official keys.",
    )
    parser.add_argument(
        "--checkpoint", required=True, help="workdir of a run, or directory of an import"
    )
    parser.add_argument("--out", required=True, help=".npz, .safetensors or .pth file to write")
    parser.add_argument(
        "--which",
        choices=("best", "last"),
        default="best",
        help="checkpoint of a run (default: best)",
    )
    parser.add_argument(
        "--prefix",
        default="",
        help="text to put before every key; the official test script needs 'module.'",
    )
    parser.add_argument(
        "--fold",
        "--route",
        nargs="?",
        const="clean",
        choices=models.ROUTES,
        help="write a network with a single norm, which has this route of the two (default: clean, "
        "the one that is evaluated)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    console.prepare()
    # Imported after the lines above, because orbax sets up logging too; the functions need it not.
    from augmax_jax.training.pretrained import read_network

    jax.config.update("jax_platforms", "cpu")  # needs no accelerator, and must not take its memory
    flags = _parser().parse_args(arguments)
    try:
        out = expand(flags.out)
        check_format(out)
        variables, info = read_network(flags.checkpoint, checkpoint=flags.which)
        if flags.fold is not None:
            variables = models.single_route(variables, flags.fold)
            info["norm"] = models.SINGLE_NORM[info["norm"]]
        state_dict = to_state_dict(
            variables,
            info["model"],
            num_classes=info["num_classes"],
            norm=info["norm"],
            **info["options"],
        )
        write_state_dict(out, {flags.prefix + key: a for key, a in state_dict.items()})
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    options = "".join(f", {name}={value}" for name, value in info["options"].items())
    logger.info(
        "%d arrays -> %s: %s with norm %s, %d classes%s",
        len(state_dict),
        flags.out,
        info["model"],
        info["norm"],
        info["num_classes"],
        options,
    )
    mean, std = models.input_normalization(info["model"], info["mean"], info["std"])
    logger.info(
        "its input is normalised by mean %s, std %s; the file does not hold that", mean, std
    )


if __name__ == "__main__":
    main()
