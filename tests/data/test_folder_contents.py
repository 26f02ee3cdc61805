"""What lies in folders of images is read, or named with a count."""

import logging
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image, features

from augmax_jax import data
from augmax_jax.data import duplicates
from augmax_jax.data.folder import list_classes, list_split

CLASSES = {"cat": 2, "dog": 2}


@pytest.fixture
def folder(make_folder):
    return make_folder({"train": CLASSES, "test": CLASSES})


def load(root, **settings):
    return data.load({"name": str(root), "image_size": 12, "holdout": 0, **settings}, seed=0)


FORMATS = {
    ".jfif": "JPEG", ".jpe": "JPEG", ".JPG": "JPEG", ".avif": "AVIF", ".jp2": "JPEG2000",
    ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP", ".gif": "GIF", ".ppm": "PPM", ".tga": "TGA",
    ".mpo": "MPO", ".apng": "PNG",
}  # fmt: skip
NEEDS = {".avif": "avif", ".jp2": "jpg_2000", ".webp": "webp"}


@pytest.mark.parametrize("extension", FORMATS)
def test_what_pillow_opens_is_read(folder, extension):
    if extension in NEEDS and not features.check(NEEDS[extension]):
        pytest.skip("this Pillow cannot")
    image = Image.new("RGB", (12, 12), (200, 30, 30))
    image.save(folder / f"train/cat/x{extension}", FORMATS[extension])
    images, labels = load(folder).train.arrays()
    assert labels.tolist() == [0, 0, 0, 1, 1]
    assert np.abs(images[2].astype(int) - (200, 30, 30)).max() < 12


@pytest.mark.parametrize(
    ("names", "count", "words"),
    [
        (["a.txt", "b.txt", "c.json"], 4, "3 files were left out: 2 .txt, 1 .json"),
        (["sub/notes.TXT"], 4, "1 file was left out: 1 .txt"),
        (["labels"], 4, "1 file was left out: 1 without extension"),
        (["a.pdf", "b.mpg", "c.eps"], 4, "3 files were left out: 1 .eps, 1 .mpg, 1 .pdf"),
        (["a.jxl"], 4, "pip install pillow-jxl"),
        ([".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", ".x/a.png"], 4, ""),
        (["@eaDir/a.png", "__MACOSX/a.png", ".ipynb_checkpoints/a-checkpoint.png"], 4, ""),
        (["$RECYCLE.BIN/a.png", "System Volume Information/a.png"], 4, ""),
    ],
)
@pytest.mark.parametrize("below", ["", "deeper/"])
def test_what_is_no_image_is_counted(folder, caplog, names, count, words, below):
    for name in names:
        path = folder / "train/cat" / below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        listing = list_split(folder, "train")
    assert len(listing) == count
    assert words in caplog.text
    assert bool(caplog.text) == bool(words)
    assert len(caplog.records) <= 1


