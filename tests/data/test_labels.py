"""Tables of labels beside a folder of images."""

import csv
import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from augmax_jax.config import defaults
from augmax_jax.data.image_folder import ImageFolder
from augmax_jax.training.commands import train_and_evaluate

pytestmark = pytest.mark.usefixtures("speck")

FILES = ("cats/1.png", "cats/2.png", "dogs/1.png", "dogs/2.png", "x y.png", "ü.png")


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder of six images with different pixels and no classes."""
    root = tmp_path / "photos"
    for file in FILES:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def write(root: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = root / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(root: Path, **settings) -> data.Data:
    return data.load({"name": str(root), "image_size": 12, "holdout": 0.0, **settings}, seed=0)


def images_of(split: data.Split, class_names: tuple[str, ...]) -> dict[bytes, str]:
    """The class's name of every image, by its pixels."""
    images, labels = split.arrays()
    return {
        image.tobytes(): class_names[label] for image, label in zip(images, labels, strict=True)
    }


def pixels(root: Path, file: str) -> bytes:
    return np.asarray(Image.open(root / file).convert("RGB")).tobytes()


ROWS = [
    ("cats/1.png", "cat", "train"),
    ("cats/2.png", "cat", "test"),
    ("dogs/1.png", "dog", "train"),
    ("dogs/2.png", "dog", "test"),
    ("x y.png", "a, b", "train"),
    ("ü.png", "a, b", "test"),
]


def table(rows=ROWS, header=("file", "label", "split"), **how) -> str:
    out = io.StringIO()
    csv.writer(out, **how).writerows([header, *rows])
    return out.getvalue()


def backslashes(rows):
    return [(".\\" + file.replace("/", "\\"), *rest) for file, *rest in rows]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", table()),
        ("labels.csv", table(lineterminator="\n", quoting=csv.QUOTE_ALL)),
        ("labels.csv", b"\xef\xbb\xbf" + table().encode()),
        ("labels.csv", table(header=("Path", "CLASS", "Split"))),
        ("labels.csv", table(header=("image", "target", "split"))),
        ("labels.csv", table(header=("filename", "label", "split"), delimiter=";")),
        ("labels.csv", table(delimiter="\t")),
        ("labels.tsv", table(delimiter="\t")),
        ("labels.csv", table(backslashes(ROWS))),
        ("labels.csv", table([("./" + f, f"  {c} ", s.upper()) for f, c, s in ROWS])),
        ("labels.csv", "\n" + table().replace("\r\n", "\r\n\r\n") + ",,\r\n"),
        ("labels.csv", table([("cats/../" + f, c, s) for f, c, s in ROWS])),
        (
            "labels.csv",
            table(
                [(i, s, c, f) for i, (f, c, s) in enumerate(ROWS)], ("", "split", "label", "file")
            ),
        ),
    ],
)
def test_tables_as_people_write_them(photos, name, text):
    write(photos, text, name)
    loaded = load(photos)
    assert loaded.class_names == ("a, b", "cat", "dog")
    for split in ("train", "test"):
        expected = {pixels(photos, f): c for f, c, s in ROWS if s == split}
        assert images_of(getattr(loaded, split), loaded.class_names) == expected
    assert loaded.test_location == f"{photos}, split test of {name}"


def test_a_table_of_another_name_or_place(photos, tmp_path):
    write(photos, table(), "my table.txt")
    write(tmp_path, table(), "elsewhere.csv")
    for labels in ("my table.txt", str(tmp_path / "elsewhere.csv"), "../elsewhere.csv"):
        assert len(load(photos, labels=labels).train) == 3
    with pytest.raises(FileNotFoundError, match=r"labels='lables\.csv': there is no file"):
        load(photos, labels="lables.csv")
    write(photos, table())
    write(photos, table(delimiter="\t"), "labels.tsv")
    with pytest.raises(ValueError, match=r"has 'labels\.csv', 'labels\.tsv': set config\.data\.la"):
        load(photos)
    assert len(load(photos, labels="labels.tsv").test) == 3


def test_full_paths_and_files_elsewhere(photos, tmp_path):
    outside = tmp_path / "more" / "9.png"
    outside.parent.mkdir()
    Image.new("RGB", (12, 12)).save(outside)
    rows = [(photos / f, c, s) for f, c, s in ROWS]
    write(photos, table([*rows, ("../more/9.png", "cat", "train")]))
    assert len(load(photos).train) == 4
    names = ImageFolder(photos).list_split("train").names.tolist()
    assert "cat/cats/1" in names
    assert not [name for name in names if ".." in name or "//" in name]


