"""The folder of pictures that benchmarks of the input read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from benchmarks import pictures

COUNTS = {"train": 6, "val": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    counts = ["--train", "6", "--val", "2", "--classes", "2", "--processes", "1"]
    pictures.main([str(root), *counts])
    return root


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.glob("*/*/*"))}


def test_the_folder_is_one_that_training_reads(folder):
    config = {"name": str(folder), "image_size": 16, "train_transform": "random_resized_crop"}
    loaded = data.load({**config, "test_split": "validation", "holdout": 0.0}, seed=0)
    assert (len(loaded.train), len(loaded.test)) == (6, 2)
    assert loaded.class_names == ("class000", "class001")
    assert not loaded.train.resident
    batch = next(loaded.train.train_batches(6))
    assert batch["image"].shape == (6, 16, 16, 3)
    assert sorted(batch["label"]) == [0, 0, 0, 1, 1, 1]


def test_pictures_have_many_sizes_and_texture(folder):
    images = [Image.open(path) for path in sorted(folder.glob("*/*/*"))]
    assert all(image.format == "JPEG" for image in images)
    assert len({image.size for image in images}) > 1
    assert all(160 <= side <= 640 for image in images for side in image.size)
    assert all(np.asarray(image).std() > 20 for image in images)


def test_the_same_arguments_make_the_same_pictures(folder, tmp_path):
    made = contents(folder)
    assert len(set(made.values())) == 8
    (folder / "train" / "class000" / "00001.JPEG").unlink()
    tasks = pictures.plan(folder, COUNTS, classes=2, seed=0)
    assert pictures.make(tasks, processes=1) == len(made[Path("train/class000/00001.JPEG")])
    assert contents(folder) == made
    other = pictures.plan(tmp_path, {"train": 2}, classes=2, seed=1)
    pictures.make(other, processes=1)
    assert not set(contents(tmp_path).values()) & set(made.values())


def test_photographs_of_a_folder_are_enlarged(tmp_path, rng):
    source, out = tmp_path / "source", tmp_path / "out"
    for name, colour in (("cat", (200, 60, 60)), ("dog", (60, 60, 200))):
        (source / "train" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16), colour).save(source / "train" / name / "0.png")
    tasks = pictures.plan(out, {"train": 4}, classes=5, seed=0, source=source)
    pictures.make(tasks, processes=1)
    assert {path.parent.name for path in out.glob("train/*/*")} == {"cat", "dog"}
    for path in out.glob("train/*/*"):
        image = Image.open(path)
        red, _, blue = np.asarray(image.convert("RGB"), float).mean((0, 1))
        if image.mode == "RGB":
            assert (red > blue + 80) if path.parent.name == "cat" else (blue > red + 80)


def test_every_class_needs_a_picture(tmp_path):
    with pytest.raises(ValueError, match="val must have a picture of each of 20 classes, got 3"):
        pictures.plan(tmp_path, {"train": 40, "val": 3}, classes=20, seed=0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pictures.plan(tmp_path, {"train": 2}, classes=2, seed=0, source=tmp_path / "nowhere")
