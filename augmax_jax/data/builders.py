"""Finds a dataset of TensorFlow Datasets (tfds) that is prepared on this machine.

Nothing is downloaded unless asked for. TensorFlow is imported inside functions, and kept
off the accelerators.
"""

import logging
import re
from typing import Any

import numpy as np

from augmax_jax.data.settings import MIN_IMAGE_SIZE, tfds_folder
from augmax_jax.runtime import extras
from augmax_jax.runtime.errors import check_name, nearest, shorten

_NAME = re.compile(r"\w+(/[\w.-]+)?(:[\d.*]+)?")

log = logging.getLogger(__name__)


def tensorflow() -> Any:
    """Imports TensorFlow and hides the accelerators from it: they belong to JAX.

    Raises:
        MissingExtraError: TensorFlow or tfds is not installed.
    """
    with extras.needed("tfds"):
        import tensorflow as tf
        import tensorflow_datasets  # noqa: F401 - whoever asks for the one reads with the other

    for kind in ("GPU", "TPU"):
        try:
            tf.config.set_visible_devices([], kind)
        except RuntimeError:
            log.warning("TensorFlow was in use before and may hold %s memory", kind)
    return tf


def open_builder(name: str, data_dir: str, split: str, download: bool = False) -> Any:
    """The tfds builder of a prepared dataset, in any version that is on disk.

    Args:
        name: `dataset`, `dataset/config`, optionally with `:version`.
        data_dir: folder of prepared data; empty: tfds's default.
        split: a split that will be read.
        download: whether to prepare the dataset if it is missing.

    Raises:
        FileNotFoundError: the dataset is known but not prepared; the message has the command.
        ValueError: there is no such dataset or configuration, or one must be chosen.
    """
    tensorflow()
    import tensorflow_datasets as tfds

    base, config = _parse(name)
    known = tfds.list_builders(with_community_datasets=False)
    configs = _configs(tfds, base) if base in known else []
    if len(configs) > 1 and not config:
        raise ValueError(
            f"dataset {name!r} has {len(configs)} configurations; choose one as "
            f"'{base}/<configuration>': {shorten(configs)}"
        )
    where = tfds_folder(data_dir) or None
    if _NAME.fullmatch(name):
        try:
            return tfds.core.read_only_builder.builder_from_files(name, data_dir=where)
        except tfds.core.DatasetNotFoundError:
            pass
    if base not in known:
        raise ValueError(
            f"unknown dataset {name!r}.{nearest(base, ['digits', *known])} Available: 'digits' "
            f"(embedded), the path of an image folder (there is none at {name!r}), and the "
            f"{len(known)} names of tfds.list_builders()"
        )
    if config:
        check_name(f"configuration of dataset {base!r}", config, configs)
    try:
        builder = tfds.builder(name, data_dir=where, try_gcs=False)
    except AssertionError as error:  # a version that tfds does not know
        raise ValueError(str(error)) from error
    if download:
        builder.download_and_prepare()
    try:
        builder.as_dataset(split=split)
    except AssertionError as error:  # tfds raises this if there are no files
        raise FileNotFoundError(_how_to_prepare(name, where, builder)) from error
    return builder


def is_prepared(name: str, data_dir: str) -> bool:
    """Whether some version of a dataset is on disk."""
    tensorflow()
    import tensorflow_datasets as tfds

    try:
        tfds.core.read_only_builder.builder_from_files(name, data_dir=tfds_folder(data_dir) or None)
    except tfds.core.DatasetNotFoundError:
        return False
    return True


def _parse(name: str) -> tuple[str, str]:
    """Splits `dataset/config:version` into dataset and config."""
    base, _, rest = re.sub(r":[\w.*]+$", "", name).partition("/")
    return base, rest


def _configs(tfds: Any, base: str) -> list[str]:
    return [config.name for config in tfds.builder_cls(base).BUILDER_CONFIGS]


def _how_to_prepare(name: str, data_dir: str | None, builder: Any) -> str:
    argument = f", data_dir={data_dir!r}" if data_dir else ""
    manual = (builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").strip()
    first = f" First, by hand: {' '.join(manual.split())}" if manual else ""
    return (
        f"tfds dataset {name!r} is not prepared: {str(builder.data_path)!r} should hold "
        f"dataset_info.json, features.json and the records.{first} To prepare it, run: "
        f'python -c "import tensorflow_datasets as tfds; '
        f'tfds.builder({name!r}{argument}).download_and_prepare()" '
        f"or set config.data.download=True; data prepared elsewhere is found with "
        f"config.data.data_dir"
    )


def check_features(builder: Any) -> tuple[str, ...]:
    """The class names of a dataset that has images and class labels.

    Raises:
        ValueError: the dataset has no 8- or 16-bit `image`, no class `label`, or only one class.
    """
    import tensorflow_datasets as tfds

    features = dict(builder.info.features)
    image, label = features.get("image"), features.get("label")
    if not isinstance(image, tfds.features.Image) or not isinstance(
        label, tfds.features.ClassLabel
    ):
        kinds = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())
        raise ValueError(
            f"dataset {builder.name!r} must have features image (Image) and label (ClassLabel); "
            f"it has: {kinds}"
        )
    if np.dtype(image.np_dtype) not in (np.uint8, np.uint16):
        raise ValueError(
            f"images of dataset {builder.name!r} must be uint8 or uint16, got {image.np_dtype}"
        )
    sides = [side for side in image.shape[:2] if side is not None]
    if sides and min(sides) < MIN_IMAGE_SIZE:
        raise ValueError(
            f"images of dataset {builder.name!r} have shape {list(image.shape)}; each side must "
            f"have at least {MIN_IMAGE_SIZE} pixels"
        )
    if label.num_classes is None or label.num_classes < 2:
        raise ValueError(
            f"dataset {builder.name!r} has {label.num_classes} classes; a classifier needs at "
            f"least two"
        )
    try:
        return tuple(label.names)
    except (AttributeError, ValueError, TypeError):
        return tuple(str(i) for i in range(label.num_classes))