def test_a_relative_folder_lists_the_same(photos, monkeypatch, caplog):
    write(photos, table(ROWS[:-1]))
    expected = ImageFolder(photos).list_split("train").names.tolist()
    monkeypatch.chdir(photos)
    with caplog.at_level(logging.WARNING):
        assert ImageFolder(".").list_split("train").names.tolist() == expected
    assert "does not list 1 of the images" in caplog.text


def test_names_in_another_unicode_form_are_found(photos):
    write(photos, table([(f.replace("ü", "u\u0308"), c, s) for f, c, s in ROWS]))
    assert len(load(photos).test) == 3


def test_numbers_are_names_in_the_order_of_names(photos, caplog):
    number = {"cat": "10", "dog": "7", "a, b": "007"}
    write(photos, table([(f, number[c], s) for f, c, s in ROWS]))
    with caplog.at_level(logging.INFO):
        loaded = load(photos)
    assert loaded.class_names == ("007", "10", "7")
    assert "the 3 classes, in the order of their names: '007', '10', '7'" in caplog.text
    assert "have the order of names, not of values" in caplog.text


def test_what_can_be_used_is_warned_of(photos, caplog):
    write(photos, table([*ROWS[:-1], ROWS[0], ROWS[0]]))
    with caplog.at_level(logging.WARNING):
        loaded = load(photos)
    assert len(loaded.train) == 3
    assert "2 lines repeat an earlier one: lines 7, 8" in caplog.text
    assert "does not list 1 of the images in" in caplog.text
    assert "such as 'ü.png'" in caplog.text
    assert "no image in split 'test' of 'a, b'" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("cats/9.png", "cat", "train")], r"line 8: there is no file 'cats/9\.png'\.$"),
        ([("1.png", "cat", "train")], r"line 8: .*'1\.png'\. Did you mean 'cats/1\.png'\?"),
        ([("images\\X Y", "cat", "train")], r"line 8: .*Did you mean 'x y\.png'\?"),
        ([("cats", "cat", "train")], "line 8: there is no file 'cats'"),
        ([("", "cat", "train")], "line 8: no file is named"),
        ([("cats/1.png", "dog", "train")], "another label in line 2: 'cat', now 'dog'"),
        ([("./cats/1.png", "cat", "test")], "another split in line 2: 'train', now 'test'"),
        ([("cats/1.png", "", "train")], r"line 8: 'cats/1\.png' has no label"),
        ([("cats/1.png", "cat", "tran")], r"line 8: unknown split 'tran'\. Did you mean 'train'"),
        ([("cats/1.png", "cat", "")], "line 8: unknown split ''.*Available: train, test, val"),
        ([("cats/1.png", "cat")], "line 8: it has 2 fields and the first line 3"),
        ([("cats/1.png", "cat", "train", "x")], "line 8: it has 4 fields and the first line 3"),
        ([("cats/1.png", "..", "train")], r"line 8: '\.\.' cannot be a class"),
        ([("cats/1.png", "c\nat", "train")], r"line 8: 'c\\nat' cannot be a class"),
        (
            [("cats/3.png", "cats", "test")],
            r"line 8: label 'cats' is in split 'test' and not in 'train'.*Did you mean 'cat'\?",
        ),
        (
            [("a.png", "cat", "train"), ("b.png", "cat", "train")],
            r"2 lines cannot be used[^:]*:\n  line 8: [^\n]*\n  line 9: ",
        ),
    ],
)
def test_bad_rows_are_refused_by_file_and_line(photos, rows, message):
    Image.new("RGB", (12, 12)).save(photos / "cats/3.png")
    path = write(photos, table([*ROWS, *rows]))
    with pytest.raises(ValueError, match=message) as caught:
        load(photos)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"has no column for the file; it is empty\. Its first line must name"),
        ("cats/1.png,cat\n", r"no column for the file; it has 'cats/1\.png', 'cat'\. Its first"),
        ("file,split\ncats/1.png,train\n", "no column for the label; it has 'file', 'split'"),
        ("file,label,class\n", "more than one column for the label: 'label', 'class'"),
        (table([]), "has no rows"),
        (table(ROWS[:2]), r"has one label \('cat'\); a classifier needs at least two"),
        ("file,label\nü.png,cat\n".encode("latin-1"), "is not UTF-8"),
        ("file,label\n".encode("utf-16"), "is not UTF-8"),
        (b"file,label\ncats/1.png,c\0at\n", "holds zero bytes"),
        ('file,label\ncats/1.png,cat\ncats/2.png,"cat\n', "line 3: unexpected end of data"),
    ],
)
def test_bad_tables_are_refused(photos, text, message):
    write(photos, text)
    with pytest.raises(ValueError, match=message):
        load(photos)


