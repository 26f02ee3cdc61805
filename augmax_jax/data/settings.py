"""The settings of the input (`config.data`), each with its limits."""

import dataclasses
import numbers
import os
from collections.abc import Mapping
from typing import Any

from augmax_jax.runtime import paths
from augmax_jax.runtime.checks import check_count, check_flag
from augmax_jax.runtime.errors import check_name

TRAIN_TRANSFORMS = ("flip_crop", "crop", "none", "random_resized_crop")
TEST_TRANSFORMS = ("resize", "center_crop")
BAD_IMAGES = ("refuse", "skip")
MIN_IMAGE_SIZE = 8
TEST_FRACTION = 0.2  # that is held out of a folder without a test split
_MAX_IMAGE_SIZE = 8192  # a slip of the keyboard, not a size that a network takes
_RESIDENT = {"auto": "auto", "none": "auto", "true": True, "false": False}


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which data to read, and how; the fields of `config.data`.

    Attributes:
        name: "digits" (embedded), a tfds name (`cifar10`, `imagenet_resized/64x64`), or
            the path of a folder: `<dir>/<split>/<class>/*`, `<dir>/<class>/*`, or any with a
            table of labels.
        labels: a folder's table of `file,label[,split]` (CSV or TSV), its path absolute or
            relative to the folder; empty: `labels.csv` or `labels.tsv` in the folder, if there.
        test_fraction: share of every class that a folder without a test split holds out as one,
            in [0, 1), chosen by a seed of its own; 0 refuses such a folder.
        data_dir: where tfds data was prepared; empty: tfds's default.
        train_split: split to train on. tfds slices such as `train[:80%]` are accepted.
        test_split: split to evaluate on. If "test" does not exist or has no labels,
            "validation" or "val" is used instead, and the log says so.
        holdout: share of the training split that is held out, to select checkpoints on, in
            [0, 1); 0: none.
        image_size: side of the square images that the network gets, from 8 to 8192.
        train_transform: "flip_crop", "crop" and "none" run on the devices and have no effect
            on reading; "random_resized_crop" (with a flip) is done while images are read.
        test_transform: how evaluation images (and training images that are not cropped at
            random) become square: "resize" gives the shorter side `image_size` pixels and cuts
            out the centre; "center_crop" gives the shorter side 256 / 224 of that and cuts out
            the centre, as the ImageNet recipe does.
        resident: True keeps all images in memory, False decodes them on the fly, "auto" (or
            None) keeps them if they fit `max_resident_bytes`. The texts "true"
            and "false" are allowed too.
        max_resident_bytes: the limit for "auto", in bytes over all splits.
        bad_images: "refuse" images that cannot be read, or "skip" them and name them in
            the log.
        shuffle_buffer: records that a tfds stream shuffles at a time; up to twice as many are in
            memory, not decoded.
        download: whether tfds may download and prepare a missing dataset.
        extra_train: folders `<dir>/<train_split>/<class>/*` with copies of the training images.
            Training uses them too, except the copies of held-out images.

    Raises:
        ValueError: a field has another type or a value that is not allowed.
    """

    name: str = "cifar10"
    labels: str = ""
    test_fraction: float = TEST_FRACTION
    data_dir: str = ""
    train_split: str = "train"
    test_split: str = "test"
    holdout: float = 0.01
    image_size: int = 32
    train_transform: str = "flip_crop"
    test_transform: str = "resize"
    resident: bool | str | None = "auto"
    max_resident_bytes: int = 4 * 2**30
    bad_images: str = "refuse"
    shuffle_buffer: int = 10_000
    download: bool = False
    extra_train: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("name", "labels", "data_dir"):
            value = getattr(self, field)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, field, os.fspath(value))
        for field in ("name", "train_split", "test_split"):
            _check_text(field, getattr(self, field))
        _check_text("data_dir", self.data_dir, may_be_empty=True)
        check_labels(self.name, self.labels, self.test_fraction)
        check_name("config.data.train_transform", self.train_transform, TRAIN_TRANSFORMS)
        check_name("config.data.test_transform", self.test_transform, TEST_TRANSFORMS)
        check_name("config.data.bad_images", self.bad_images, BAD_IMAGES)
        object.__setattr__(self, "resident", _resident(self.resident))
        check_count(
            "config.data.image_size", self.image_size, low=MIN_IMAGE_SIZE, high=_MAX_IMAGE_SIZE
        )
        check_count("config.data.max_resident_bytes", self.max_resident_bytes)
        check_count("config.data.shuffle_buffer", self.shuffle_buffer, low=1)
        # Any share is allowed that leaves images to train on.
        if not _is_number(self.holdout) or not 0 <= self.holdout < 1:
            raise ValueError(f"config.data.holdout must be in [0, 1), got {self.holdout!r}")
        check_flag("config.data.download", self.download)
        _check_folders(self.extra_train)
        object.__setattr__(self, "extra_train", tuple(map(os.fspath, self.extra_train)))
        if self.resident is True and self.random_resized_crop:
            raise ValueError(
                "config.data.resident=True keeps one decoded copy of each image, but "
                "config.data.train_transform='random_resized_crop' cuts a new one from the file "
                "every epoch; set config.data.resident to False or 'auto'"
            )

    @property
    def random_resized_crop(self) -> bool:
        """Whether training images are cut at random from the original ones."""
        return self.train_transform == "random_resized_crop"

    @property
    def resize(self) -> int:
        """Length to which the shorter side is resized before the centre crop."""
        center_crop = self.test_transform == "center_crop"
        return round(self.image_size * 256 / 224) if center_crop else self.image_size

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


def check(settings: Mapping[str, Any]) -> None:
    """Checks all of `config.data` that can be checked before data is read.

    Args:
        settings: the fields of `DataConfig`, as a mapping or an `ml_collections.ConfigDict`.

    Raises:
        ValueError: a field is unknown, or its value is not allowed.
        FileNotFoundError: `data_dir` is not empty and no folder, and `download` is False.
    """
    config = DataConfig.from_mapping(settings)
    for name, folder in (("name", config.name), *(("extra_train", f) for f in config.extra_train)):
        if paths.is_remote(folder):
            raise ValueError(
                f"config.data.{name}={folder!r} is not a path on this machine: mount or copy it, "
                "and give the local path"
            )
    # TensorFlow reads and writes buckets itself.
    if config.data_dir and not paths.is_remote(config.data_dir) and not config.download:
        folder_of_tfds = paths.expand(config.data_dir)
        if not folder_of_tfds.is_dir():
            raise FileNotFoundError(
                f"config.data.data_dir={config.data_dir!r} is no folder here: give the one that "
                "tfds prepared data in, leave it empty for tfds's default, or set "
                "config.data.download=True"
            )


def is_path(name: str) -> bool:
    """Whether a dataset's name is a path: one of a folder that is there, or one written so."""
    # A table of labels is no dataset's name, and a better message awaits it as a path.
    written = name.startswith((".", "~", "$", os.sep)) or name.endswith((os.sep, ".csv", ".tsv"))
    return written or paths.is_remote(name) or paths.expand(name).is_dir()


