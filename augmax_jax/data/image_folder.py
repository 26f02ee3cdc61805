"""A folder of labelled images in any layout, and its splits.

* `<dir>/<split>/<class>/*`, one folder for each split (`folder.list_split`);
* `<dir>/train/<class>/*` or `<dir>/<class>/*`, of which a share is held out as the test split;
* any folder with a table of `file,label[,split]` (`labels.read`), the same without splits.
"""

import logging
import os
from pathlib import Path

from augmax_jax.data import labels as label_tables
from augmax_jax.data import walk
from augmax_jax.data.folder import LAYOUT, Listing, is_labelled, list_classes, list_split, quoted
from augmax_jax.data.order import TEST, stratified_split
from augmax_jax.data.settings import TEST_FRACTION
from augmax_jax.runtime.errors import nearest

# What is held out as test split does not depend on a run's seed: runs that are seeds of one
# setting are tested on the same images.
TEST_SEED = 0
_SPLIT_NAMES = frozenset(
    ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval")
)
# What is evaluated where a split of that name has no labels.
_STAND_INS = {"test": ("val", "validation"), "validation": ("val",), "val": ("validation",)}

log = logging.getLogger(__name__)


class ImageFolder:
    """The splits of a folder of labelled images.

    Where the folder has only training images, a share of every class is held out: "test" means
    that share, and "train" the others, for every command that reads the folder.

    Args:
        root: the folder.
        labels: the table of labels, as `config.data.labels`.
        test_fraction: the share to hold out where there is no test split, in [0, 1); 0: none.
        min_classes: how many classes there must be.

    Attributes:
        held_out: what was held out, such as "20% held out, seed 0"; empty if nothing was.
        one_tree: whether an image has one name in all splits; in class folders per split two
            images may share one.

    Raises:
        FileNotFoundError: the folder or the table of labels does not exist.
        ValueError: the table or a class folder cannot be used, or no class has two images of
            which one can be held out.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        labels: str = "",
        test_fraction: float = TEST_FRACTION,
        min_classes: int = 2,
    ) -> None:
        self.root = Path(root)
        self._min_classes = min_classes
        self.held_out = self._origin = ""
        self._fault: ValueError | None = None
        if self.root.is_file():
            raise ValueError(
                f"{str(root)!r} is a file: give the folder of its images as config.data.name, and "
                "this file as config.data.labels"
            )
        if not self.root.is_dir():
            raise FileNotFoundError(f"no folder {str(root)!r}; a{LAYOUT.format(root)}")
        self._parts = self._read_table(labels) or self._list_one_tree()
        self.one_tree = bool(self._parts)
        if test_fraction and list(self._parts) == ["train"]:
            self._hold_out(test_fraction)

    def list_split(self, split: str) -> Listing:
        """The images of a split.

        Raises:
            FileNotFoundError: there is no such split.
            ValueError: its class folders cannot be used.
        """
        if self._fault and split in ("train", "test"):
            raise self._fault
        if not self._parts:
            return self._list_class_folders(split)
        if split not in self._parts:
            hint = ""
            if list(self._parts) == ["train"] and split == "test":
                hint = (
                    " To hold a share of the images out as one, set config.data.test_fraction "
                    f"(--test_fraction), which is 0, to {TEST_FRACTION}, say."
                )
            where = f" in {self._origin!r}" if self._origin else ""
            there = quoted(list(self._parts))
            raise FileNotFoundError(
                f"{str(self.root)!r} has no split {split!r}{where} (it has {there})."
                f"{nearest(split, self._parts)}{hint} A{LAYOUT.format(self.root)}"
            )
        return self._parts[split]

    def _list_class_folders(self, split: str) -> Listing:
        try:
            return list_split(self.root, split, min_classes=self._min_classes)
        except FileNotFoundError as error:
            others = [name for name in walk.subfolders(self.root) if name != "train"]
            if split != "test" or not is_labelled(self.root, "train") or not others:
                raise
            raise FileNotFoundError(
                f"{error}. Where a folder has train/ alone, a share of it is held out to test on: "
                f"move {quoted(others)} elsewhere, or set config.data.test_split (--split)"
            ) from None

    def test_split(self, split: str) -> str:
        """The split to evaluate on: a validation split where "test" is absent or has no labels.

        "validation" may be called "val": tfds says the one, and folders of ImageNet the other.
        """
        others = _STAND_INS.get(split, ())
        if not others or self._has(split):
            return split
        fallback = next((name for name in others if self._is_there(name)), split)
        if fallback != split:
            log.warning("%s has no labelled split %r; evaluating on %r", self.root, split, fallback)
        return fallback

    def location(self, split: str) -> str:
        """Where a split lies and which images of the folder it is, in words."""
        if not self._parts:
            return str((self.root / split).resolve())
        table = f"split {split} of {self._origin}" if self._origin else ""
        return ", ".join(filter(None, (str(self.root.resolve()), table, self.held_out)))

    def _has(self, split: str) -> bool:
        return split in self._parts if self._parts else is_labelled(self.root, split)

    def _is_there(self, split: str) -> bool:
        return split in self._parts if self._parts else (self.root / split).is_dir()

    def _read_table(self, labels: str) -> dict[str, Listing]:
        """The splits of the table of labels; none if the folder has no table."""
        table = label_tables.find(self.root, labels)
        if table is None:
            return {}
        try:
            parts = label_tables.read(table, self.root, min_classes=self._min_classes)
        except label_tables.HeaderError as error:
            # Class folders may have a file of that name for another purpose.
            if labels or not (is_labelled(self.root, "train") or is_labelled(self.root, "test")):
                raise
            log.warning("reading class folders: %s", error)
            return {}
        self._origin = labels or table.name
        return parts

    def _list_one_tree(self) -> dict[str, Listing]:
        """All images as split "train", if no folder is that of a test split; else none."""
        folders = walk.subfolders(self.root)
        if "train" in folders:
            others = (name for name in folders if name != "train")
            if any(
                name.casefold() in _SPLIT_NAMES or is_labelled(self.root, name) for name in others
            ):
                return {}
            try:
                return {"train": list_split(self.root, "train", min_classes=self._min_classes)}
            except ValueError as error:  # matters to none who asks for another split
                self._fault = error
                return {}
        if _SPLIT_NAMES & {name.casefold() for name in folders}:
            return {}
        top = self.root / "images" if folders == ["images"] else self.root
        if any(walk.loose_images(top / name) for name in walk.subfolders(top)):
            return {"train": list_classes(self.root, min_classes=self._min_classes)}
        return {}

    def _hold_out(self, fraction: float) -> None:
        whole = self._parts["train"]
        rows, held = stratified_split(whole.labels, fraction, TEST_SEED, purpose=TEST)
        if not len(held):
            raise ValueError(
                f"{str(self.root)!r} has no test split, and no class has two images of which one "
                "could be held out: add images"
            )
        self._parts = {"train": whole.take(rows), "test": whole.take(held)}
        self.held_out = f"{100 * fraction:g}% held out, seed {TEST_SEED}"
        log.warning(
            "%s has no test split: %s of the images of every class are held out as one (by seed "
            "%d, whatever the run's seed): %s to train on, %s to test on; see "
            "config.data.test_fraction",
            self.root,
            f"{100 * fraction:g}%",
            TEST_SEED,
            f"{len(rows):,}",
            f"{len(held):,}",
        )
        untested = sorted(set(whole.labels.tolist()) - set(whole.labels[held].tolist()))
        if untested:
            names = [whole.class_names[label] for label in untested]
            log.warning("one image each, none to test on: %s", quoted(names))