def test_a_table_for_another_purpose_beside_class_folders(make_folder, caplog):
    root = make_folder({"train": {"n01": 2, "n02": 2}, "test": {"n01": 2, "n02": 2}})
    write(root, "wnid,name\nn01,tench\nn02,goldfish\n")
    with caplog.at_level(logging.WARNING):
        assert load(root).class_names == ("n01", "n02")
    assert "reading class folders: " in caplog.text
    with pytest.raises(ValueError, match="no column for the file"):
        load(root, labels="labels.csv")


def test_a_validation_split_stands_in_for_the_test_split(photos, caplog):
    write(photos, table([(f, c, s.replace("test", "val")) for f, c, s in ROWS]))
    with caplog.at_level(logging.WARNING):
        loaded = load(photos)
    assert "evaluating on 'val'" in caplog.text
    assert loaded.test_location.endswith("split val of labels.csv")
    with pytest.raises(
        FileNotFoundError, match=r"no split 'test' in 'labels\.csv' .it has 'train'"
    ):
        ImageFolder(photos).list_split("test")


@pytest.mark.parametrize("resident", [True, False])
def test_unreadable_images_follow_bad_images(photos, resident):
    (photos / "bad.png").write_bytes(b"none")
    write(photos, table([*ROWS, ("bad.png", "cat", "test")]))
    with pytest.raises(data.BadImageError, match=r"bad\.png"):
        list(load(photos, resident=resident).test.eval_batches(4))
    batches = load(photos, resident=resident, bad_images="skip").test.eval_batches(4)
    assert sum(int(batch["mask"].sum()) for batch in batches) == 3


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_labels_are_for_folders(name):
    with pytest.raises(
        ValueError, match=r"config\.data\.labels='a\.csv' is for a folder of images"
    ):
        data.DataConfig(name=name, labels="a.csv")


def test_a_table_given_as_the_dataset_says_how_to_give_it(photos):
    with pytest.raises(ValueError, match=r"labels\.csv' is a file: give the folder of its images"):
        load(write(photos, table()))


@pytest.mark.parametrize("labels", [3, None, "a\0b"])
def test_labels_must_be_a_path(labels, tmp_path):
    with pytest.raises(ValueError, match=r"config\.data\.labels must"):
        data.DataConfig(name=str(tmp_path), labels=labels)


def test_training_on_a_table(tmp_path, rng):
    """The real command learns three colours, whose order is not that of the rows."""
    colors = {"sky": (40, 60, 220), "leaf": (30, 200, 60), "7": (220, 50, 40)}
    rows = []
    for i in range(10):
        for name, color in colors.items():
            image = np.clip(rng.normal(color, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / f"{i}{name}.png")
            rows.append((f"{i}{name}.png", name))
    write(tmp_path, table(rows, ("file", "label")))
    c = defaults()
    c.method, c.model.name, c.model.norm = "normal", "speck", "bn"
    c.data.name, c.data.image_size, c.data.holdout = str(tmp_path), 16, 0.2
    c.batch_size, c.epochs, c.max_steps, c.num_devices = 12, 10, 10, 1
    c.eval_every_epochs = c.checkpoint.every_epochs = c.pictures_every_epochs = 0.0
    c.eval_batch_size, c.progress, c.tensorboard, c.compilation_cache = 8, False, False, ""
    results = train_and_evaluate(c, tmp_path / "run")
    assert results["clean"]["last"]["accuracy"] == 1.0
    assert results["clean"]["last"]["count"] == 6
    place = f"{tmp_path}, split test of labels.csv, 20% held out, seed 0"
    assert results["test_set"]["place"] == place
    page = (tmp_path / "run/report.html").read_text()
    assert str(tmp_path) in page
