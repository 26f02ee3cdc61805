"""The images that a command line names: files, and what lies in folders."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from augmax_jax.data import walk
from augmax_jax.data.folder import list_split
from augmax_jax.data.formats import extensions
from augmax_jax.runtime.paths import expand

_ANNOTATIONS = "val_annotations.txt"  # of Tiny ImageNet's validation split


class Source(NamedTuple):
    """An image to predict.

    Attributes:
        path: of the file.
        folder: the subfolder that it lies in, below the folder that was named; in a labelled
            split that is its class. None for an image that lies in none.
    """

    path: str
    folder: str | None


def find(names: Sequence[str]) -> list[Source]:
    """The images of files and folders; folders are walked to any depth.

    Args:
        names: of files and folders.

    Returns:
        The images in the order of `names`, those of a folder sorted.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a folder holds no image.
    """
    sources: list[Source] = []
    for name in names:
        path = expand(name)
        if path.is_dir():
            sources += _below(path)
        elif path.exists() or path.is_symlink():
            sources.append(Source(str(path), None))
        else:
            raise FileNotFoundError(f"there is no image or folder {str(path)!r}")
    return sources


def _below(folder: Path) -> list[Source]:
    if (folder / _ANNOTATIONS).is_file():
        listing = list_split(folder.parent, folder.name, min_classes=1)
        pairs = zip(listing.paths, listing.labels, strict=True)
        return [Source(path, listing.class_names[label]) for path, label in pairs]
    found = walk.Found()
    if not found.search(folder):
        others = f" ({found.describe_others()})" if found.others else ""
        raise ValueError(
            f"{str(folder)!r} holds no image{others}; extensions that are read: "
            f"{' '.join(sorted(extensions()))}"
        )
    found.warn(folder)
    # Classes lie in images/ where that is the only folder, as reading a dataset takes it.
    top = folder / "images" if walk.subfolders(folder) == ["images"] else folder
    return [Source(path, _first_folder(Path(path), top)) for path in found.paths]


def _first_folder(path: Path, top: Path) -> str | None:
    below = path.relative_to(top).parts if path.is_relative_to(top) else ()
    return unicodedata.normalize("NFC", below[0]) if len(below) > 1 else None
