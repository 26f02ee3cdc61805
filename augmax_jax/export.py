"""The command `python -m augmax_jax.export`: hands a trained network to other programs.

python -m augmax_jax.export runs/mine --out mine.zip            # StableHLO: runs on JAX alone
python -m augmax_jax.export runs/mine --out mine.safetensors    # a PyTorch state_dict
"""

import argparse
import sys
from collections.abc import Sequence

import jax

from augmax_jax.inference import exported, exporting
from augmax_jax.pytorch.exporting import SUFFIXES
from augmax_jax.runtime import console
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import expand_workdir

__all__ = ["main"]

_ENDING = {"stablehlo": exported.SUFFIX, "pytorch": ".safetensors"}  # of a file without --out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.export"),
        description="Writes a trained network as StableHLO, one file that needs JAX alone, or as a "
        "PyTorch state_dict with the official keys.",
    )
    parser.add_argument("run", help="--workdir of a run, or --out of torch_import")
    parser.add_argument(
        "--format",
        default="",
        help=f"{', '.join(_ENDING)}; default: as --out ends, else stablehlo",
    )
    parser.add_argument(
        "--out",
        help=f"file to write: *{exported.SUFFIX} for stablehlo; "
        f"{', '.join(f'*{suffix}' for suffix in SUFFIXES)} for pytorch; default: exported.* in RUN",
    )
    parser.add_argument(
        "--checkpoint", default="best", help="best (default), last or average, of a run"
    )
    parser.add_argument(
        "--fold",
        action="store_const",
        const="clean",
        help="make a network with two norms one with a single norm: that of the clean route, which "
        "is evaluated",
    )
    parser.add_argument(
        "--prefix",
        default="",
        help="of pytorch: text to put before every key; the official test script needs 'module.'",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    console.prepare()
    jax.config.update("jax_platforms", "cpu")  # needs no accelerator, and must not take its memory
    flags = _parser().parse_args(arguments)
    try:
        _run(flags)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def _run(flags: argparse.Namespace) -> None:
    layout = _format(
        flags.format, expand_workdir(flags.out).suffix if flags.out else exported.SUFFIX
    )
    out = flags.out or expand_workdir(flags.run) / f"exported{_ENDING[layout]}"
    options = {
        "checkpoint": flags.checkpoint,
        "fold": flags.fold,
        "overwrite": flags.overwrite,
    }
    if layout == "pytorch":
        exporting.export_pytorch(flags.run, out, prefix=flags.prefix, **options)
    elif flags.prefix:
        raise ValueError("--prefix is for --format pytorch: leave it out")
    else:
        exporting.export_stablehlo(flags.run, out, **options)


def _format(name: str, suffix: str) -> str:
    """The format that was asked for, or that of the file's suffix.

    Raises:
        ValueError: there is no such format.
    """
    if name:
        check_name("format", name, _ENDING)
        return name
    check_name("suffix of --out", suffix, (exported.SUFFIX, *SUFFIXES))
    return "pytorch" if suffix in SUFFIXES else "stablehlo"


if __name__ == "__main__":
    main()
