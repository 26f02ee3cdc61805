"""Writes a corrupted benchmark of any dataset in the layout of the published ones."""

import concurrent.futures
import dataclasses
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from augmax_jax.corruption_sets.clean_images import CleanImages, Source
from augmax_jax.corruptions import constants, textures
from augmax_jax.corruptions.draws import benchmark_key, check_severity
from augmax_jax.corruptions.registry import corrupt
from augmax_jax.runtime import errors, files, keys, paths
from augmax_jax.runtime.checks import check_count
from augmax_jax.runtime.progress import Count
from augmax_jax.runtime.untrusted import map_npy

logger = logging.getLogger(__name__)

FORMATS = ("npy", "folder")
STAMP = "corruptions.json"
JPEG_QUALITY = 85  # quality of the published Tiny ImageNet-C and ImageNet-C


def generate(
    source: Source,
    out: str | os.PathLike[str],
    *,
    corruptions: Sequence[str] = constants.BENCHMARK,
    severities: Sequence[int] = constants.SEVERITIES,
    layout: str = "",
    seed: int = 0,
    batch_size: int = 256,
    progress: bool = True,
) -> None:
    """Corrupts every image of a source and writes the result.

    Layouts: "npy" is that of CIFAR-10-C, `<corruption>.npy` uint8 `[5 N, H, W, 3]`, severity by
    severity in the order of the set, and `labels.npy`; "folder" is that of ImageNet-C,
    `<corruption>/<severity>/<class>/<index>.JPEG` of quality 85, with `classes.json`, the class
    names in label order.

    A corruption gets its name when it is complete, so a run after an interruption goes on where
    the first one stopped. `corruptions.json` holds the settings; other settings are refused.

    Args:
        source: images to corrupt.
        out: folder to write; made if it is missing.
        corruptions: names; more can be added to the folder later.
        severities: from 1 to 5, ascending.
        layout: "npy" or "folder"; empty: the literature's, npy for "cifar".
        seed: together with the images it determines the result; the batch size does not.
        batch_size: images corrupted at a time.
        progress: whether to show how far it is.

    Raises:
        ValueError: a name, severity, layout or batch size is not allowed, or `out` holds a
            benchmark with other settings.
        FileNotFoundError: the dataset is not there.
        BadImageError: images cannot be read and the source refuses them; raised before any work.
        OSError: `out` cannot be written.
    """
    if isinstance(corruptions, str) or not corruptions:
        raise ValueError(f"corruptions must be names, at least one, got {corruptions!r}")
    for name in corruptions:
        errors.check_name("corruption", name, constants.BENCHMARK + constants.EXTRA)
    for severity in severities:
        check_severity(severity)
    if not severities or sorted(set(severities)) != list(severities):
        raise ValueError(f"severities must ascend from 1 to 5, got {list(severities)}")
    check_count("batch_size", batch_size, low=1)
    check_count("seed", seed)
    layout = layout or ("npy" if source.benchmark == "cifar" else "folder")
    errors.check_name("layout", layout, FORMATS)

    if "frost" in corruptions:
        textures.folder()  # raises before the work if the pictures are missing

    images = source.open()
    out = paths.expand(out)
    files.make_folder(out, "out")
    images.check()
    settings = dataclasses.asdict(source) | {
        "dataset": files.identity(source.dataset),
        "image_size": source.size,
        "severities": list(severities),
        "layout": layout,
        "seed": seed,
        "images": len(images),
        "classes": len(images.class_names),
        "revision": constants.REVISION,
    }
    for name in ("data_dir", "bad_images", "test_fraction"):  # change nothing, or see held_out
        del settings[name]
    if not source.labels:
        del settings["labels"]
    if images.held_out:
        settings["held_out"] = images.held_out
    _check_stamp(out, settings)
    write = _Npy(out) if layout == "npy" else _Folder(out)
    write.prepare(images, severities)

    total = len(corruptions) * len(severities) * len(images)
    with Count(total, "corrupting", unit="images", show=progress) as count:
        for name in corruptions:
            if write.done(name):
                count.skip(len(severities) * len(images))
                continue
            count.doing(f"compiling {name}")
            pieces = _corrupted(images, name, severities, source.benchmark, seed, batch_size, count)
            write.corruption(name, pieces)
    if progress:
        logger.info("%d corruptions of %d images -> %s", len(corruptions), len(images), out)


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Corrupted images with consecutive indices."""

    severity: int
    first: int
    images: np.ndarray
    labels: np.ndarray


def _corrupted(
    images: CleanImages,
    name: str,
    severities: Sequence[int],
    benchmark: str,
    seed: int,
    batch_size: int,
    count: Count,
) -> Iterator[_Piece]:
    for first, batch, labels in images.batches(batch_size):
        # The last batch is filled up, so that it needs no compilation of its own.
        full = np.resize(batch, (batch_size, *batch.shape[1:]))
        for severity in severities:
            key = keys.example_keys(
                benchmark_key(seed, name, severity), batch_size, first_index=first
            )
            result = np.asarray(corrupt(key, full, name, severity, benchmark=benchmark))
            if not first:  # one compilation serves all batches and severities
                count.doing(name)
            yield _Piece(severity, first, result[: len(batch)], labels)
            count.update(len(batch))


def _check_stamp(out: Path, settings: dict[str, Any]) -> None:
    """Writes the settings to the folder; compares them if the folder has settings."""
    foreign = sorted(p.name for p in out.iterdir() if p.suffix == ".npy" or p.is_dir())
    if foreign and not (out / STAMP).exists():
        raise ValueError(
            f"{str(out)!r} holds {foreign[0]!r} but no {STAMP}, so it was not made here; write to "
            "an empty folder"
        )
    files.check_settings(out / STAMP, settings, "a benchmark")


class _Npy:
    """One array per corruption, severities one after the other, and the labels."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def prepare(self, images: CleanImages, severities: Sequence[int]) -> None:
        self.severities = list(severities)
        labels = self.out / "labels.npy"
        if not labels.exists():
            repeated = np.tile(images.labels, len(severities))
            files.write_atomically(labels, functools.partial(_save, array=repeated))
        self.count = len(map_npy(labels)) // len(severities)

    def done(self, name: str) -> bool:
        return (self.out / f"{name}.npy").exists()

    def corruption(self, name: str, pieces: Iterator[_Piece]) -> None:
        def write(path: Path) -> None:
            array: Any = None
            for piece in pieces:
                if array is None:
                    shape = (self.count * len(self.severities), *piece.images.shape[1:])
                    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
                row = self.severities.index(piece.severity) * self.count + piece.first
                array[row : row + len(piece.images)] = piece.images
            array.flush()

        files.write_atomically(self.out / f"{name}.npy", write)


def _save(path: Path, *, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


class _Folder:
    """One folder of JPEG files per corruption, severity and class."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def prepare(self, images: CleanImages, severities: Sequence[int]) -> None:
        self.severities = list(severities)
        self.classes = [name.replace(os.sep, "_") for name in images.class_names]
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("two classes have the same name; use layout 'npy'")
        files.write_json(self.out / "classes.json", self.classes)

    def done(self, name: str) -> bool:
        return (self.out / name).is_dir()

    def corruption(self, name: str, pieces: Iterator[_Piece]) -> None:
        files.write_folder_atomically(self.out / name, functools.partial(self._write, pieces))

    def _write(self, pieces: Iterator[_Piece], out: Path) -> None:
        for severity in self.severities:
            for class_name in self.classes:
                (out / str(severity) / class_name).mkdir(parents=True)

        def save(piece: _Piece, i: int) -> None:
            folder = out / str(piece.severity) / self.classes[piece.labels[i]]
            path = folder / f"{piece.first + i:08}.JPEG"
            Image.fromarray(piece.images[i]).save(path, quality=JPEG_QUALITY)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            for piece in pieces:
                list(pool.map(functools.partial(save, piece), range(len(piece.images))))
