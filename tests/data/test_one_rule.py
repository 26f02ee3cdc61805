"""The same file gives the same pixels, whoever reads it."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from augmax_jax.corruption_sets import Source
from augmax_jax.data.benchmarks import open_benchmark
from augmax_jax.data.images import read
from augmax_jax.data.named_images import open_images
from augmax_jax.data.order import CROP, generator
from augmax_jax.data.square import fit, random_resized_crop

SIZE = 16


def photographs(rng) -> dict[str, bytes]:
    """Files of the formats that tfds keeps (JPEG and PNG), in every mode and 24x20 pixels."""
    low = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    colour = low.resize((24, 20), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = colour.copy()
    alpha.putalpha(Image.linear_gradient("L").resize((24, 20)))
    wide = Image.fromarray(rng.integers(0, 65536, (20, 24)).astype(np.uint16))
    modes = {
        "plain.jpg": (colour, {}),
        "turned.jpg": (colour, {"exif": exif}),
        "grey.jpg": (colour.convert("L"), {}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "plain.png": (colour, {}),
        "turned.png": (colour, {"exif": exif}),
        "wide.png": (wide, {}),
        "alpha.png": (alpha, {}),
        "grey_alpha.png": (alpha.convert("LA"), {}),
        "palette.png": (colour.quantize(16), {"transparency": bytes(range(16))}),
        "one_bit.png": (colour.convert("1"), {}),
    }
    out = {}
    for name, (image, options) in modes.items():
        buffer = io.BytesIO()
        image.save(buffer, "PNG" if name.endswith("png") else "JPEG", **options)
        out[name] = buffer.getvalue()
    return out


@pytest.fixture
def files(tmp_path, rng):
    """A folder with all photographs in one class, and one in another."""
    photos = photographs(rng)
    for split in ("train", "test"):
        for name, contents in photos.items():
            for label in ("a", "b"):
                path = tmp_path / "photos" / split / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if label == "a" or name == "plain.png":
                    path.write_bytes(contents)
    return tmp_path / "photos"


@pytest.fixture
def prepared(files, tmp_path):
    """The same files as a tfds dataset."""
    import tensorflow_datasets as tfds

    paths = sorted((files / "test").glob("*/*"))
    features = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(names=["a", "b"]),
    }
    examples = [
        (i, {"image": str(path), "label": path.parent.name}) for i, path in enumerate(paths)
    ]
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        tfds.dataset_builders.store_as_tfds_dataset(
            name="photos_of_all_kinds",
            version="1.0.0",
            features=tfds.features.FeaturesDict(features),
            split_datasets={"train": examples, "test": examples},
            data_dir=tmp_path / "tfds",
        )
    return str(tmp_path / "tfds")


def shown(split) -> np.ndarray:
    return np.concatenate([batch["image"][batch["mask"]] for batch in split.eval_batches(5)])


def as_set(images) -> list[bytes]:
    return sorted(np.asarray(image).tobytes() for image in images)


@pytest.mark.parametrize("transform", ["resize", "center_crop"])
def test_all_readers_agree(files, prepared, transform):
    config = {"image_size": SIZE, "holdout": 0, "test_transform": transform}
    folder = config | {"name": str(files)}
    records = config | {"name": "photos_of_all_kinds", "data_dir": prepared}
    paths = sorted((files / "test").glob("*/*"))
    resize = data.DataConfig(**config).resize
    expected = np.stack([fit(read(path), SIZE, resize=resize) for path in paths])
    assert len(np.unique(expected.reshape(len(paths), -1), axis=0)) >= 10
    for resident in (True, False):
        test = data.load(folder | {"resident": resident}, seed=0).test
        np.testing.assert_array_equal(shown(test), expected)
        test = data.load(records | {"resident": resident}, seed=0).test
        assert as_set(shown(test)) == as_set(expected)

    benchmark = "imagenet" if transform == "center_crop" else "cifar"
    for name, data_dir in ((str(files), ""), ("photos_of_all_kinds", prepared)):
        source = Source(name, benchmark=benchmark, image_size=SIZE, data_dir=data_dir).open()
        pixels = np.concatenate([images for _, images, _ in source.batches(5)])
        assert as_set(pixels) == as_set(expected)
        source.check()
        again = np.concatenate([images for _, images, _ in source.batches(5)])
        np.testing.assert_array_equal(again, pixels)
        images = open_images(name, "test", data_dir=data_dir)
        found = images.read(range(len(images)))
        assert as_set(fit(image, SIZE, resize=resize) for image in found) == as_set(expected)


def test_a_benchmark_reads_them_as_training_does(files, tmp_path):
    (tmp_path / "own/fog").mkdir(parents=True)
    (tmp_path / "own/fog/3").symlink_to(files / "test")
    benchmark = open_benchmark(str(tmp_path / "own"), class_names="ab", image_size=SIZE)
    expected = data.load({"name": str(files), "image_size": SIZE, "holdout": 0}, seed=0).test
    np.testing.assert_array_equal(shown(benchmark.load("fog", 3)), shown(expected))


def test_random_crops_of_a_stream_are_cut_from_the_upright_image(files, prepared):
    """Both streams cut the same windows at the same position of the stream."""
    config = {"image_size": SIZE, "holdout": 0, "train_transform": "random_resized_crop"}
    paths = sorted((files / "train").glob("*/*"))
    cut = {
        random_resized_crop(read(path), SIZE, generator(0, CROP, place)).tobytes()
        for place in range(len(paths))
        for path in paths
    }
    for settings in (
        {"name": str(files)},
        {"name": "photos_of_all_kinds", "data_dir": prepared},
    ):
        batch = next(data.load(config | settings, seed=0).train.train_batches(len(paths)))
        crops = {image.tobytes() for image in batch["image"]}
        assert len(crops) == len(paths)
        assert crops <= cut
