"""Tables of labels: a CSV or TSV of `file,label[,split]` beside a folder of images."""

import collections
import csv
import dataclasses
import io
import logging
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from augmax_jax.data import walk
from augmax_jax.data.folder import Listing, class_folder, note_numbers, quoted
from augmax_jax.data.formats import is_system
from augmax_jax.runtime.errors import NAMED, nearest, shorten
from augmax_jax.runtime.paths import expand

TABLES = ("labels.csv", "labels.tsv")  # looked for in a folder
SPLITS = ("train", "test", "val", "validation")
# The names that a column may have, in any case.
_COLUMNS = {
    "file": ("file", "path", "image", "filename"),
    "label": ("label", "class", "target"),
    "split": ("split",),
}
_DELIMITERS = (",", "\t", ";")  # spreadsheets write the last where the comma is for decimals
_LAYOUT = (
    "Its first line must name the columns: one of file, path, image, filename; one of label, "
    "class, target; and, if there are splits, split"
)

log = logging.getLogger(__name__)


class HeaderError(ValueError):
    """The first line of a table does not name the columns."""


@dataclasses.dataclass(frozen=True)
class _Row:
    """An image that a table lists."""

    line: int
    path: str
    label: str
    split: str


def find(root: Path, labels: str) -> Path | None:
    """The table of a folder.

    Args:
        root: the folder of images.
        labels: the path of the table, relative to the folder or absolute; empty: `labels.csv` or
            `labels.tsv` in the folder, if there.

    Raises:
        FileNotFoundError: the table that is named is not there.
        ValueError: none is named, and both are there.
    """
    there = [name for name in TABLES if (root / name).is_file()]
    if labels:
        path = root / expand(labels)
        if not path.is_file():
            near = sorted(p.name for p in root.glob("*.[ct]sv"))
            raise FileNotFoundError(
                f"config.data.labels={labels!r}: there is no file {str(path)!r}."
                f"{nearest(path.name, near)} The path is relative to the folder of images, or "
                "absolute"
            )
        return path
    if len(there) > 1:
        raise ValueError(
            f"{str(root)!r} has {quoted(there)}: set config.data.labels to one of them"
        )
    return root / there[0] if there else None


def read(table: Path, root: Path, *, min_classes: int = 2) -> dict[str, Listing]:
    """Reads a table of labels.

    The file is UTF-8, its columns are separated by commas, tabs or semicolons, and the first line
    names them; other columns are passed over. Files are relative to the folder of images, or
    absolute, with `/` or `\\`. A label is a class's name, also where it is a number.

    Args:
        table: the file.
        root: the folder of images.
        min_classes: how many classes there must be.

    Returns:
        The images of every split, with the classes of the whole table; without a column of splits
        all are "train".

    Raises:
        HeaderError: the first line does not name the columns.
        ValueError: rows cannot be used, all of which are named; or there are too few classes.
    """
    header, lines = _parse(table)
    images = _Images(root)
    problems: list[tuple[int, str]] = []
    rows: dict[str, _Row] = {}
    repeated: list[int] = []
    for number, fields in lines:
        row = _read_row(number, fields, header, images, problems)
        if row is None:
            continue
        before = rows.setdefault(row.path, row)
        if (before.label, before.split) != (row.label, row.split):
            what = "label" if before.label != row.label else "split"
            values = f"{getattr(before, what)!r}, now {getattr(row, what)!r}"
            file = fields[header["file"]]
            fault = f"{file!r} has another {what} in line {before.line}: {values}"
            problems.append((number, fault))
        elif before is not row:
            repeated.append(number)
    problems += _untrained(rows.values())
    if problems:
        raise ValueError(_report(table, problems))
    classes = tuple(sorted({row.label for row in rows.values()}))
    if len(classes) < min_classes:
        found = f"one label ({classes[0]!r})" if classes else "no rows"
        raise ValueError(f"{str(table)!r} has {found}; a classifier needs at least two classes")
    _warn(table, rows, repeated, images)
    parts = _listings(images.root, rows.values(), classes)
    counts = ", ".join(f"{len(listing):,} in {split!r}" for split, listing in parts.items())
    log.info(
        "%r: %d images (%s); the %d classes, in the order of their names: %s",
        str(table),
        len(rows),
        counts,
        len(classes),
        quoted(classes),
    )
    note_numbers(table, classes)
    return parts


def _parse(table: Path) -> tuple[dict[str, int], Iterator[tuple[int, list[str]]]]:
    """The places of the columns and the width, and the rows with their line numbers."""
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(table)!r} is not UTF-8 (byte {error.start}): save it as CSV in UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{str(table)!r} is no text: it holds zero bytes")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    rows = _rows(table, text, delimiter)
    _, names = next(rows, (0, []))
    header = {"width": len(names)}
    for column, allowed in _COLUMNS.items():
        found = [i for i, name in enumerate(names) if name.lower() in allowed]
        if len(found) > 1:
            raise HeaderError(
                f"{str(table)!r} has more than one column for the {column}: "
                f"{quoted([names[i] for i in found])}. Rename all but one"
            )
        if not found and column != "split":
            has = f"has {quoted(names)}" if names else "is empty"
            raise HeaderError(f"{str(table)!r} has no column for the {column}; it {has}. {_LAYOUT}")
        if found:
            header[column] = found[0]
    return header, rows


def _rows(table: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line where it starts, spaces around fields cut."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield line, [field.strip() for field in fields]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{str(table)!r}, line {line}: {error}; check the quotes there") from None


