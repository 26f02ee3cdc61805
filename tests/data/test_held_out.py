"""Folders without a test split: a share of their images is held out as one."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from augmax_jax.corruption_sets import Source, generate
from augmax_jax.corruption_sets.command import main
from augmax_jax.data.image_folder import ImageFolder
from augmax_jax.data.named_images import open_images

CLASSES = {"cat": 10, "dog": 5, "emu": 2}


def load(root, seed=0, **settings):
    return data.load({"name": str(root), "image_size": 12, "holdout": 0.0, **settings}, seed=seed)


def pixels(split: data.Split) -> set[bytes]:
    return {image.tobytes() for image in split.arrays()[0]}


def bare(make_folder):
    return make_folder({"": CLASSES})


def train_only(make_folder):
    return make_folder({"train": CLASSES})


def in_images(make_folder):
    return make_folder({"images": CLASSES})


def listed(make_folder):
    """The same in a table, in which a file's place says nothing of its class."""
    root = make_folder({"": {"all": sum(CLASSES.values())}})
    names = [name for name, count in CLASSES.items() for _ in range(count)]
    rows = [f"all/{i:03}.png,{name}" for i, name in enumerate(names)]
    (root / "labels.csv").write_text("\n".join(["file,label", *rows]))
    return root


LAYOUTS = [bare, train_only, in_images, listed]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_share_of_every_class_is_held_out_by_a_seed_of_its_own(make_folder, caplog, layout):
    root = layout(make_folder)
    with caplog.at_level(logging.INFO):
        loaded = load(root)
    assert loaded.class_names == ("cat", "dog", "emu")
    assert np.bincount(loaded.test.arrays()[1]).tolist() == [2, 1, 1]
    assert np.bincount(loaded.train.arrays()[1]).tolist() == [8, 4, 1]
    assert not pixels(loaded.train) & pixels(loaded.test)
    assert len(pixels(loaded.train) | pixels(loaded.test)) == 17
    assert "has no test split: 20% of the images of every class are held out" in caplog.text
    assert "by seed 0, whatever the run's seed): 13 to train on, 4 to test on" in caplog.text
    assert "4 test images (20% held out, seed 0)" in loaded.description
    assert loaded.test_location.endswith(", 20% held out, seed 0")
    assert loaded.test_location.startswith(str(root))
    other = load(root, seed=1, holdout=0.2)
    assert pixels(other.test) == pixels(loaded.test)
    assert pixels(other.train) | pixels(other.holdout) == pixels(loaded.train)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_reader_of_the_folder_sees_the_same_split(make_folder, tmp_path, layout):
    root = layout(make_folder)
    loaded = load(root)
    generate(
        Source(str(root), image_size=12),
        tmp_path / "c",
        corruptions=["brightness"],
        severities=[1],
        progress=False,
    )
    assert len(np.load(tmp_path / "c/brightness.npy")) == len(loaded.test) == 4
    np.testing.assert_array_equal(np.load(tmp_path / "c/labels.npy"), loaded.test.arrays()[1])
    for name, split in (("train", loaded.train), ("test", loaded.test)):
        opened = open_images(str(root), name)
        images = [np.asarray(image) for image in opened.read(range(len(opened)))]
        np.testing.assert_array_equal(np.stack(images), split.arrays()[0])
        np.testing.assert_array_equal(opened.labels, split.arrays()[1])
    assert len(open_images(str(root), "test", test_fraction=0.5)) == 5 + 2 + 1


def test_corrupted_sets_of_other_shares_are_not_mixed(make_folder, tmp_path):
    root = bare(make_folder)
    wanted = {"corruptions": ["brightness"], "severities": [1], "progress": False}
    generate(Source(str(root), image_size=12), tmp_path / "c", **wanted)
    with pytest.raises(ValueError, match="held_out was '20% held out, seed 0', now '30%"):
        generate(Source(str(root), image_size=12, test_fraction=0.3), tmp_path / "c", **wanted)


