"""The command `python -m augmax_jax.torch_export`, and the functions of exporting.

    python -m augmax_jax.torch_export --checkpoint runs/cifar10 --out wrn40_2.pth

The directory is a run's workdir, or what torch_import wrote. The file's suffix chooses the
format: .npz, .safetensors (both without PyTorch) or .pth. `python -m augmax_jax.export` writes the
same files, and StableHLO.
"""

import argparse
import sys
from collections.abc import Sequence

import jax

from augmax_jax import models
from augmax_jax.pytorch.exporting import write_state_dict
from augmax_jax.pytorch.state_dict import to_state_dict
from augmax_jax.runtime import console
from augmax_jax.runtime.run_directory import NETWORKS

__all__ = ["main", "to_state_dict", "write_state_dict"]


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
        choices=NETWORKS,
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
    from augmax_jax.inference.exporting import export_pytorch

    jax.config.update("jax_platforms", "cpu")  # needs no accelerator, and must not take its memory
    flags = _parser().parse_args(arguments)
    try:
        export_pytorch(
            flags.checkpoint,
            flags.out,
            checkpoint=flags.which,
            fold=flags.fold,
            prefix=flags.prefix,
            overwrite=True,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
