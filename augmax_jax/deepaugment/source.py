"""The images to copy: any dataset that `augmax_jax.data` reads, at their own size, with names."""

import abc
import io
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from augmax_jax.data.arrays import load_digits
from augmax_jax.data.extra import class_folder, index_name
from augmax_jax.data.folder import list_split
from augmax_jax.data.images import read, to_rgb
from augmax_jax.runtime import paths
from augmax_jax.runtime.errors import check_name

DIGITS_SIZE = 32


class Images(abc.ABC):
    """A split of a dataset.

    Attributes:
        class_folders: a folder's name for every class, in label order.
        names: `<class>/<name>` of every image, without an extension; None if an image's label is
            known only once it is read.
        suffixes: the extension of every original, or None.
        shuffled: whether `read` is cheap in any order; otherwise in ascending order only.
    """

    class_folders: tuple[str, ...]
    suffixes: list[str] | None = None
    shuffled = True

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @property
    @abc.abstractmethod
    def names(self) -> list[str]:
        """`<class>/<name>` of every image, without an extension."""

    @abc.abstractmethod
    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        """The images of these indices, RGB, at their own size."""


def open_images(dataset: str, split: str, *, data_dir: str = "", size: int = 0) -> Images:
    """Opens a split.

    Args:
        dataset: "digits", a tfds name, or a folder `<dir>/<split>/<class>/*`.
        split: of the dataset.
        data_dir: where tfds data was prepared; empty: tfds's default.
        size: side of digits, which are drawn at any; 0: 32.

    Raises:
        FileNotFoundError: it is not there; the message has the layout or the command.
        ValueError: the name or split is unknown.
    """
    if dataset == "digits":
        return _Digits(split, size or DIGITS_SIZE)
    path = paths.expand(dataset)
    if path.is_dir() or dataset.startswith((".", "~", "$", os.sep)):
        return _Folder(os.fspath(path), split)
    return _Records(dataset, split, data_dir)


class _Digits(Images):
    def __init__(self, split: str, size: int) -> None:
        check_name("split of digits", split, ("train", "test"))
        parts = dict(zip(("train", "test"), load_digits(size), strict=True))
        self._images, self._labels = parts[split]
        self.class_folders = tuple("0123456789")

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def names(self) -> list[str]:
        return _index_names(self._labels, self.class_folders)

    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        return [Image.fromarray(self._images[i]) for i in indices]


class _Folder(Images):
    def __init__(self, root: str, split: str) -> None:
        self._listing = list_split(root, split)
        self.class_folders = self._listing.class_names
        self.suffixes = [os.path.splitext(path)[1] for path in self._listing.paths]

    def __len__(self) -> int:
        return len(self._listing)

    @property
    def names(self) -> list[str]:
        return self._listing.names

    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(read, self._listing.paths[np.asarray(indices, int)]))


class _Records(Images):
    """A tfds split, read in order; a jump ahead skips records without decoding them."""

    shuffled = False

    def __init__(self, name: str, split: str, data_dir: str) -> None:
        from augmax_jax.data.builders import check_features, open_builder
        from augmax_jax.data.records import Records

        builder = open_builder(name, data_dir, split)
        self.class_folders = tuple(map(class_folder, check_features(builder)))
        self._records = Records.open(builder, split)
        self._labels: np.ndarray | None = None
        self._next = 0
        self._stream: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return len(self._records)

    @property
    def names(self) -> list[str]:
        if self._labels is None:
            self._labels = self._records.labels(ordered=True)
        return _index_names(self._labels, self.class_folders)

    def read(self, indices: Sequence[int]) -> list[Image.Image]:
        images = []
        for index in indices:
            if index < self._next or not self._next:
                records = self._records.slice(index, len(self))
                dataset = records.dataset(encoded=True, ordered=True)
                self._stream = dataset.as_numpy_iterator()
                self._next = index
            contents, _ = next(itertools.islice(self._stream, index - self._next, None))
            self._next = index + 1
            images.append(to_rgb(Image.open(io.BytesIO(contents))))
        return images


def _index_names(labels: np.ndarray, class_folders: Sequence[str]) -> list[str]:
    return [f"{class_folders[label]}/{index_name(i)}" for i, label in enumerate(labels)]