def _read_row(
    number: int,
    fields: list[str],
    header: Mapping[str, int],
    images: "_Images",
    problems: list[tuple[int, str]],
) -> _Row | None:
    """A row, or None after its fault is added to the problems."""
    width = header["width"]
    if len(fields) < width or any(fields[width:]):
        counts = f"it has {len(fields)} fields and the first line {width}"
        problems.append((number, f"{counts}; put text that holds the separator in quotes"))
        return None
    file = fields[header["file"]]
    label = unicodedata.normalize("NFC", fields[header["label"]])
    split = fields[header["split"]].lower() if "split" in header else "train"
    fault = ""
    if not file:
        fault = "no file is named"
    elif not label:
        fault = f"{file!r} has no label; give it one or remove the line"
    elif is_system(class_folder(label)) or not label.isprintable() or len(label.encode()) > 255:
        fault = f"{label!r} cannot be a class: a folder of that name would be passed over"
    elif split not in SPLITS:
        allowed = ", ".join(SPLITS)
        fault = f"unknown split {split!r}.{nearest(split, SPLITS)} Available: {allowed}"
    path = images.find(file) if not fault else None
    if path is None:
        problems.append((number, fault or f"there is no file {file!r}.{images.suggest(file)}"))
        return None
    return _Row(number, path, label, split)


class _Images:
    """The images below a folder, by the ways in which a table may write their names."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        found = walk.Found()
        found.search(self.root)
        self.paths = dict.fromkeys(found.paths)
        self._composed = {unicodedata.normalize("NFC", path): path for path in found.paths}

    def find(self, file: str) -> str | None:
        """The path of a file as the table writes it, or None if there is none."""
        for written in dict.fromkeys((file, file.replace("\\", "/"))):
            path = os.path.normpath(os.path.join(self.root, written))
            if path in self.paths or os.path.isfile(path):
                return path
            if composed := self._composed.get(unicodedata.normalize("NFC", path)):
                return composed
        return None

    def suggest(self, file: str) -> str:
        """A clause that offers an image of the same name elsewhere in the folder."""
        name = os.path.basename(file.replace("\\", "/")).lower()
        for path in self.paths:
            here = os.path.basename(path).lower()
            if name and name in (here, os.path.splitext(here)[0]):
                return f" Did you mean {os.path.relpath(path, self.root)!r}?"
        return ""


def _untrained(rows: Iterable[_Row]) -> list[tuple[int, str]]:
    """Classes that have rows of other splits only, in a table that has training images."""
    first: dict[str, dict[str, _Row]] = collections.defaultdict(dict)
    for row in rows:
        first[row.split].setdefault(row.label, row)
    trained = first.get("train", {})
    if not trained:
        return []
    others = [row for split, rows in first.items() if split != "train" for row in rows.values()]
    fault = "label {!r} is in split {!r} and not in 'train', so no network would learn it.{}"
    return [
        (row.line, fault.format(row.label, row.split, nearest(row.label, trained)))
        for row in others
        if row.label not in trained
    ]


def _report(table: Path, problems: Sequence[tuple[int, str]]) -> str:
    lines = [f"line {line}: {fault}" for line, fault in sorted(problems)]
    more = f"\n  and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    count = "one line" if len(lines) == 1 else f"{len(lines)} lines"
    listed = "\n  ".join(lines[:NAMED])
    return f"{str(table)!r}: {count} cannot be used (nothing was read):\n  {listed}{more}"


def _warn(table: Path, rows: Mapping[str, _Row], repeated: list[int], images: _Images) -> None:
    """Says in the log what is odd but can be used."""
    name = str(table)
    if repeated:
        lines = shorten([str(line) for line in repeated])
        log.warning("%r: %d lines repeat an earlier one: lines %s", name, len(repeated), lines)
    unlisted = [path for path in images.paths if path not in rows]
    if unlisted:
        relative = [os.path.relpath(path, images.root) for path in unlisted[:3]]
        log.warning(
            "%r does not list %d of the images in %r, which are left out, such as %s",
            name,
            len(unlisted),
            images.root,
            quoted(relative),
        )
    by_split: dict[str, set[str]] = collections.defaultdict(set)
    for row in rows.values():
        by_split[row.split].add(row.label)
    for split in sorted(by_split.keys() - {"train"}):
        untested = sorted(by_split.get("train", set()) - by_split[split])
        if untested:
            log.warning("%r: no image in split %r of %s", name, split, quoted(untested))


def _listings(root: str, rows: Iterable[_Row], classes: tuple[str, ...]) -> dict[str, Listing]:
    """The images of every split, sorted by class and path."""
    index = {name: i for i, name in enumerate(classes)}
    ordered = sorted(rows, key=lambda row: (row.label, row.path))
    parts = {}
    for split in SPLITS:
        those = [row for row in ordered if row.split == split]
        if those:
            names = [f"{class_folder(row.label)}/{_name(row.path, root)}" for row in those]
            parts[split] = Listing(
                classes,
                np.array([row.path for row in those], dtype=object),
                np.array([index[row.label] for row in those], np.int32),
                np.array(names, dtype=object),
            )
    return parts


def _name(path: str, root: str) -> str:
    """An image's path below the folder without its extension, or its full path if elsewhere.

    Copies are written under this name, so no part of it leads out of a folder or hides it.
    """
    inside = path.startswith(root + os.sep)
    relative = path[len(root) + 1 :] if inside else path
    parts = [part.lstrip(".") for part in os.path.splitext(relative)[0].split(os.sep)]
    return unicodedata.normalize("NFC", "/".join(part for part in parts if part))