def check_labels(name: str, labels: str, test_fraction: float) -> None:
    """Raises ValueError unless the settings of an image folder's labels are allowed.

    Args:
        name: the dataset's.
        labels: `config.data.labels`.
        test_fraction: `config.data.test_fraction`.
    """
    _check_text("labels", labels, may_be_empty=True)
    if labels and (name == "digits" or not is_path(name)):
        raise ValueError(
            f"config.data.labels={labels!r} is for a folder of images, and config.data.name="
            f"{name!r} is none: give the folder's path, or leave config.data.labels empty"
        )
    if not _is_number(test_fraction) or not 0 <= test_fraction < 1:
        raise ValueError(f"config.data.test_fraction must be in [0, 1), got {test_fraction!r}")


def tfds_folder(data_dir: str | os.PathLike[str]) -> str:
    """`data_dir` as tfds takes it; the address of a bucket stays as it is, for TensorFlow."""
    text = os.fspath(data_dir)
    return text if not text or paths.is_remote(text) else str(paths.expand(text))


def _check_text(field: str, value: Any, *, may_be_empty: bool = False) -> None:
    if not isinstance(value, str) or not (value or may_be_empty):
        raise ValueError(f"config.data.{field} must be a string, got {value!r}")
    if "\0" in value:
        raise ValueError(f"config.data.{field} must not hold a null character, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _resident(value: Any) -> bool | str:
    key = str(value).lower()
    if not isinstance(value, bool | str | None) or key not in _RESIDENT:
        raise ValueError(f"config.data.resident must be True, False or 'auto', got {value!r}")
    return _RESIDENT[key]  # type: ignore[return-value]


def _check_folders(value: Any) -> None:
    if (
        not isinstance(value, tuple | list)
        or not all(isinstance(folder, str | os.PathLike) and os.fspath(folder) for folder in value)
        or len(set(map(os.fspath, value))) < len(value)
    ):
        raise ValueError(
            f"config.data.extra_train must be a tuple of different folders, got {value!r}"
        )
