"""`python -m augmax_jax.predict`: tables, files, accuracy, and bad input in one line."""

import csv
import json
import shutil
import subprocess
import sys

import pytest

import augmax_jax
from augmax_jax import predict

from .conftest import CLASSES


def fails(*arguments):
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as stop:
        predict.main([str(argument) for argument in arguments])
    message = stop.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_the_accuracy_is_that_of_the_results(run, photos, tmp_path, checkpoint):
    results = json.loads((run / "results.json").read_text())["clean"][checkpoint]
    out = tmp_path / "found.json"
    arguments = [str(run), str(photos / "test"), "--out", str(out), "--checkpoint", checkpoint]
    predict.main([*arguments, "--batch_size", "4"])
    found = json.loads(out.read_text())
    assert found["accuracy"] == results["accuracy"]
    assert found["labelled"] == len(found["images"]) == results["count"] == 30
    right = [image["label"] == image["predictions"][0]["class"] for image in found["images"]]
    assert sum(right) == round(results["accuracy"] * 30)


def test_a_table_is_printed(run, photos, capsys):
    path = photos / "train" / "ant" / "0.png"
    predict.main([str(run), str(path), str(photos / "test" / "bee"), "--top", "2"])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert len(lines) == 11
    pairs = augmax_jax.load(run).predict(path, top=2)[0]
    for name, probability in pairs:
        assert f"{name} {100 * probability:.1f}%" in lines[0]
    assert lines[0].startswith(str(path))
    assert "11 images" in printed.err
    assert "accuracy" not in printed.err  # bee/ names no classes below it


def test_csv_has_a_column_for_everything(run, photos, tmp_path):
    out = tmp_path / "found.csv"
    predict.main([str(run), str(photos / "test"), "--top", "9", "--out", str(out)])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    assert {row["label"] for row in rows} == set(CLASSES)
    for row in rows:
        assert {row[f"class_{rank}"] for rank in (1, 2, 3)} == set(CLASSES)
        assert sum(float(row[f"probability_{rank}"]) for rank in (1, 2, 3)) == pytest.approx(1)
        assert row["image"].split("/")[-2] == row["label"]
    predict.main([str(run), rows[0]["image"], "--format", "csv", "--out", str(tmp_path / "one")])
    assert (tmp_path / "one").read_text().splitlines()[0].startswith("image,class_1,probability_1")


def test_unreadable_images_are_named_and_counted(run, photos, tmp_path, capsys):
    folder = tmp_path / "mixed"
    shutil.copytree(photos / "test", folder)
    (folder / "bee" / "broken.png").write_bytes((folder / "bee" / "0.png").read_bytes()[:60])
    (folder / "cat" / "text.jpg").write_text("no image")
    (folder / "notes.txt").write_text("left out")
    out = tmp_path / "found.json"
    message = fails(run, folder, "--out", out, "--batch_size", 5)
    assert "2 of 32 images cannot be used (--bad_images skip leaves them out)" in message
    assert "broken.png" in message
    assert "text.jpg: no image" in message
    assert not out.exists()
    capsys.readouterr()
    predict.main([str(run), str(folder), "--out", str(out), "--bad_images", "skip"])
    printed = capsys.readouterr().err
    assert "skipped 2 of 32 images" in printed
    assert "text.jpg" in printed
    assert "1 file was left out: 1 .txt" in printed
    found = json.loads(out.read_text())
    results = json.loads((run / "results.json").read_text())
    assert len(found["images"]) == 30
    assert len(found["unreadable"]) == 2
    assert found["accuracy"] == results["clean"]["best"]["accuracy"]
    only = fails(run, folder / "cat" / "text.jpg", "--bad_images", "skip")
    assert "1 of 1 images cannot be used: " in only


def test_classes_without_names_give_no_accuracy(run, photos, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "model.json").unlink()
    numbered = tmp_path / "numbered"
    shutil.copytree(photos / "test" / "ant", numbered / "1")
    predict.main([str(tmp_path / "old"), str(numbered), "--format", "json"])
    printed = capsys.readouterr()
    assert "they are numbers" in printed.err
    assert json.loads(printed.out)["accuracy"] is None


def test_a_flat_validation_split_has_labels_too(run, photos, tmp_path):
    """Tiny ImageNet's own layout: images/* and a table."""
    images = tmp_path / "val" / "images"
    images.mkdir(parents=True)
    rows = []
    for name in CLASSES:
        for path in sorted((photos / "test" / name).iterdir()):
            shutil.copy(path, images / f"{name}_{path.name}")
            rows.append(f"{name}_{path.name}\t{name}\t0\t0\t9\t9\n")
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(rows))
    out = tmp_path / "found.json"
    predict.main([str(run), str(tmp_path / "val"), "--out", str(out)])
    results = json.loads((run / "results.json").read_text())
    assert json.loads(out.read_text())["accuracy"] == results["clean"]["best"]["accuracy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}", "{image}"], "holds neither an imported model (model.json) nor a run"),
        (["{empty}/no", "{image}"], "there is no directory"),
        (["{run}", "{empty}"], "holds no image; extensions that are read: "),
        (["{run}", "{empty}/no.png"], "there is no image or folder"),
        (["{run}", "{run}/config.json"], "config.json: no image"),
        (["{run}", "{image}", "--format", "jsn"], "unknown format 'jsn'. Did you mean 'json'?"),
        (["{run}", "{image}", "--out", "{empty}"], "is a directory: name a file"),
        (["{run}", "{image}", "--out", "{empty}/a.xlsx"], "unknown suffix of --out '.xlsx'"),
        (["{run}", "{image}", "--out", "{empty}/a/b.csv"], "cannot be written (No such file"),
        (["{run}", "{image}", "--top", "0"], "--top must be at least 1, got 0"),
        (["{run}", "{image}", "--batch_size", "0"], "--batch_size must be at least 1"),
        (["{run}", "{image}", "--bad_images", "skp"], "Did you mean 'skip'?"),
        (["{run}", "{image}", "--checkpoint", "lats"], "Did you mean 'last'?"),
    ],
)
def test_bad_input_ends_in_one_line(run, photos, tmp_path, arguments, message):
    names = {"run": run, "image": photos / "test" / "ant" / "0.png", "empty": tmp_path / "empty"}
    names["empty"].mkdir()
    assert message in fails(*(argument.format(**names) for argument in arguments))
    assert not list(names["empty"].iterdir())


def test_a_disk_that_is_full_leaves_nothing(run, photos, tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("augmax_jax.runtime.files.write_text", full)
    image = photos / "test" / "ant" / "0.png"
    message = fails(run, image, "--out", tmp_path / "found.csv")
    assert "found.csv cannot be written (No space left on device): choose another" in message
    assert not list(tmp_path.iterdir())


def test_the_command_needs_no_tensorflow(run, photos, tmp_path):
    code = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'tensorflow_datasets', 'clu', 'tensorboard'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = ['predict', *sys.argv[1:]]\n"
        "runpy.run_module('augmax_jax.predict', run_name='__main__')\n"
    )
    out = tmp_path / "found.json"
    command = [sys.executable, "-c", code, str(run), str(photos / "test"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((run / "results.json").read_text())["clean"]["best"]
    assert json.loads(out.read_text())["accuracy"] == results["accuracy"]
    assert f"accuracy: {100 * results['accuracy']:.2f}%" in done.stderr
    assert done.stdout == ""
    missing = subprocess.run(
        [sys.executable, "-m", "augmax_jax.predict", tmp_path, out],
        capture_output=True,
        check=False,
    )
    assert missing.returncode == 1
