"""Sets published as image folders: Tiny ImageNet-C, ImageNet-C, ImageNet-V2, -A and -R."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augmax_jax.corruptions import BENCHMARK, SEVERITIES
from augmax_jax.data import walk
from augmax_jax.data.benchmarks import wnids
from augmax_jax.data.benchmarks.benchmark import (
    Benchmark,
    Request,
    check_complete,
    in_order,
    match_labels,
    share_note,
    subset,
)
from augmax_jax.data.benchmarks.npy_sets import read_stamp, source_of
from augmax_jax.data.folder import Listing, class_folders, list_classes
from augmax_jax.data.folder_split import FolderSplit
from augmax_jax.data.split import Split

log = logging.getLogger(__name__)

_ARCHIVES = ("noise", "blur", "weather", "digital", "extra")
_FROST = (
    "; the frost images of the first Tiny ImageNet-C archive have all 1000 classes of ImageNet, "
    "Zenodo record 8206060 has the corrected ones"
)


def open_corruptions(
    name: str,
    folder: Path,
    request: Request,
    *,
    num_classes: int = 0,
    images: int = 0,
    partly: bool = False,
) -> Benchmark:
    """Opens `<corruption>/<severity>/<class>/*`.

    Corruptions may lie in the folders of ImageNet-C's archives (`noise/gaussian_noise/...`).
    Images are not resized if they have the model's size, as those of the published sets do.

    Args:
        name: name of the set in results.
        folder: folder of the corruptions.
        request: the model's requirements.
        num_classes: number of classes of a published set, which must also be complete; 0 for
            any set.
        images: images per corruption and severity, if the published set has a fixed number;
            else 0.
        partly: whether the model may have only some of the set's classes.

    Raises:
        FileNotFoundError: corruptions or severities are missing.
        ValueError: classes or image counts are not those of the set or the model.
    """
    if num_classes and not partly:
        request.check_classes(repr(name), num_classes)
    found = find_corruptions(folder)
    if num_classes:
        check_complete(str(folder), found)
    if not found:
        raise FileNotFoundError(
            f"{folder} has no corruptions; the layout is <corruption>/<severity>/<class>/<image>, "
            f"e.g. {folder / BENCHMARK[0] / '1'}, or <corruption>.npy with labels.npy"
        )
    expected = SEVERITIES if num_classes else tuple(read_stamp(folder).get("severities", ()))
    severities = expected or _severities(next(iter(found.values())))
    for path in found.values():
        missing = sorted(set(severities) - set(_severities(path)))
        if missing:
            raise FileNotFoundError(f"{path} lacks severity {', '.join(map(str, missing))}")

    first = found[in_order(found)[0]] / str(severities[0])
    names = tuple(class_folders(first))
    if num_classes and len(names) != num_classes:
        raise ValueError(f"{first} must have {num_classes} class folders, found {len(names)}")
    table = _table(first, names, request, partly=partly)
    note = ""
    if (table < 0).any():
        listing = list_classes(first)
        labels = table[listing.labels]
        kept = int((labels >= 0).sum())
        note = share_note(name, table, kept, len(labels), len(request.class_names))
        log.warning("%s", note)

    def load(corruption: str | None, severity: int | None) -> Split:
        part = found[corruption or ""] / str(severity)
        listing = list_classes(part)
        check_classes(part, listing, names, first)
        if images and len(listing) != images:
            raise ValueError(f"{part} must have {images} images, found {len(listing)}")
        listing = relabel(listing, table, request)
        return FolderSplit(listing, request.config(str(part)), train=False, **request.host)

    return Benchmark(
        name=name,
        kind="corruptions",
        source=source_of(folder, published=bool(num_classes) and not note),
        corruptions=in_order(found),
        severities=severities,
        classes=subset(table, len(request.class_names)),
        loader=load,
        note=note,
        location=str(folder.resolve()),
    )


def open_shift(name: str, folder: Path, request: Request, *, num_classes: int) -> Benchmark:
    """Opens `<class>/*` with natural images of ImageNet's classes, named or numbered.

    Args:
        name: name of the set in results.
        folder: folder of the class folders.
        request: the model's requirements; it may have only some of the set's classes.
        num_classes: number of classes of the set.

    Raises:
        ValueError: the number of classes is not as published, or the model has fewer than two
            of them.
    """
    listing = list_classes(folder)
    names: Sequence[str] = listing.class_names
    if len(names) != num_classes:
        raise ValueError(f"{folder} must have {num_classes} class folders, found {len(names)}")
    if wnids.are_numbers(names, num_classes):
        names = wnids.of_numbers(names, request.class_names, str(folder))
    table = match_labels(str(folder), names, request.class_names, partly=True)
    total = len(listing)
    listing = relabel(listing, table, request)
    note = share_note(name, table, len(listing), total, len(request.class_names))
    if note:
        log.warning("%s", note)
    config = request.config(str(folder), natural=True)
    return Benchmark(
        name=name,
        kind="shift",
        source="files" if note else "published",
        corruptions=(),
        severities=(),
        classes=subset(listing.labels, len(request.class_names)),
        loader=lambda corruption, severity: FolderSplit(
            listing, config, train=False, **request.host
        ),
        note=note,
        location=str(folder.resolve()),
    )


def find_corruptions(folder: Path) -> dict[str, Path]:
    """Folders that hold severities, by name; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    archives = [folder / name for name in _ARCHIVES if (folder / name).is_dir()]
    return {
        name: parent / name
        for parent in (folder, *archives)
        for name in walk.subfolders(parent)
        if _severities(parent / name)
    }


def _severities(folder: Path) -> tuple[int, ...]:
    return tuple(s for s in SEVERITIES if (folder / str(s)).is_dir())


def _table(part: Path, names: Sequence[str], request: Request, *, partly: bool) -> np.ndarray:
    """The model's class for each class of a set; with `partly` it may lack some."""
    # The folder names of a generated set cannot hold separators, so compare without them.
    own = [name.replace(os.sep, "_") for name in request.class_names]
    if not partly:
        request.check_classes(str(part), len(names))
    return match_labels(str(part), names, own, partly=partly)


def check_classes(part: Path, listing: Listing, names: Sequence[str], first: Path) -> None:
    """Raises ValueError unless a part of a set has the classes of its first part."""
    if listing.class_names == tuple(names):
        return
    count = len(listing.class_names)
    other = sorted(set(listing.class_names) ^ set(names))
    raise ValueError(
        f"{part} has {count} classes, {first} has {len(names)}; only in one of them: "
        f"{', '.join(map(repr, other[:8]))}{', ...' if len(other) > 8 else ''}"
        + (_FROST if part.parent.name == "frost" and count == 1000 else "")
    )


def relabel(listing: Listing, table: np.ndarray, request: Request) -> Listing:
    """A listing with the model's labels, without the images of classes that the model lacks."""
    labels = table[listing.labels]
    rows = np.flatnonzero(labels >= 0)
    kept = listing.take(rows)
    return Listing(request.class_names, kept.paths, labels[rows], kept.names)