def test_the_command_takes_a_table_and_a_share(make_folder, tmp_path, capsys):
    root = listed(make_folder)
    (root / "labels.csv").rename(tmp_path / "names.csv")
    arguments = ["--dataset", str(root), "--out", str(tmp_path / "c"), "--image_size", "12"]
    arguments += ["--corruptions", "brightness", "--severities", "1", "--test_fraction", "0.5"]
    assert main([*arguments, "--labels", "../names.csv"]) == 0
    assert np.load(tmp_path / "c/labels.npy").tolist() == [0] * 5 + [1] * 2 + [2]
    assert main([*arguments, "--labels", "nmes.csv"]) == 2
    assert "there is no file" in capsys.readouterr().err


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_share_means_no_test_split(make_folder, layout):
    with pytest.raises(
        FileNotFoundError,
        match=r"no split 'test'.*it has 'train'.*set config\.data\.test_fraction .*0\.2, say",
    ):
        load(layout(make_folder), test_fraction=0.0)


def test_a_share_says_how_large_it_is(make_folder):
    loaded = load(bare(make_folder), test_fraction=0.5)
    assert np.bincount(loaded.test.arrays()[1]).tolist() == [5, 2, 1]
    assert "50% held out" in loaded.description


@pytest.mark.parametrize("share", [-0.1, 1.0, "0.2", True, None, float("nan")])
def test_the_share_has_limits(share, tmp_path):
    with pytest.raises(ValueError, match=r"config.data.test_fraction must be in \[0, 1\), got"):
        data.DataConfig(name=str(tmp_path), test_fraction=share)


def test_nothing_is_held_out_where_there_is_a_test_or_validation_split(make_folder):
    root = make_folder({"train": CLASSES, "val": CLASSES})
    assert len(load(root).train) == 17
    assert len(open_images(str(root), "train")) == 17
    assert len(load(train_only(lambda s: make_folder(s, name="b")), test_split="train").train) == 17


def test_a_class_of_one_image_is_trained_on_and_named(make_folder, caplog):
    with caplog.at_level(logging.WARNING):
        loaded = load(make_folder({"": {"cat": 5, "dog": 1}}))
    assert np.bincount(loaded.train.arrays()[1]).tolist() == [4, 1]
    assert "one image each, none to test on: 'dog'" in caplog.text
    with pytest.raises(ValueError, match="no class has two images of which one could be held out"):
        load(make_folder({"": {"cat": 1, "dog": 1}}, name="few"))


@pytest.mark.parametrize("names", [("training", "testing"), ("Train", "Test"), ("a", "valid")])
def test_misspelt_splits_are_not_classes(make_folder, names):
    root = make_folder({"": dict.fromkeys(names, 3)})
    with pytest.raises(FileNotFoundError, match="has no split 'train'"):
        load(root)


def test_copies_of_test_images_are_not_trained_on(make_folder, tmp_path, caplog):
    root = bare(make_folder)
    # Made when another share was held out, so that copies of test images are among them.
    copies = tmp_path / "copies"
    shutil.copytree(root, copies / "train")
    for path in (copies / "train").glob("*/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    with caplog.at_level(logging.INFO):
        loaded = load(root, extra_train=(str(copies),))
    assert "left out 4 copies of held-out images" in caplog.text
    assert len(loaded.train) == 13 + 13
    inverted = {(255 - image).tobytes() for image in loaded.test.arrays()[0]}
    assert not inverted & pixels(loaded.train)


def test_equal_images_in_both_parts_are_counted(make_folder, caplog):
    root = bare(make_folder)
    for path in (root / "cat").iterdir():
        path.write_bytes((root / "cat/000.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        load(root)
    assert "2 of 4 test images are in the training split too" in caplog.text


def test_names_say_where_an_image_lies(make_folder):
    names = ImageFolder(listed(make_folder)).list_split("train").names
    assert {name.split("/")[0] for name in names} == set(CLASSES)
    assert all(name.split("/")[1] == "all" for name in names)
