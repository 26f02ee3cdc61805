"""Predictions as a table for people, as CSV, or as JSON."""

import contextlib
import csv
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from augmax_jax.inference.batch import Prediction, Predictions
from augmax_jax.runtime import files
from augmax_jax.runtime.errors import check_name

FORMATS = ("table", "csv", "json")


def choose_format(name: str, out: Path | None) -> str:
    """The format that was asked for, or that of the file's ending; a table for .txt or none.

    Raises:
        ValueError: there is no such format or ending.
    """
    if not name:
        suffix = out.suffix.lower() if out else ""
        if suffix in ("", ".txt"):
            return "table"
        endings = [f".{known}" for known in FORMATS[1:]]
        check_name("suffix of --out", suffix, [*endings, ".txt"])
        return suffix.removeprefix(".")
    check_name("format", name, FORMATS)
    return name


def check_out(out: Path) -> None:
    """Raises OSError, before any work, for a file that could not be written."""
    if out.is_dir():
        raise IsADirectoryError(f"--out {out} is a directory: name a file")
    with named(out), tempfile.TemporaryFile(dir=out.parent):
        pass


def to_text(predictions: Predictions, layout: str) -> str:
    """The predictions in one of `FORMATS`."""
    return {"table": _table, "csv": _csv, "json": _json}[layout](predictions)


def write(out: Path, text: str) -> None:
    """Writes the file whole, or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with named(out):
        files.write_text(out, text)


@contextlib.contextmanager
def named(out: Path) -> Iterator[None]:
    """Around writing `--out`: an OSError names the file and says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"--out {out} cannot be written ({reason}): choose another") from error


def _table(predictions: Predictions) -> str:
    cells = [
        [*_start(image, predictions), *(f"{name} {100 * p:.1f}%" for name, p in image.top)]
        for image in predictions.images
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _csv(predictions: Predictions) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranks = range(1, len(predictions.images[0].top) + 1)
    columns = [f"{name}_{rank}" for rank in ranks for name in ("class", "probability")]
    writer.writerow(["image", *(["label"] if predictions.labelled else []), *columns])
    for image in predictions.images:
        pairs = [value for pair in image.top for value in pair]
        writer.writerow([*_start(image, predictions), *pairs])
    return text.getvalue()


def _start(image: Prediction, predictions: Predictions) -> list[str]:
    """The first cells of an image's row: its file, and its label where some have one."""
    return [image.path, *([image.label or ""] if predictions.labelled else [])]


def _json(predictions: Predictions) -> str:
    found = {
        "images": [
            {
                "image": os.fspath(image.path),
                "label": image.label,
                "predictions": [{"class": name, "probability": p} for name, p in image.top],
            }
            for image in predictions.images
        ],
        "accuracy": predictions.accuracy,
        "labelled": predictions.labelled,
        "unreadable": predictions.unreadable,
    }
    return files.dumps(found, indent=2) + "\n"
