"""Sets published as NumPy files: CIFAR-10-C, CIFAR-100-C, CIFAR-10.1, and generated ones."""

from pathlib import Path

import numpy as np

from augmax_jax.corruptions import SEVERITIES
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.benchmarks.benchmark import Benchmark, Request, check_complete, in_order
from augmax_jax.data.formats import is_system
from augmax_jax.data.split import Split
from augmax_jax.runtime import files
from augmax_jax.runtime.untrusted import map_npy

STAMP = "corruptions.json"  # written by `python -m augmax_jax.corruptions`
CIFAR10_1_COUNTS = {
    "v4": (208, 212, 202, 212, 204, 218, 192, 210, 161, 202),
    "v6": (200,) * 10,
}
"""Images per class of the two versions of CIFAR-10.1."""


def open_corruptions(
    name: str, folder: Path, request: Request, *, num_classes: int = 0, rows: int = 0
) -> Benchmark:
    """Opens `<corruption>.npy` files with one block of rows per severity, and `labels.npy`.

    The files are memory-mapped. Every header is checked here, so that later reads do not fail.

    Args:
        name: name of the set in results.
        folder: folder of the files.
        request: the model's requirements.
        num_classes: number of classes of a published set, which must also be complete; 0 for
            any set.
        rows: images per severity of a published set; 0 for any set.

    Raises:
        FileNotFoundError: labels or corruptions are missing.
        ValueError: the shape, dtype, number of rows or labels of a file are wrong.
    """
    stamp = read_stamp(folder)
    severities = tuple(stamp.get("severities", SEVERITIES))
    labels = map_npy(folder / "labels.npy")
    count, rest = divmod(labels.size, len(severities))
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or rest or not count:
        raise ValueError(
            f"{folder / 'labels.npy'} must hold integers, as many for each of the "
            f"{len(severities)} severities, got {labels.dtype} {list(labels.shape)}"
        )
    if rows and count != rows:
        raise ValueError(
            f"{folder / 'labels.npy'} must have {len(severities)} x {rows} rows, got {len(labels)}"
        )
    blocks = labels.reshape(len(severities), count)
    if (blocks != blocks[0]).any():
        raise ValueError(f"{folder / 'labels.npy'}: the severities have different labels")
    classes = len(request.class_names)
    if num_classes:
        request.check_classes(repr(name), num_classes)
    elif stamp.get("classes"):
        request.check_classes(repr(name), stamp["classes"])
    check_labels(folder / "labels.npy", labels, classes)
    files = {
        path.stem: path
        for path in folder.glob("*.npy")
        if path.stem != "labels" and not is_system(path.name)
    }
    if num_classes:
        check_complete(str(folder), files)
    if not files:
        raise FileNotFoundError(f"{folder} has labels.npy but no <corruption>.npy")
    for path in files.values():
        check_images(path, map_npy(path), len(labels), request.image_size)

    def load(corruption: str | None, severity: int | None) -> Split:
        start = severities.index(severity or 0) * count
        images = map_npy(files[corruption or ""])[start : start + count]
        return ArraySplit(images, blocks[0], **request.host)

    return Benchmark(
        name=name,
        kind="corruptions",
        source=source_of(folder, published=bool(num_classes)),
        corruptions=in_order(files),
        severities=severities,
        classes=None,
        loader=load,
        location=str(folder.resolve()),
    )


def open_cifar10_1(version: str, folder: Path, request: Request) -> Benchmark:
    """Opens `cifar10.1_<version>_data.npy` and its labels.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the files do not hold that version.
    """
    name = f"cifar10_1_{version}"
    expected = CIFAR10_1_COUNTS[version]
    request.check_classes(repr(name), len(expected))
    data, path = (folder / f"cifar10.1_{version}_{part}.npy" for part in ("data", "labels"))
    images, labels = map_npy(data), map_npy(path)
    check_images(data, images, sum(expected), request.image_size)
    if labels.shape != (len(images),):
        raise ValueError(f"{path} must have {len(images)} labels, got shape {list(labels.shape)}")
    check_labels(path, labels, len(expected))
    counts = np.bincount(labels, minlength=len(expected)).tolist()
    if counts != list(expected):
        raise ValueError(f"{path} must have {list(expected)} images per class, got {counts}")
    return Benchmark(
        name=name,
        kind="shift",
        source="published",
        corruptions=(),
        severities=(),
        classes=None,
        loader=lambda corruption, severity: ArraySplit(images, labels, **request.host),
        location=str(folder.resolve()),
    )


def read_stamp(folder: Path) -> dict:
    """The settings a generated set was made with; empty for a published one."""
    path = folder / STAMP
    if not path.is_file():
        return {}
    stamp = files.read_json(path)
    severities = stamp.get("severities", [1]) if isinstance(stamp, dict) else None
    if (
        not isinstance(severities, list)
        or not severities
        or any(s not in SEVERITIES for s in severities)
    ):
        raise ValueError(f"{path} is damaged: it does not hold the settings of a set; restore it")
    return stamp


def source_of(folder: Path, *, published: bool) -> str:
    """The `Benchmark.source` of a set on disk, as far as its files tell."""
    if (folder / STAMP).is_file():
        return "generated"
    return "published" if published else "files"


def check_images(path: Path, images: np.ndarray, rows: int, size: int) -> None:
    """Raises ValueError unless a file holds that many images of that size."""
    expected = (rows, size, size, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise ValueError(
            f"{path} must be uint8 {list(expected)}, got {images.dtype} {list(images.shape)}"
        )


def check_labels(path: Path, labels: np.ndarray, classes: int) -> None:
    """Raises ValueError unless all labels are integers in [0, classes)."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{path} must hold integers, got {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels of {path} must be in [0, {classes}), got {low if low < 0 else high}"
        )
