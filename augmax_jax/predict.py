"""The command `python -m augmax_jax.predict`: what a trained network sees in images.

python -m augmax_jax.predict runs/mine photo.jpg
python -m augmax_jax.predict runs/mine photos/ --top 1 --out predictions.csv
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from augmax_jax.data.settings import BAD_IMAGES
from augmax_jax.inference import output
from augmax_jax.inference.batch import Predictions, predict_files
from augmax_jax.inference.loading import load
from augmax_jax.inference.predictor import BATCH_SIZE
from augmax_jax.inference.sources import find
from augmax_jax.runtime import console
from augmax_jax.runtime.checks import check_count
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import expand

__all__ = ["main"]

logger = logging.getLogger("augmax_jax.predict")  # __name__ is __main__ in the command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.predict"),
        description="Names what a trained network sees in images. Images in folders named like "
        "its classes, such as <dir>/test/<class>/ under <dir>/test, give its accuracy too.",
    )
    parser.add_argument(
        "run", help="--workdir of a run, --out of torch_import, or a file of export"
    )
    parser.add_argument("images", nargs="+", metavar="image", help="image file or folder of them")
    parser.add_argument("--top", type=int, default=5, help="classes of each image (default: 5)")
    parser.add_argument(
        "--format",
        default="",
        help=f"{', '.join(output.FORMATS)}; default: as --out ends (.txt: table), else table",
    )
    parser.add_argument("--out", help="file to write; default: print")
    parser.add_argument(
        "--checkpoint", default="best", help="best (default), last or average, of a run"
    )
    parser.add_argument(
        "--batch_size", type=int, default=BATCH_SIZE, help=f"images at a time ({BATCH_SIZE})"
    )
    parser.add_argument(
        "--bad_images",
        default="refuse",
        help="refuse images that cannot be read (default), or skip them and name them",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    console.prepare()
    flags = _parser().parse_args(arguments)
    try:
        _run(flags)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(console.nobody_reads())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def _run(flags: argparse.Namespace) -> None:
    # All that can be wrong without the network is found before it is loaded.
    out = expand(flags.out) if flags.out else None
    layout = output.choose_format(flags.format, out)
    if out:
        output.check_out(out)
    check_count("--top", flags.top, low=1)
    check_count("--batch_size", flags.batch_size, low=1)
    check_name("--bad_images", flags.bad_images, BAD_IMAGES)
    sources = find(flags.images)
    predictor = load(flags.run, checkpoint=flags.checkpoint)
    predictions = predict_files(
        predictor,
        sources,
        top=flags.top,
        batch_size=flags.batch_size,
        bad_images=flags.bad_images,
    )
    text = output.to_text(predictions, layout)
    if out:
        output.write(out, text)
    else:
        sys.stdout.write(text)
    _summarize(predictions, flags.out)


def _summarize(predictions: Predictions, out: str | None) -> None:
    where = f" -> {out}" if out else ""
    logger.info("%d images%s", len(predictions.images), where)
    if predictions.accuracy is not None:
        logger.info(
            "accuracy: %.2f%% (%d of the %d images in folders of classes)",
            100 * predictions.accuracy,
            predictions.right,
            predictions.labelled,
        )


if __name__ == "__main__":
    main()