@pytest.mark.parametrize(
    "name", [".cache", "@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "#recycle"]
)
@pytest.mark.parametrize("where", ["", "train", "train/cat"])
def test_folders_of_systems_are_passed_over_at_every_level(folder, name, where):
    (folder / where / name).mkdir()
    Image.new("RGB", (12, 12)).save(folder / where / name / "a.png")
    loaded = load(folder)
    assert loaded.class_names == ("cat", "dog")
    assert len(loaded.train) == 4
    with pytest.raises(FileNotFoundError, match=r"it has 'test', 'train'\)"):
        list_split(folder, "val")


def test_a_readme_among_class_folders_is_no_class(folder, caplog):
    (folder / "train/README.txt").write_text("x")
    (folder / "README.md").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert load(folder).class_names == ("cat", "dog")
    assert not caplog.text
    Image.new("RGB", (12, 12)).save(folder / "train/lost.png")
    with caplog.at_level(logging.WARNING):
        assert len(load(folder).train) == 4
    assert "1 image was beside the class folders left out" in caplog.text


def test_links_are_followed(folder, make_folder, tmp_path):
    more = make_folder({"train": {"x": 5}}, name="more")
    (folder / "train/cat/batch2").symlink_to(more / "train/x")
    (folder / "train/cat/linked.png").symlink_to(more / "train/x/000.png")
    (folder / "train/owl").symlink_to(more / "train/x")
    (folder / "test/owl").symlink_to(more / "train/x", target_is_directory=True)
    loaded = load(folder)
    assert loaded.class_names == ("cat", "dog", "owl")
    assert np.bincount(loaded.train.arrays()[1]).tolist() == [8, 2, 5]
    listing = list_split(folder, "train")
    assert listing.names[2] == "cat/batch2/000"
    os.symlink(folder, tmp_path / "link")
    assert len(list_split(tmp_path / "link", "train")) == len(listing)


def test_links_that_lead_back_are_not_followed(folder, caplog):
    (folder / "train/cat/again").symlink_to(folder / "train")
    (folder / "train/cat/itself").symlink_to("itself")
    (folder / "train/dog/up").symlink_to("..")
    with caplog.at_level(logging.WARNING):
        listing = list_split(folder, "train")
    # cat/again/dog is another way to dog; cat/again/cat and dog/up/dog lead back.
    assert len(set(map(os.path.realpath, listing.paths))) == 4
    assert caplog.text.count("leads back to a folder that holds it") >= 2


@pytest.mark.parametrize(
    ("target", "reason"), [("nowhere.png", "No such file"), ("gone.png", "Too many levels")]
)
def test_a_broken_link_is_named(folder, target, reason):
    (folder / "train/cat/gone.png").symlink_to(target)
    with pytest.raises(data.BadImageError, match=rf"cat/gone\.png: {reason}"):
        load(folder)
    assert len(load(folder, bad_images="skip").train) == 4


@pytest.mark.parametrize(
    ("names", "order", "noted"),
    [
        (["0", "1", "2", "10"], ("0", "1", "10", "2"), True),
        (["00", "01", "02", "10"], ("00", "01", "02", "10"), False),
        (["0", "1", "ten"], ("0", "1", "ten"), False),
        (["b", "a"], ("a", "b"), False),
    ],
)
def test_numbered_classes_have_the_order_of_names(make_folder, caplog, names, order, noted):
    root = make_folder({"train": dict.fromkeys(names, 1)})
    with caplog.at_level(logging.WARNING):
        assert list_classes(root / "train").class_names == order
    assert ("whole numbers" in caplog.text) == noted
    assert not noted or "label 2 is class '10', not '2'" in caplog.text


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("train", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("test", [COMPOSED, DECOMPOSED])
def test_class_names_are_compared_in_one_unicode_form(make_folder, train, test):
    root = make_folder({"train": {train: 2, "dog": 1}, "test": {test: 1, "dog": 1}})
    loaded = load(root)
    assert loaded.class_names == (COMPOSED, "dog")
    assert loaded.train.arrays()[1].tolist() == [0, 0, 1]
    assert list_split(root, "train").names.tolist() == [
        f"{COMPOSED}/000", f"{COMPOSED}/001", "dog/000",
    ]  # fmt: skip


def test_two_folders_of_one_name_in_two_forms_are_refused(make_folder):
    root = make_folder({"train": {COMPOSED: 1, DECOMPOSED: 1, "dog": 1}})
    with pytest.raises(ValueError, match=r"two class folders called 'caf.'.*e\\u0301"):
        list_split(root, "train")


@pytest.mark.parametrize(("train", "test"), [("cat", "cat "), ("Cat", "cat"), ("a\tb", "a b")])
def test_names_that_look_alike_are_shown_in_quotes(make_folder, train, test):
    root = make_folder({"train": {train: 1, "dog": 1}, "test": {test: 1, "dog": 1}})
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load(root)
    assert f"Only in training: {train!r}. Only in 'test': {test!r}" in str(caught.value)


def test_messages_show_the_path_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "My_Photos/train/Cat").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"'My_Photos' has no split 'Train'.*My_Photos/tr"):
        load("./My_Photos", train_split="Train")
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="'Train'"):
        load("$MY_DATA/My_Photos", train_split="Train")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="'Train'"):
        load("~/My_Photos", train_split="Train")
    with pytest.raises(ValueError, match="not a path on this machine"):
        load("gs://bucket/My_Photos")


def test_copies_of_training_images_in_the_test_split_are_counted(folder, caplog):
    for name in ("a", "b"):
        (folder / f"test/dog/{name}.png").write_bytes((folder / "train/cat/001.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        load(folder)
    assert "2 of 6 test images are in the training split too" in caplog.text
    assert "cat/001.png" in caplog.text
    train, test = (list_split(folder, split) for split in ("train", "test"))
    assert duplicates.warn(train, test) == 2
    assert duplicates.warn(train, train.take(np.array([0]))) == 1
    (folder / "test/dog/a.png").unlink()
    (folder / "test/dog/b.png").unlink()
    assert duplicates.warn(train, list_split(folder, "test")) == 0


@pytest.mark.parametrize(
    ("classes", "settings", "batch_size", "words"),
    [
        ({"cat": 1, "dog": 1}, {"holdout": 0.1}, None, "set config.data.holdout=0 and config.sel"),
        ({"cat": 3}, {}, None, "has one class ('cat'); a classifier needs at least two"),
        ({"cat": 3, "dog": 3}, {}, 8, "set config.batch_size to at most 6"),
        ({"cat": 3, "dog": 3}, {"holdout": 0.5}, 4, "set config.batch_size to at most 2"),
    ],
)
@pytest.mark.parametrize("resident", [True, False])
def test_too_little_is_refused_before_any_image_is_read(
    make_folder, classes, settings, batch_size, words, resident
):
    root = make_folder({"train": classes, "test": classes})
    for path in root.glob("*/*/*.png"):
        path.write_bytes(b"not read")
    config = {"name": str(root), "image_size": 12, "holdout": 0, "resident": resident, **settings}
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        data.load(config, seed=0, batch_size=batch_size)
    assert words in str(caught.value)


def test_one_image_per_class_is_enough_without_a_holdout(make_folder):
    root = make_folder({"train": {"cat": 1, "dog": 1}, "test": {"cat": 1, "dog": 1}})
    assert len(load(root).train) == 2
