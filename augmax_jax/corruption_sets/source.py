"""The images to corrupt: any dataset that `augmax_jax.data` reads, in a fixed order."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from augmax_jax.corruptions import constants
from augmax_jax.runtime import errors

_KEEP_BYTES = 2 * 2**30  # sets up to this size are decoded once


@dataclasses.dataclass(frozen=True)
class Source:
    """Which images to corrupt, and at what size.

    Attributes:
        dataset: "digits", a tfds name, or a folder `<dir>/<split>/<class>/*`.
        split: of the dataset.
        benchmark: whose constants, and at what size if `image_size` is 0.
        image_size: side of the images; 0: the benchmark's own (32, 64 or 224).
        data_dir: where tfds data was prepared; empty: tfds's default.
    """

    dataset: str
    split: str = "test"
    benchmark: str = "cifar"
    image_size: int = 0
    data_dir: str = ""

    def __post_init__(self) -> None:
        errors.check_name("benchmark", self.benchmark, constants.BENCHMARKS)
        if self.image_size < 0:
            raise ValueError(f"image_size must not be negative, got {self.image_size}")

    @property
    def size(self) -> int:
        """Side of the images."""
        return self.image_size or constants.BASE_SIZE[self.benchmark]

    def open(self) -> "Images":
        """Opens the dataset.

        Raises:
            FileNotFoundError: it is not there; the message has the layout or command.
            ValueError: a name, split or image is not usable.
        """
        from augmax_jax import data

        digits = self.dataset == "digits"
        config = data.DataConfig(
            name=self.dataset,
            data_dir=self.data_dir,
            train_split=self.split,
            test_split=self.split,
            holdout=0,
            image_size=self.size,
            # ImageNet-C was made from the centre of images resized to 256 / 224 of its size.
            train_transform="random_resized_crop"
            if self.benchmark == "imagenet" and not digits
            else "none",
            resident=digits,
        )
        return Images(data.load(config, seed=0))


class Images:
    """An opened source: batches in a fixed order, decoded once if they fit in memory."""

    def __init__(self, opened: Any) -> None:
        self._split = opened.test
        self.class_names: tuple[str, ...] = opened.class_names
        self._kept: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._split)

    def batches(self, size: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields the index of the first image, images uint8 and labels int32."""
        if self._kept is None and self._split.resident:
            self._kept = self._split.arrays()
        if self._kept is not None:
            images, labels = self._kept
            for first in range(0, len(labels), size):
                yield first, images[first : first + size], labels[first : first + size]
            return
        first, seen = 0, []
        for batch in self._split.eval_batches(size):
            images, labels = batch["image"][batch["mask"]], batch["label"][batch["mask"]]
            if len(self) * images[0].nbytes <= _KEEP_BYTES:
                seen.append((images, labels))
            yield first, images, labels
            first += len(labels)
        if seen:
            self._kept = (
                np.concatenate([images for images, _ in seen]),
                np.concatenate([labels for _, labels in seen]),
            )
