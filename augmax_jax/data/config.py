"""The settings of the input, checked once."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from augmax_jax.runtime.errors import check_name

TRAIN_TRANSFORMS = ("flip_crop", "crop", "none", "random_resized_crop")
MIN_IMAGE_SIZE = 8


def check_folders(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a sequence of different folder names."""
    if (
        not isinstance(value, tuple | list)
        or not all(isinstance(folder, str) and folder for folder in value)
        or len(set(value)) < len(value)
    ):
        raise ValueError(f"{name} must be a tuple of different folders, got {value!r}")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to read and how; the fields of `config.data`.

    Attributes:
        name: "digits" (embedded), a tfds name (`cifar10`, `imagenet_resized/64x64`), or
            the path of a folder `<dir>/<split>/<class>/*`.
        data_dir: where tfds data was prepared; empty: tfds's default.
        train_split: split to train on. tfds slices such as `train[:80%]` are accepted.
        test_split: split to evaluate on. "test" falls back to "validation" or "val" where
            the dataset has no (labelled) split called test, and the log says so.
        holdout: share of the training split kept out of training, to select checkpoints
            on; 0 disables it.
        image_size: side of the square images that come out.
        train_transform: "flip_crop", "crop" and "none" run on the devices and change
            nothing here; "random_resized_crop" (with a flip) runs here, while streaming.
        resident: True keeps all images in memory, False decodes them on the fly, "auto"
            keeps them if they fit `max_resident_bytes`.
        max_resident_bytes: the bound of "auto", over all splits together.
        bad_images: "refuse" unreadable files of a folder, or "skip" them and name them in
            the log.
        shuffle_buffer: records that a tfds stream shuffles at a time.
        download: whether tfds may download and prepare a missing dataset.
        extra_train: folders `<dir>/<train_split>/<class>/*` with copies of the training images,
            which are trained on beside them; copies of held-out images are not.
    """

    name: str = "cifar10"
    data_dir: str = ""
    train_split: str = "train"
    test_split: str = "test"
    holdout: float = 0.01
    image_size: int = 32
    train_transform: str = "flip_crop"
    resident: bool | str = "auto"
    max_resident_bytes: int = 4 * 2**30
    bad_images: str = "refuse"
    shuffle_buffer: int = 10_000
    download: bool = False
    extra_train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("data.train_transform", self.train_transform, TRAIN_TRANSFORMS)
        check_name("data.bad_images", self.bad_images, ("refuse", "skip"))
        if self.resident not in (True, False, "auto"):
            raise ValueError(f"data.resident must be True, False or 'auto', got {self.resident!r}")
        if self.image_size < MIN_IMAGE_SIZE:
            raise ValueError(
                f"data.image_size must be at least {MIN_IMAGE_SIZE}, got {self.image_size}"
            )
        if not 0 <= self.holdout < 1:
            raise ValueError(f"data.holdout must be in [0, 1), got {self.holdout}")
        if self.max_resident_bytes < 0:
            raise ValueError(
                f"data.max_resident_bytes must not be negative, got {self.max_resident_bytes}"
            )
        if self.shuffle_buffer < 1:
            raise ValueError(f"data.shuffle_buffer must be at least 1, got {self.shuffle_buffer}")
        check_folders("data.extra_train", self.extra_train)
        if self.resident is True and self.random_resized_crop:
            raise ValueError(
                "data.resident=True keeps one decoded copy of each image, but "
                "data.train_transform='random_resized_crop' cuts a new one from the original "
                "every epoch; set data.resident to False or 'auto'"
            )

    @property
    def random_resized_crop(self) -> bool:
        """Whether training images are cut at random from the original ones."""
        return self.train_transform == "random_resized_crop"

    @property
    def resize(self) -> int:
        """Length that the shorter side is given before the centre crop.

        The ImageNet recipe crops 224 out of 256; everything else uses the whole image.
        """
        return round(self.image_size * 256 / 224) if self.random_resized_crop else self.image_size

    def keeps(self, examples: int) -> bool:
        """Whether that many decoded images are to be kept in memory."""
        if self.resident == "auto":
            size = examples * self.image_size**2 * 3
            return not self.random_resized_crop and size <= self.max_resident_bytes
        return bool(self.resident)

    @classmethod
    def from_mapping(cls, config: Mapping[str, Any]) -> "DataConfig":
        """Reads an `ml_collections.ConfigDict` or any mapping; missing fields get defaults.

        Raises:
            ValueError: a field is unknown or its value is not allowed.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in config:
            check_name("field of config.data", name, names)
        return cls(**dict(config.items()))
