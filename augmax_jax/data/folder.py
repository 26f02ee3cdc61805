"""Image folders: `<dir>/<split>/<class>/*`, and Tiny ImageNet as it is published."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augmax_jax.data.images import EXTENSIONS
from augmax_jax.runtime.errors import nearest, shorten

_LAYOUT = "an image folder has the layout <dir>/<split>/<class>/<image>, e.g. {0}/train/cat/1.jpg"
_ANNOTATIONS = "val_annotations.txt"


@dataclasses.dataclass(frozen=True, eq=False)
class Listing:
    """The files of one split, sorted by class and name.

    Attributes:
        class_names: sorted; a label is an index into them.
        paths: one per image.
        labels: int32 `[N]`.
        folder: what the paths start with, before the class folder if there is one.
    """

    class_names: tuple[str, ...]
    paths: np.ndarray
    labels: np.ndarray
    folder: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: np.ndarray) -> "Listing":
        """The listing of some of the images."""
        return dataclasses.replace(self, paths=self.paths[rows], labels=self.labels[rows])

    @property
    def names(self) -> list[str]:
        """`<class>/<path below the class folder, without its extension>` of every image."""
        classes = [self.class_names[label] for label in self.labels]
        below = [path.removeprefix(self.folder + os.sep) for path in self.paths]
        pairs = zip(classes, below, strict=True)
        return [f"{c}/{os.path.splitext(path.removeprefix(c + os.sep))[0]}" for c, path in pairs]


def concatenate(listings: Sequence[Listing]) -> Listing:
    """The images of several listings that have the same classes, one after the other."""
    return dataclasses.replace(
        listings[0],
        paths=np.concatenate([listing.paths for listing in listings]),
        labels=np.concatenate([listing.labels for listing in listings]),
        folder="",
    )


def list_split(root: str | os.PathLike[str], split: str) -> Listing:
    """Lists a labelled split of an image folder.

    Images may lie deeper than their class folder (`train/<wnid>/images/*`). A flat
    `val/images` beside `val_annotations.txt` is read too, and so is one that was sorted into
    `val/images/<class>`.

    Raises:
        FileNotFoundError: the folder or the split does not exist.
        ValueError: there are no class folders, only one, or one without images.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {str(root)!r}; {_LAYOUT.format(root)}")
    folder = root / split
    if not folder.is_dir():
        there = _subfolders(root)
        found = f"it has {shorten(there)}" if there else "it has no subfolders"
        raise FileNotFoundError(
            f"{str(root)!r} has no split {split!r} ({found}).{nearest(split, there)} "
            f"{_LAYOUT.format(root).capitalize()}"
        )
    return _list_annotated(folder) if (folder / _ANNOTATIONS).is_file() else list_classes(folder)


def is_labelled(root: str | os.PathLike[str], split: str) -> bool:
    """Whether a split exists and says which class its images have.

    Tiny ImageNet's published `test/images/*` does not.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        return False
    classes = _subfolders(folder)
    if classes == ["images"]:
        return bool(_subfolders(folder / "images"))
    return bool(classes)


def list_classes(folder: Path) -> Listing:
    """Lists `<folder>/<class>/**/*`; errors as in `list_split`."""
    classes = _subfolders(folder)
    if classes == ["images"] and _subfolders(folder / "images"):
        return list_classes(folder / "images")
    if not classes:
        loose = any(_is_image(name) for name in os.listdir(folder))
        what = "images but no class folders" if loose else "empty"
        raise ValueError(f"{str(folder)!r} is {what}; {_LAYOUT.format(folder.parent)}")
    files = [_images_below(folder / name) for name in classes]
    empty = [name for name, paths in zip(classes, files, strict=True) if not paths]
    if empty:
        raise ValueError(
            f"{str(folder)!r}: {len(empty)} of {len(classes)} class folders hold no image "
            f"({shorten(empty)}); known extensions: {' '.join(sorted(EXTENSIONS))}"
        )
    return _listing(folder, classes, files)


def _list_annotated(folder: Path) -> Listing:
    """The flat layout: `images/*` with a table of file name and class beside it."""
    table = folder / _ANNOTATIONS
    rows = [line.split("\t") for line in table.read_text().splitlines() if line.strip()]
    if not rows or any(len(row) < 2 for row in rows):
        raise ValueError(f"{str(table)!r} must have lines of file name, tab, class")
    if all(not (folder / "images" / row[0]).is_file() for row in rows):
        return list_classes(folder)  # sorted into class folders, the table left behind
    missing = [row[0] for row in rows if not (folder / "images" / row[0]).is_file()]
    if missing:
        raise ValueError(
            f"{str(table)!r} names {len(missing)} files that are not in "
            f"{str(folder / 'images')!r}: {shorten(missing)}"
        )
    classes = sorted({row[1].strip() for row in rows})
    files: dict[str, list[str]] = {name: [] for name in classes}
    for row in rows:
        files[row[1].strip()].append(str(folder / "images" / row[0]))
    return _listing(folder / "images", classes, [sorted(files[name]) for name in classes])


def _listing(folder: Path, classes: Sequence[str], files: Sequence[Sequence[str]]) -> Listing:
    if len(classes) < 2:
        raise ValueError(
            f"{str(folder)!r} has one class ({classes[0]!r}); a classifier needs at least two"
        )
    paths = np.array([path for group in files for path in group], dtype=object)
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(group) for group in files])
    return Listing(tuple(classes), paths, labels, str(folder))


def _subfolders(folder: Path) -> list[str]:
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and entry.name[0] != "." and entry.name != "__MACOSX"
    )


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def _images_below(folder: Path) -> list[str]:
    return sorted(
        os.path.join(where, name)
        for where, _, names in os.walk(folder)
        for name in names
        if _is_image(name)
    )


def check_same_classes(train: Listing, test: Listing, root: str, test_split: str) -> None:
    """Raises ValueError unless both splits have the same classes."""
    only_train = sorted(set(train.class_names) - set(test.class_names))
    only_test = sorted(set(test.class_names) - set(train.class_names))
    if only_train or only_test:
        raise ValueError(
            f"{root!r}: the training split has {len(train.class_names)} classes and "
            f"{test_split!r} has {len(test.class_names)}. Only in training: "
            f"{shorten(only_train) or 'none'}. Only in {test_split!r}: "
            f"{shorten(only_test) or 'none'}"
        )
