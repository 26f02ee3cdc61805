"""`python -m augmax_jax.deepaugment distort|train`: DeepAugment copies of a dataset."""

import argparse
import re
import sys
from collections.abc import Sequence

import jax

from augmax_jax.data.flags import dataset_flags
from augmax_jax.data.images import BadImageError
from augmax_jax.deepaugment.distortion import FORMATS, QUALITY, distort
from augmax_jax.deepaugment.networks import NETWORKS
from augmax_jax.deepaugment.training import LEARNING_RATE, train
from augmax_jax.runtime import console


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"must be i/n, such as 0/4, got {text!r}")
    return int(match[1]), int(match[2])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.deepaugment"),
        description="Distort a dataset with DeepAugment's networks, or train these networks.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    common = argparse.ArgumentParser(add_help=False, parents=[dataset_flags("train")])
    common.add_argument("--network", required=True, help=" or ".join(NETWORKS))

    make = commands.add_parser(
        "distort",
        parents=[common],
        help="write a distorted copy of a dataset",
        description="Write a distorted copy of a dataset as OUT/<split>/<class>/<name>. Run it "
        "again to go on after an interruption.",
    )
    make.add_argument("--weights", required=True, help="the published PyTorch file, or our npz")
    make.add_argument("--out", required=True, help="folder to write")
    make.add_argument(
        "--size",
        type=int,
        default=None,
        help="shorter side of the files; 0: the network's output, as published; default: "
        "the originals' if they have at most 128 pixels, else 0",
    )
    make.add_argument(
        "--working_size",
        type=int,
        default=0,
        help="shorter side of the network's input; default: 128 for edsr and 512 for cae, as "
        "published, or half of --size for edsr and twice --size for cae if that is less",
    )
    make.add_argument(
        "--grid",
        type=int,
        default=0,
        help="longer sides of the network's input are multiples of it, so that fewer shapes are "
        "compiled; 1: as published; default: a sixteenth of the working size",
    )
    make.add_argument("--limit", type=int, default=0, help="number of images to distort; 0: all")
    make.add_argument("--format", default="jpeg", help=" or ".join(FORMATS))
    make.add_argument("--quality", type=int, default=QUALITY, help="JPEG quality (default: 75)")
    make.add_argument("--batch_size", type=int, default=0, help="default: up to 8")
    make.add_argument(
        "--shard",
        type=_shard,
        default=(0, 1),
        metavar="i/n",
        help="do part i of n, counted from 0; all parts may write to the same folder",
    )

    learn = commands.add_parser(
        "train", parents=[common], help="train a network on the images of a dataset"
    )
    learn.add_argument("--out", required=True, help="npz file to write")
    learn.add_argument("--steps", type=int, default=5000)
    learn.add_argument("--batch_size", type=int, default=16)
    learn.add_argument(
        "--patch",
        type=int,
        default=0,
        help="side of the training patches; default: the images' side, at most 64",
    )
    learn.add_argument("--learning_rate", type=float, default=LEARNING_RATE)
    learn.add_argument("--limit", type=int, default=10_000, help="images kept in memory")
    learn.add_argument("--weights", default="", help="file to start from; default: random")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    console.prepare()
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    try:
        with jax.enable_x64(False):  # in float64 the pixels would differ
            if command == "distort":
                distort(image_format=options.pop("format"), **options)
            else:
                train(**options)
    except BadImageError as error:
        print(f"error: {error}\nTo leave such images out: --bad_images skip", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
