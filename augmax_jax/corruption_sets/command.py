"""`python -m augmax_jax.corruptions`: writes a corrupted benchmark of any dataset."""

import argparse
import sys
from collections.abc import Sequence

import jax

from augmax_jax.corruption_sets.clean_images import Source
from augmax_jax.corruption_sets.writer import FORMATS, generate
from augmax_jax.corruptions import constants
from augmax_jax.data.flags import dataset_flags
from augmax_jax.data.images import BadImageError
from augmax_jax.runtime import console


def corruption_names(text: str) -> list[str]:
    groups = {
        "benchmark": constants.BENCHMARK,
        "extra": constants.EXTRA,
        "all": constants.BENCHMARK + constants.EXTRA,
    } | constants.FAMILIES
    names = [part for word in text.split(",") for part in groups.get(word.strip(), [word.strip()])]
    return list(dict.fromkeys(names))


def _severities(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers separated by commas, such as 1,3,5, got {text!r}"
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    console.prepare()
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.corruptions"),
        parents=[dataset_flags("test")],
        description="Write a -C benchmark of any dataset: CIFAR-C's npy files or ImageNet-C's "
        "folders. Run it again to go on after an interruption.",
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--benchmark", default="cifar", help=", ".join(constants.BENCHMARKS))
    parser.add_argument(
        "--image_size", type=int, default=0, help="default: the benchmark's, 32, 64 or 224"
    )
    parser.add_argument(
        "--corruptions",
        type=corruption_names,
        default=list(constants.BENCHMARK),
        help="comma-separated names; or benchmark (the 15, default), extra, all, noise, blur, "
        "weather, digital",
    )
    parser.add_argument(
        "--severities", type=_severities, default=list(constants.SEVERITIES), help="default: all"
    )
    parser.add_argument(
        "--format", default="", help=f"{' or '.join(FORMATS)}; default: npy for cifar, else folder"
    )
    parser.add_argument("--batch_size", type=int, default=256)
    options = parser.parse_args(arguments)
    try:
        source = Source(
            options.dataset,
            options.split,
            options.benchmark,
            options.image_size,
            options.data_dir,
            options.bad_images,
            options.labels,
            options.test_fraction,
        )
        with jax.enable_x64(False):  # in float64 the pixels would differ
            generate(
                source,
                options.out,
                corruptions=options.corruptions,
                severities=options.severities,
                layout=options.format,
                seed=options.seed,
                batch_size=options.batch_size,
            )
    except BadImageError as error:
        print(f"error: {error}\nTo leave them out: --bad_images skip", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
