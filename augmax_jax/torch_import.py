"""The command `python -m augmax_jax.torch_import`, and the functions of importing.

    python -m augmax_jax.torch_import --checkpoint best_SA.pth --model wrn40_2 --num_classes 10 \\
        --out imported/wrn40_2
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

import jax

from augmax_jax import models
from augmax_jax.data.settings import MIN_IMAGE_SIZE, TEST_TRANSFORMS
from augmax_jax.pytorch.importing import (
    build,
    check_out,
    import_file,
    init_from,
    load_imported,
    save_imported,
)
from augmax_jax.pytorch.state_dict import from_state_dict
from augmax_jax.runtime import console, files
from augmax_jax.runtime.checks import check_count
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import expand

__all__ = [
    "build",
    "from_state_dict",
    "import_file",
    "init_from",
    "load_imported",
    "main",
    "save_imported",
]

logger = logging.getLogger("augmax_jax.torch_import")  # __name__ is __main__ in the command

_OPTIONS = ("stem_stride", "depth", "widen_factor", "cardinality", "base_width")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.torch_import"),
        description="Imports a PyTorch checkpoint. No code in the file is run.",
    )
    parser.add_argument("--checkpoint", required=True, help=".pth, .safetensors or .npz file")
    parser.add_argument("--model", required=True, help=", ".join(models.MODELS))
    parser.add_argument("--num_classes", required=True, type=int)
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument("--norm", help="bn, ibn, dubn or dubin; default: found from the keys")
    parser.add_argument(
        "--key", help="key of the state_dict in the file, such as state_dict_ema; default: found"
    )
    parser.add_argument(
        "--prefix", help="prefix of the network's names, such as module.; default: found"
    )
    for name in ("mean", "std"):
        parser.add_argument(
            f"--{name}",
            nargs=3,
            type=float,
            metavar=("R", "G", "B"),
            help="input normalisation; default: that of a normalising layer in the file, else "
            "ImageNet's for ImageNet models and none for the others",
        )
    parser.add_argument("--license", help="note kept in model.json")
    parser.add_argument("--class_names", help="file of names, one a line, in the logits' order")
    parser.add_argument(
        "--image_size", type=int, help="side of the network's images; default: the usual one"
    )
    parser.add_argument(
        "--test_transform",
        help=f"how images become squares: {', '.join(TEST_TRANSFORMS)}; default: center_crop for "
        "ImageNet models, else resize",
    )
    for name in _OPTIONS:
        parser.add_argument(f"--{name}", type=int, help="option of the model")
    return parser


def _serving(flags: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of the network's images and classes.

    Raises:
        ValueError: a value is not allowed, or there are not as many names as classes.
        OSError: the file of names cannot be read.
    """
    given: dict[str, Any] = {}
    if flags.image_size is not None:
        check_count("--image_size", flags.image_size, low=MIN_IMAGE_SIZE)
        given["image_size"] = flags.image_size
    if flags.test_transform is not None:
        check_name("--test_transform", flags.test_transform, TEST_TRANSFORMS)
        given["test_transform"] = flags.test_transform
    if flags.class_names is not None:
        path = expand(flags.class_names)
        names = files.read_lines(path)
        if len(names) != flags.num_classes:
            raise ValueError(
                f"--class_names {path} has {len(names)} names, but --num_classes is "
                f"{flags.num_classes}: give one a line, in the order of the logits"
            )
        given["class_names"] = names
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    console.prepare()
    jax.config.update("jax_platforms", "cpu")  # needs no accelerator, and must not take its memory
    flags = _parser().parse_args(arguments)
    options: dict[str, Any] = {
        name: getattr(flags, name) for name in _OPTIONS if getattr(flags, name) is not None
    }
    try:
        out = expand(flags.out)
        check_out(out)
        serving = _serving(flags)
        variables, info = import_file(
            expand(flags.checkpoint),
            flags.model,
            num_classes=flags.num_classes,
            norm=flags.norm,
            key=flags.key,
            prefix=flags.prefix,
            mean=flags.mean,
            std=flags.std,
            license=flags.license,
            **options,
        )
        save_imported(out, variables, info | serving)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    logger.info(
        "%s (norm %s, %d classes, %s parameters), input normalisation mean %s, std %s -> %s",
        info["model"],
        info["norm"],
        info["num_classes"],
        f"{count:,}",
        info["mean"],
        info["std"],
        flags.out,
    )
    strided = "stem_stride" in models.MODELS[info["model"]].options
    if info["num_classes"] == 200 and strided and "stem_stride" not in options:
        # Shapes do not show the stride, and a wrong one lowers accuracy without an error.
        logger.warning(
            "stem_stride is 1; the paper's Tiny ImageNet models (64x64 images) need --stem_stride 2"
        )


if __name__ == "__main__":
    main()
