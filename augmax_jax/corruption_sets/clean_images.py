"""The images to corrupt: any dataset that `augmax_jax.data` reads, in a fixed order and size."""

import dataclasses
import logging
from collections.abc import Iterator

import numpy as np

from augmax_jax.corruptions import constants
from augmax_jax.data.images import BadImageError
from augmax_jax.data.named_images import NamedImages, open_images
from augmax_jax.data.settings import BAD_IMAGES, MIN_IMAGE_SIZE, TEST_FRACTION, DataConfig
from augmax_jax.data.square import fit
from augmax_jax.runtime import errors
from augmax_jax.runtime.checks import check_count

_KEEP_BYTES = 2 * 2**30  # sets up to this size are decoded once
_READ = 256  # images decoded at a time
_NAMED = 20

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Source:
    """Which images to corrupt, and at what size.

    Attributes:
        dataset: "digits", a tfds name, or a folder of images (docs/data.md).
        split: of the dataset.
        benchmark: whose constants, and at what size if `image_size` is 0.
        image_size: side of the images; 0: the benchmark's own (32, 64 or 224).
        data_dir: where tfds data was prepared; empty: tfds's default.
        bad_images: "refuse" images that cannot be read, or "skip" them and name them in the log.
        labels: a folder's table of labels, as `config.data.labels`.
        test_fraction: share that is held out of a folder without a test split, as
            `config.data.test_fraction`.

    Raises:
        ValueError: a benchmark, size or choice is not allowed.
    """

    dataset: str
    split: str = "test"
    benchmark: str = "cifar"
    image_size: int = 0
    data_dir: str = ""
    bad_images: str = "refuse"
    labels: str = ""
    test_fraction: float = TEST_FRACTION

    def __post_init__(self) -> None:
        errors.check_name("benchmark", self.benchmark, constants.BENCHMARKS)
        errors.check_name("bad_images", self.bad_images, BAD_IMAGES)
        check_count("image_size", self.image_size)
        if 0 < self.image_size < MIN_IMAGE_SIZE:
            raise ValueError(f"image_size must be at least {MIN_IMAGE_SIZE}, got {self.image_size}")

    @property
    def size(self) -> int:
        """Side of the images."""
        return self.image_size or constants.BASE_SIZE[self.benchmark]

    def open(self) -> "CleanImages":
        """Opens the dataset; no image is read yet.

        Raises:
            FileNotFoundError: the dataset is not there; the message has the layout or command.
            ValueError: the name or split is not usable.
        """
        images = open_images(
            self.dataset,
            self.split,
            data_dir=self.data_dir,
            size=self.size,
            bad_images=self.bad_images,
            ordered=False,
            labels=self.labels,
            test_fraction=self.test_fraction,
        )
        if len(images.class_names) < 2:
            log.warning(
                "%r has one class (%r): a network's accuracy on it would mean nothing",
                self.dataset,
                images.class_names[0],
            )
        # ImageNet-C was made from the centre of images resized to 256 / 224 of its size. Digits
        # are made at the wanted size.
        center_crop = self.benchmark == "imagenet" and self.dataset != "digits"
        transform = "center_crop" if center_crop else "resize"
        config = DataConfig(image_size=self.size, test_transform=transform)
        return CleanImages(images, self.size, config.resize)


class CleanImages:
    """An opened source: batches of images of one size, in a fixed order.

    Args:
        images: what to read.
        size: side of the images to make.
        resize: length of the shorter side before the centre crop.
    """

    def __init__(self, images: NamedImages, size: int, resize: int) -> None:
        self.class_names, self.held_out = images.class_names, images.held_out
        self._images, self._size, self._resize = images, size, resize
        self._kept: np.ndarray | None = None
        self._rows: np.ndarray | None = None

    def check(self) -> None:
        """Decodes every image once, so that errors come before the work; keeps what fits in memory.

        Raises:
            BadImageError: images cannot be read and are refused, or no image can be read. The
                message names them.
        """
        count, size = len(self._images), self._size
        keeps = count * size * size * 3 <= _KEEP_BYTES
        kept = np.empty((count if keeps else 0, size, size, 3), np.uint8)
        rows: list[int] = []
        errors: list[str] = []
        for first in range(0, count, _READ):
            indices = range(first, min(first + _READ, count))
            for row, image in zip(indices, self._images.try_read(indices), strict=True):
                if isinstance(image, BadImageError):
                    errors.append(str(image))
                    continue
                if keeps:
                    kept[len(rows)] = fit(image, size, resize=self._resize)
                rows.append(row)
        if errors and (self._images.bad_images == "refuse" or not rows):
            more = f"\n  and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
            listed = "\n  ".join(errors[:_NAMED])
            raise BadImageError(
                f"{len(errors)} of {count} images cannot be used:\n  {listed}{more}"
            )
        for error in errors:
            log.warning("skipping %s", error)
        self._rows = np.array(rows, np.int64)
        self._kept = kept[: len(rows)] if keeps else None

    @property
    def rows(self) -> np.ndarray:
        """Indices of the usable images in the split, int64 `[N]`."""
        if self._rows is None and self._images.bad_images == "skip":
            self.check()
        return np.arange(len(self._images)) if self._rows is None else self._rows

    @property
    def labels(self) -> np.ndarray:
        """The class of every image, int32 `[N]`."""
        return self._images.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def batches(
        self, size: int, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields the index of the first image, images uint8 `[b, S, S, 3]` and labels int32.

        Args:
            size: images in a batch.
            first: index of the first image.
            last: index after the last image; None: to the end.

        Raises:
            BadImageError: an image cannot be read, and such images are refused.
        """
        rows, labels = self.rows, self.labels
        stop = len(rows) if last is None else min(last, len(rows))
        for start in range(first, stop, size):
            part = slice(start, min(start + size, stop))
            yield start, self._pixels(part, rows), labels[part]

    def _pixels(self, part: slice, rows: np.ndarray) -> np.ndarray:
        if self._kept is not None:
            return self._kept[part]
        images = [image for image in self._images.read(rows[part].tolist()) if image is not None]
        return np.stack([fit(image, self._size, resize=self._resize) for image in images])
