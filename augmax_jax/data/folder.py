"""Class folders: `<dir>/<split>/<class>/*`, and Tiny ImageNet as it is published."""

import dataclasses
import logging
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augmax_jax.data import walk
from augmax_jax.data.formats import extensions
from augmax_jax.runtime.errors import nearest, shorten

LAYOUT = (
    "n image folder has the layout <dir>/<split>/<class>/<image>, e.g. {0}/train/cat/1.jpg, or a "
    "table labels.csv of file,label beside its images"
)
_ANNOTATIONS = "val_annotations.txt"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Listing:
    """The files of one split, sorted by class and name.

    Attributes:
        class_names: sorted, in Unicode's composed form (NFC); a label is an index into them.
        paths: path of every image.
        labels: int32 `[N]`.
        names: `<class>/<path below the class folder, without its extension>` of every image.
    """

    class_names: tuple[str, ...]
    paths: np.ndarray
    labels: np.ndarray
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: np.ndarray) -> "Listing":
        """The listing of the images of these rows."""
        return dataclasses.replace(
            self, paths=self.paths[rows], labels=self.labels[rows], names=self.names[rows]
        )


def class_folder(name: str) -> str:
    """The folder of a class: its name (NFC), where that can be a folder's."""
    return unicodedata.normalize("NFC", name.replace(os.sep, "_"))


def concatenate(listings: Sequence[Listing]) -> Listing:
    """The images of several listings that have the same classes, one after the other."""
    return dataclasses.replace(
        listings[0],
        paths=np.concatenate([listing.paths for listing in listings]),
        labels=np.concatenate([listing.labels for listing in listings]),
        names=np.concatenate([listing.names for listing in listings]),
    )


