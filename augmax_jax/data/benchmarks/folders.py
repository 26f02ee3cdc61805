"""Sets published as image folders: Tiny ImageNet-C, ImageNet-C, ImageNet-A and -R."""

import os
from pathlib import Path

import numpy as np

from augmax_jax.corruptions import BENCHMARK, SEVERITIES
from augmax_jax.data.benchmarks.arrays import read_stamp, source_of
from augmax_jax.data.benchmarks.benchmark import (
    Benchmark,
    Request,
    check_complete,
    in_order,
    match_labels,
    subset,
)
from augmax_jax.data.folder import Listing, list_classes
from augmax_jax.data.folder_split import FolderSplit
from augmax_jax.data.split import Split

_ARCHIVES = ("noise", "blur", "weather", "digital", "extra")
_FROST = (
    "; the frost images of the first Tiny ImageNet-C archive have all 1000 classes of ImageNet, "
    "Zenodo record 8206060 has the corrected ones"
)


def open_corruptions(
    name: str, folder: Path, request: Request, *, num_classes: int = 0, images: int = 0
) -> Benchmark:
    """Opens `<corruption>/<severity>/<class>/*`.

    Corruptions may lie in the folders of ImageNet-C's archives (`noise/gaussian_noise/...`).
    Images are not resized if they have the model's size, as those of the published sets do.

    Args:
        name: what to call the set.
        folder: where the corruptions are.
        request: what the model needs.
        num_classes: of a published set, which must also be complete; 0 for any set.
        images: per corruption and severity, if the published set has a fixed number.

    Raises:
        FileNotFoundError: corruptions or severities are missing.
        ValueError: classes or image counts are not those of the set or the model.
    """
    if num_classes:
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

    def load(corruption: str | None, severity: int | None) -> Split:
        part = found[corruption or ""] / str(severity)
        listing = relabel(list_classes(part), part, request)
        if images and len(listing) != images:
            raise ValueError(f"{part} must have {images} images, found {len(listing)}")
        return FolderSplit(listing, request.config(str(part)), train=False, **request.place)

    return Benchmark(
        name=name,
        kind="corruptions",
        source=source_of(folder, published=bool(num_classes)),
        corruptions=in_order(found),
        severities=severities,
        classes=None,
        loader=load,
        place=str(folder.resolve()),
    )


def open_shift(name: str, folder: Path, request: Request, *, num_classes: int) -> Benchmark:
    """Opens `<class>/*` with natural images of some of the model's classes.

    Raises:
        ValueError: the classes are not as many as published, or unknown to the model.
    """
    listing = list_classes(folder)
    if len(listing.class_names) != num_classes:
        raise ValueError(
            f"{folder} must have {num_classes} class folders, found {len(listing.class_names)}"
        )
    table = match_labels(str(folder), listing.class_names, request.class_names)
    listing = Listing(request.class_names, listing.paths, table[listing.labels])
    config = request.config(str(folder), natural=True)
    return Benchmark(
        name=name,
        kind="shift",
        source="published",
        corruptions=(),
        severities=(),
        classes=subset(listing.labels, len(request.class_names)),
        loader=lambda corruption, severity: FolderSplit(
            listing, config, train=False, **request.place
        ),
        place=str(folder.resolve()),
    )


def find_corruptions(folder: Path) -> dict[str, Path]:
    """Folders that hold severities, by name."""
    archives = [folder / name for name in _ARCHIVES if (folder / name).is_dir()]
    return {
        path.name: path
        for parent in (folder, *archives)
        for path in sorted(parent.iterdir())
        if path.is_dir() and path.name[0] != "." and _severities(path)
    }


def _severities(folder: Path) -> tuple[int, ...]:
    return tuple(s for s in SEVERITIES if (folder / str(s)).is_dir())


def relabel(listing: Listing, part: Path, request: Request) -> Listing:
    """Gives a listing the model's labels; it must have exactly the model's classes."""
    count = len(listing.class_names)
    if count != len(request.class_names):
        raise ValueError(
            f"{part} has {count} classes, but the model has {len(request.class_names)}"
            + (_FROST if part.parent.name == "frost" and count == 1000 else "")
        )
    # A generated set cannot keep a separator in the name of a folder.
    names = [name.replace(os.sep, "_") for name in request.class_names]
    table = match_labels(str(part), listing.class_names, names)
    return Listing(request.class_names, listing.paths, np.asarray(table[listing.labels]))
