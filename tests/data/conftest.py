"""Fabricated data: image folders and small tfds datasets, prepared for real."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make_folder(tmp_path: Path, rng: np.random.Generator) -> Callable[..., Path]:
    """Writes `<root>/<split>/<class>/<i>.png` with random images."""

    def make(
        splits: dict[str, dict[str, int]], *, size: int = 12, name: str = "images", ext: str = "png"
    ) -> Path:
        root = tmp_path / name
        for split, classes in splits.items():
            for label, count in classes.items():
                folder = root / split / label
                folder.mkdir(parents=True)
                for i in range(count):
                    pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i:03}.{ext}")
        return root

    return make


@pytest.fixture
def prepare_tfds(tmp_path: Path) -> Callable[..., Path]:
    """Prepares a tfds dataset of given images and labels, as `download_and_prepare` would."""

    def prepare(
        name: str,
        splits: dict[str, tuple[list[np.ndarray], list[int]]],
        *,
        num_classes: int | None = None,
        names: list[str] | None = None,
        shape: tuple[int | None, ...] = (None, None, 3),
        dtype: type = np.uint8,
        encoding: str = "png",
        config: str | None = None,
        version: str = "1.0.0",
        shards: int | None = None,
    ) -> Path:
        import tensorflow_datasets as tfds

        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape, dtype=dtype, encoding_format=encoding),
                "label": tfds.features.ClassLabel(num_classes=num_classes, names=names),
            }
        )
        quiet = io.StringIO()
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            tfds.dataset_builders.store_as_tfds_dataset(
                name=name,
                version=version,
                config=config,
                features=features,
                split_datasets={
                    split: [
                        (i, {"image": image, "label": label})
                        for i, (image, label) in enumerate(zip(images, labels, strict=True))
                    ]
                    for split, (images, labels) in splits.items()
                },
                data_dir=tmp_path / "tfds",
                download_config=tfds.download.DownloadConfig(num_shards=shards),
            )
        return tmp_path / "tfds"

    return prepare
