"""Training on distorted copies beside the original images (`config.data.extra_train`).

A copy has the name of its original, so that copies of held-out images can be left out: a
checkpoint must not be selected on images if it was trained on their copies. In a set without file
names (digits, tfds) an image is named by its index in the split.
"""

import dataclasses
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmax_jax.data import arrays
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.folder import Listing, class_folder, concatenate, list_split, quoted
from augmax_jax.data.folder_split import read_files
from augmax_jax.data.order import split_off
from augmax_jax.data.settings import TEST_FRACTION, DataConfig
from augmax_jax.data.split import HostShare
from augmax_jax.runtime import files
from augmax_jax.runtime.paths import expand

MANIFEST = "deepaugment.json"  # beside the class folders of a set of copies
SKIPPED = "deepaugment.skipped.{}.json"  # names of unreadable originals, one file per part

log = logging.getLogger(__name__)


def index_name(index: int) -> str:
    """The name of an image without a file name: its index in the split."""
    return f"{index:08}"


def list_copies(
    config: DataConfig,
    class_names: Sequence[str],
    names: Collection[str],
    held: Collection[str],
) -> Listing | None:
    """The images of all folders of `config.extra_train`, without copies of held-out images.

    Args:
        config: the settings.
        class_names: of the training set, in label order.
        names: of all images of the training split, as `Listing.names` gives them.
        held: those of them that are held out, to select on or to test on.

    Returns:
        The listing, with the training set's labels; None if there are no folders.

    Raises:
        FileNotFoundError: a folder or its training split is missing; the message has the
            command that would make it.
        ValueError: the classes differ, a set of copies is not complete, or images are held out
            and no copy has the name of an original.
    """
    listings = [_list_one(config, d, class_names, names, held) for d in config.extra_train]
    return concatenate(listings) if listings else None


def hold_out(
    config: DataConfig,
    class_names: Sequence[str],
    images: np.ndarray,
    labels: np.ndarray,
    host: HostShare,
    *,
    rows: np.ndarray | None = None,
    of: int = 0,
) -> tuple[ArraySplit, ArraySplit | None]:
    """Divides a set in memory like `arrays.hold_out`, and adds the copies to the training split.

    Args:
        config: the settings.
        class_names: names of the classes, in label order.
        images: the training split in the order of its indices, uint8 `[N, S, S, 3]`.
        labels: labels of the images, int `[N]`.
        host: the seed, and the number of this host.
        rows: index of each image in the split, int `[N]`; None: all of them, in order.
        of: number of images of the split, if `rows` is given.

    Raises:
        FileNotFoundError: as in `list_copies`.
        ValueError: as in `list_copies`; or a folder does not say that it was made from this set.
    """
    if not config.extra_train:
        return arrays.hold_out(images, labels, config.holdout, host)
    places = np.arange(len(labels)) if rows is None else rows
    for directory in config.extra_train:
        _check_origin(config, directory, of or len(labels))
    pairs = zip(places, labels, strict=True)
    names = [f"{class_folder(class_names[label])}/{index_name(i)}" for i, label in pairs]
    kept, held = split_off(labels, config.holdout, host["seed"])
    copies = list_copies(config, class_names, set(names), {names[i] for i in held})
    train_images, train_labels = [images[kept]], [labels[kept]]
    if copies is not None:
        more_images, more_labels = read_files(copies, config)
        train_images.append(more_images)
        train_labels.append(more_labels)
    train = ArraySplit(np.concatenate(train_images), np.concatenate(train_labels), **host)
    return train, ArraySplit(images[held], labels[held], **host) if len(held) else None


def _list_one(
    config: DataConfig,
    directory: str,
    class_names: Sequence[str],
    names: Collection[str],
    held: Collection[str],
) -> Listing:
    root = expand(directory)
    where = f"config.data.extra_train folder {directory!r}"
    try:
        listing = list_split(root, config.train_split, min_classes=1)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"config.data.extra_train: {error}. {_command(config, root)}"
        ) from None
    manifest = _manifest(root, config)
    folders = {class_folder(name): label for label, name in enumerate(class_names)}
    other = sorted(set(listing.class_names) - set(folders))
    # A set of copies of a few images need not have all classes.
    absent = [] if manifest.get("limit") else sorted(set(folders) - set(listing.class_names))
    if other or absent:
        raise ValueError(
            f"{where} has other classes than {config.name!r}. Only there: "
            f"{quoted(other) or 'none'}. Only in {config.name!r}: {quoted(absent) or 'none'}"
        )
    found = listing.names
    there = len(listing) + len(skipped(root / config.train_split) - set(found))
    if manifest and manifest["images"] != there:
        raise ValueError(
            f"{where} is not complete: {there:,} of {manifest['images']:,} images. "
            "Run the command that makes it again, it goes on where it stopped"
        )
    known = np.array([name in names for name in found])
    if held and not known.any():
        raise ValueError(
            f"{where}: no image there has the name of an original ({found[0]!r} is not in "
            f"{config.name!r}), so copies of held-out images cannot be left out. Name the copies "
            "as their originals, or hold nothing out: config.data.holdout=0 and "
            "config.select_on='test'"
        )
    if not known.all():
        log.warning("%s: %d images have no original", where, np.count_nonzero(~known))
    kept = np.flatnonzero([name not in held for name in found])
    if len(kept) < len(found):
        log.info("%s: left out %d copies of held-out images", where, len(found) - len(kept))
    table = np.array([folders[name] for name in listing.class_names], np.int32)
    return dataclasses.replace(
        listing.take(kept),
        class_names=tuple(class_names),
        labels=table[listing.labels[kept]],
    )


def _manifest(root: Path, config: DataConfig) -> dict[str, Any]:
    path = root / config.train_split / MANIFEST
    found = files.read_json(path) or {}
    if not isinstance(found, dict) or (found and not isinstance(found.get("images"), int)):
        raise ValueError(f"{path} is damaged (it does not say how many images); restore it")
    return found


def skipped(folder: Path) -> set[str]:
    """The originals that have no copy in a set of copies, because they could not be read."""
    lists = [files.read_json(path) for path in sorted(folder.glob(SKIPPED.format("*")))]
    return {name for names in lists for name in names}


def _check_origin(config: DataConfig, directory: str, images: int) -> None:
    """Without file names, an index names an image only in the set that it comes from."""
    root = expand(directory)
    if not (root / config.train_split).is_dir():
        return  # list_copies raises the error
    manifest = _manifest(root, config)
    if not manifest:
        raise ValueError(
            f"config.data.extra_train folder {directory!r} has no {config.train_split}/{MANIFEST}, "
            f"so what its images are copies of is not known. {_command(config, root)}"
        )
    wanted = {"dataset": config.name, "split": config.train_split, "originals": images}
    for name, value in wanted.items():
        if manifest.get(name) != value:
            raise ValueError(
                f"config.data.extra_train folder {directory!r} holds copies of another set: its "
                f"{name} is {manifest.get(name)!r}, that of the training set is {value!r}"
            )


def _command(config: DataConfig, root: Path) -> str:
    labels = f" --labels {config.labels}" if config.labels else ""
    other = config.test_fraction != TEST_FRACTION
    fraction = f" --test_fraction {config.test_fraction:g}" if other else ""
    return (
        "To make a set of copies: python -m augmax_jax.deepaugment distort --network <edsr or cae> "
        f"--weights <file> --dataset {config.name} --split {config.train_split} --out {root}"
        f"{labels}{fraction} (docs/deepaugment.md)"
    )