def list_split(root: str | os.PathLike[str], split: str, *, min_classes: int = 2) -> Listing:
    """Lists a labelled split of an image folder.

    Images may lie in folders below their class folder (`train/<wnid>/images/*`), and links are
    followed. A flat `val/images` beside `val_annotations.txt` is read too, also if it was sorted
    into `val/images/<class>`. The log counts files that are no images.

    Args:
        root: the folder.
        split: the name of a folder in it.
        min_classes: the least number of classes allowed.

    Raises:
        FileNotFoundError: the folder or the split does not exist.
        ValueError: there are no class folders, too few of them, or one without images.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {str(root)!r}; a{LAYOUT.format(root)}")
    folder = root / split
    if not folder.is_dir():
        there = walk.subfolders(root)
        found = f"it has {quoted(there)}" if there else "it has no subfolders"
        raise FileNotFoundError(
            f"{str(root)!r} has no split {split!r} ({found}).{nearest(split, there)} "
            f"A{LAYOUT.format(root)}"
        )
    if (folder / _ANNOTATIONS).is_file():
        return _list_annotated(folder, min_classes)
    return list_classes(folder, min_classes=min_classes)


def is_labelled(root: str | os.PathLike[str], split: str) -> bool:
    """Whether a split exists and its images have labels.

    Tiny ImageNet's published `test/images/*` have none.
    """
    folder = Path(root) / split
    if not folder.is_dir():
        return False
    classes = walk.subfolders(folder)
    if classes == ["images"]:
        return bool(walk.subfolders(folder / "images"))
    return bool(classes)


def class_folders(folder: Path) -> dict[str, Path]:
    """Class folders by the name of their class (NFC), sorted by it.

    Raises:
        ValueError: two names are the same text in different Unicode forms.
    """
    found: dict[str, Path] = {}
    for name in walk.subfolders(folder):
        composed = unicodedata.normalize("NFC", name)
        if composed in found:
            raise ValueError(
                f"{str(folder)!r} has two class folders called {composed!r}, in different Unicode "
                f"forms ({found[composed].name!a} and {name!a}): move the images of one "
                "to the other"
            )
        found[composed] = folder / name
    return dict(sorted(found.items()))


def list_classes(folder: Path, *, min_classes: int = 2) -> Listing:
    """Lists `<folder>/<class>/**/*`; errors as in `list_split`."""
    classes = class_folders(folder)
    images = folder / "images"
    if list(classes) == ["images"] and walk.subfolders(images) and not images.samefile(folder):
        return list_classes(folder / "images", min_classes=min_classes)
    loose = walk.loose_images(folder)
    if not classes:
        what = "images but no class folders" if loose else "no class folders"
        raise ValueError(f"{str(folder)!r} has {what}; a{LAYOUT.format(folder.parent)}")
    found = walk.Found()
    counts = [found.search(path) for path in classes.values()]
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        others = f"; {found.describe_others()}" if found.others else ""
        raise ValueError(
            f"{str(folder)!r}: {len(empty)} of {len(classes)} class folders hold no image "
            f"({quoted(empty)}){others}. Remove them or fill them; extensions that are read: "
            f"{' '.join(sorted(extensions()))}"
        )
    found.warn(folder)
    if loose:
        log.warning(
            "%r: %d image%s beside the class folders left out, such as %r",
            str(folder),
            len(loose),
            " was" if len(loose) == 1 else "s were",
            loose[0],
        )
    note_numbers(folder, tuple(classes))
    below = []
    paths = iter(found.paths)
    for (name, path), count in zip(classes.items(), counts, strict=True):
        start = len(str(path)) + len(os.sep)
        below += [f"{name}/{next(paths)[start:]}" for _ in range(count)]
    return _listing(folder, tuple(classes), found.paths, below, counts, min_classes)


def _list_annotated(folder: Path, min_classes: int) -> Listing:
    """The flat layout: `images/*` with a table of file name and class beside it."""
    table = folder / _ANNOTATIONS
    text = table.read_text(encoding="utf-8", errors="surrogateescape")
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    if not rows or any(len(row) < 2 for row in rows):
        raise ValueError(f"{str(table)!r} must have lines of file name, tab, class")
    if all(not (folder / "images" / row[0]).is_file() for row in rows):
        # someone sorted the images into class folders and left the table
        return list_classes(folder, min_classes=min_classes)
    missing = [row[0] for row in rows if not (folder / "images" / row[0]).is_file()]
    if missing:
        raise ValueError(
            f"{str(table)!r} names {len(missing)} files that are not in "
            f"{str(folder / 'images')!r}: {quoted(missing)}"
        )
    files: dict[str, list[str]] = {}
    for file, name, *_ in rows:
        files.setdefault(unicodedata.normalize("NFC", name.strip()), []).append(file)
    classes = tuple(sorted(files))
    ordered = [(name, file) for name in classes for file in sorted(files[name])]
    paths = [str(folder / "images" / file) for _, file in ordered]
    below = [f"{name}/{file}" for name, file in ordered]
    counts = [len(files[name]) for name in classes]
    return _listing(folder / "images", classes, paths, below, counts, min_classes)


def _listing(
    folder: Path,
    classes: tuple[str, ...],
    paths: Sequence[str],
    below: Sequence[str],
    counts: Sequence[int],
    min_classes: int,
) -> Listing:
    if len(classes) < min_classes:
        raise ValueError(
            f"{str(folder)!r} has one class ({classes[0]!r}); a classifier needs at least two: "
            "give each a folder of its own"
        )
    names = [unicodedata.normalize("NFC", os.path.splitext(path)[0]) for path in below]
    return Listing(
        classes,
        np.array(paths, dtype=object),
        np.repeat(np.arange(len(classes), dtype=np.int32), counts),
        np.array(names, dtype=object),
    )


def note_numbers(where: Path, classes: tuple[str, ...]) -> None:
    """Says which order numbered classes have, where one could think of another."""
    if not all(name.isdecimal() for name in classes):
        return
    by_value = sorted(classes, key=int)
    moved = [i for i, name in enumerate(classes) if name != by_value[i]]
    if moved:
        log.warning(
            "%r: the classes are whole numbers and have the order of names, not of values: "
            "label %d is class %r, not %r",
            str(where),
            moved[0],
            classes[moved[0]],
            by_value[moved[0]],
        )


def quoted(names: Sequence[str]) -> str:
    """The names in quotes with commas between; see `errors.shorten`."""
    return shorten([repr(name) for name in names])


def check_same_classes(train: Listing, test: Listing, root: str, test_split: str) -> None:
    """Raises ValueError unless both splits have the same classes."""
    only_train = sorted(set(train.class_names) - set(test.class_names))
    only_test = sorted(set(test.class_names) - set(train.class_names))
    if only_train or only_test:
        raise ValueError(
            f"{root!r}: the training split has {len(train.class_names)} classes and "
            f"{test_split!r} has {len(test.class_names)}. Only in training: "
            f"{quoted(only_train) or 'none'}. Only in {test_split!r}: "
            f"{quoted(only_test) or 'none'}"
        )
