"""A split of any dataset as images of their own size, with names: what is corrupted or copied."""

import abc
import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from augmax_jax.data.arrays import load_digits
from augmax_jax.data.decode_pool import WORKERS
from augmax_jax.data.extra import index_name
from augmax_jax.data.folder import class_folder
from augmax_jax.data.image_folder import ImageFolder
from augmax_jax.data.images import BadImageError, read
from augmax_jax.data.settings import BAD_IMAGES, TEST_FRACTION, check_labels, is_path
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import expand

DIGITS_SIZE = 32

log = logging.getLogger(__name__)


class NamedImages(abc.ABC):
    """A split of a dataset.

    Attributes:
        class_names: names of the classes, in label order.
        class_folders: the folder's name for every class, in label order.
        suffixes: the extension of every original file, or None.
        shuffled: whether `read` is cheap in any order; otherwise it is in ascending order only.
        bad_images: "refuse" or "skip".
        held_out: what was held out as test split, as `ImageFolder.held_out`.
    """

    class_names: tuple[str, ...]
    suffixes: list[str] | None = None
    shuffled = True
    bad_images = "refuse"
    held_out = ""

    @property
    def class_folders(self) -> tuple[str, ...]:
        return tuple(map(class_folder, self.class_names))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abc.abstractmethod
    def labels(self) -> np.ndarray:
        """The class of every image, int32 `[N]`."""

    @property
    def names(self) -> list[str]:
        """`<class>/<name>` of every image, without an extension; the index is the name if none."""
        folders = self.class_folders
        return [f"{folders[label]}/{index_name(i)}" for i, label in enumerate(self.labels)]

    @abc.abstractmethod
    def try_read(self, indices: Sequence[int]) -> list[Image.Image | BadImageError]:
        """The RGB images of these indices, at their own size; the error for an unreadable one."""

    def read(self, indices: Sequence[int]) -> list[Image.Image | None]:
        """The RGB images of these indices, at their own size.

        Returns:
            An image for each index; None if it cannot be read and such images are skipped.

        Raises:
            BadImageError: an image cannot be read, and such images are refused.
        """
        found = self.try_read(indices)
        errors = [image for image in found if isinstance(image, BadImageError)]
        if errors and self.bad_images == "refuse":
            raise errors[0]
        for error in errors:
            log.warning("skipping %s", error)
        return [None if isinstance(image, BadImageError) else image for image in found]


def open_images(
    dataset: str,
    split: str,
    *,
    data_dir: str = "",
    size: int = 0,
    bad_images: str = "refuse",
    ordered: bool = True,
    labels: str = "",
    test_fraction: float = TEST_FRACTION,
) -> NamedImages:
    """Opens a split.

    Args:
        dataset: "digits", a tfds name, or a folder `<dir>/<split>/<class>/*`.
        split: name of the split.
        data_dir: folder of prepared tfds data; empty: tfds's default.
        size: side at which digits are made; 0: 32.
        bad_images: "refuse" images that cannot be read, or "skip" them and name them in the log.
        ordered: a tfds split in the order of its indices, which name the images; otherwise in
            that of evaluation, which reads several files at a time.
        labels: a folder's table of labels, as `config.data.labels`.
        test_fraction: share that is held out of a folder without a test split.

    Raises:
        FileNotFoundError: it is not there; the message has the layout or the command.
        ValueError: the name or split is unknown, or an argument is not allowed.
    """
    check_name("bad_images", bad_images, BAD_IMAGES)
    dataset = os.fspath(dataset)
    check_labels(dataset, labels, test_fraction)
    if dataset == "digits":
        return _Digits(split, size or DIGITS_SIZE)
    if is_path(dataset):
        return _Folder(dataset, split, bad_images, labels, test_fraction)
    return _Records(dataset, split, data_dir, bad_images, ordered)


class _Digits(NamedImages):
    def __init__(self, split: str, size: int) -> None:
        check_name("split of digits", split, ("train", "test"))
        parts = dict(zip(("train", "test"), load_digits(size), strict=True))
        self._images, self._labels = parts[split]
        self.class_names = tuple("0123456789")

    @property
    def labels(self) -> np.ndarray:
        return self._labels

    def try_read(self, indices: Sequence[int]) -> list[Image.Image | BadImageError]:
        return [Image.fromarray(self._images[i]) for i in indices]


class _Folder(NamedImages):
    def __init__(
        self, root: str, split: str, bad_images: str, labels: str, test_fraction: float
    ) -> None:
        # Nothing is classified here, so one class is enough.
        folder = ImageFolder(
            expand(root), labels=labels, test_fraction=test_fraction, min_classes=1
        )
        self.held_out = folder.held_out
        self._listing = folder.list_split(split)
        self.class_names = self._listing.class_names
        self.suffixes = [os.path.splitext(path)[1] for path in self._listing.paths]
        self.bad_images = bad_images

    @property
    def labels(self) -> np.ndarray:
        return self._listing.labels

    @property
    def names(self) -> list[str]:
        return self._listing.names.tolist()

    def try_read(self, indices: Sequence[int]) -> list[Image.Image | BadImageError]:
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(_caught(read), self._listing.paths[np.asarray(indices, int)]))


class _Records(NamedImages):
    """A tfds split that is read in order; it skips records without decoding them."""

    shuffled = False

    def __init__(
        self, name: str, split: str, data_dir: str, bad_images: str, ordered: bool
    ) -> None:
        from augmax_jax.data.builders import check_features, open_builder
        from augmax_jax.data.records import Records

        builder = open_builder(name, data_dir, split)
        self.class_names = check_features(builder)
        self.bad_images = bad_images
        self._records = Records.open(builder, split)
        self._ordered = ordered
        self._labels: np.ndarray | None = None
        self._next = 0
        self._stream: Iterator[Any] = iter(())

    def __len__(self) -> int:
        return len(self._records)

    @property
    def labels(self) -> np.ndarray:
        if self._labels is None:
            self._labels = self._records.labels(ordered=self._ordered)
        return self._labels

    def try_read(self, indices: Sequence[int]) -> list[Image.Image | BadImageError]:
        records = [self._record(index) for index in indices]
        decode = _caught(lambda record: self._records.decode(*record))
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(decode, records))

    def _record(self, index: int) -> tuple[bytes, bytes]:
        if index < self._next or not self._next:
            start = index if self._ordered else 0
            records = self._records.slice(start, len(self))
            self._stream = records.dataset(ordered=self._ordered).as_numpy_iterator()
            self._next = start
        contents, _, name = next(itertools.islice(self._stream, index - self._next, None))
        self._next = index + 1
        return contents, name


def _caught(decode: Callable[[Any], Image.Image]) -> Callable[[Any], Image.Image | BadImageError]:
    """`decode`, but it returns the error of an image that cannot be read."""

    def caught(source: Any) -> Image.Image | BadImageError:
        try:
            return decode(source)
        except BadImageError as error:
            return error

    return caught
