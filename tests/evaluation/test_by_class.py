"""Accuracy by class and confusions against scikit-learn; what an evaluation keeps of them."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from augmax_jax.data.arrays import ArraySplit
from augmax_jax.evaluation import by_class, loop
from augmax_jax.evaluation.any_network import evaluate_model
from augmax_jax.evaluation.corrupted import corrupted

CLASSES = 7


@pytest.fixture
def predicted(rng):
    """Logits and labels; the last class does not occur."""
    return rng.normal(size=(300, CLASSES)), rng.integers(0, CLASSES - 1, 300).astype(np.int32)


def test_accuracies_are_the_recalls_of_scikit_learn(predicted):
    logits, labels = predicted
    counts = by_class.count(logits, labels)
    found = by_class.accuracies(counts)
    expected = recall_score(
        labels, logits.argmax(-1), labels=range(CLASSES - 1), average=None, zero_division=0
    )
    assert found[:-1] == pytest.approx(expected)
    assert found[-1] is None
    assert sum(counts["count"]) == len(labels)


def test_confusions_are_those_of_scikit_learn(predicted):
    logits, labels = predicted
    kept = json.loads(json.dumps(by_class.confusions(logits, labels)))
    matrix = np.zeros((CLASSES, CLASSES), int)
    for label, row in kept.items():
        for prediction, images in row.items():
            matrix[int(label), int(prediction)] = images
    expected = confusion_matrix(labels, logits.argmax(-1), labels=range(CLASSES))
    np.testing.assert_array_equal(matrix, expected)


def test_of_very_many_classes_the_most_frequent_mistakes_are_kept(rng):
    labels = rng.integers(0, 1000, 5000)
    predictions = np.where(labels < 10, 999, rng.integers(0, 1000, 5000))
    kept = by_class.confusions(np.eye(1000)[predictions], labels)
    assert sum(len(row) for row in kept.values()) == by_class.TOP
    for label in range(10):
        assert kept[str(label)] == {"999": int((labels == label).sum())}


def test_means_over_parts():
    parts = [{"correct": [1, 0], "count": [2, 0]}, {"correct": [4, 1], "count": [4, 4]}]
    assert by_class.mean_accuracies(parts) == [0.75, 0.25]
    assert by_class.mean_accuracies([*parts, None]) is None


def by_brightness(x):
    """A network that tells the brightness of an image, in three classes."""
    brightness = x.mean((1, 2, 3))
    return np.stack([-(np.abs(brightness - centre)) for centre in (0.2, 0.5, 0.8)], -1)


@pytest.fixture
def few(monkeypatch):
    """Three corruptions only, which are quick to make."""
    names = ("brightness", "contrast", "gaussian_noise")
    monkeypatch.setattr(
        "augmax_jax.evaluation.any_network.corrupted",
        lambda *args, **kwargs: corrupted(*args, names=names, **kwargs),
    )
    return names


def test_an_evaluation_keeps_them_and_goes_on_from_older_files(rng, few, tmp_path, monkeypatch):
    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(40) % 3
    names = ["dark", "grey", "bright"]
    parts = {}

    def predict(*arguments, what, **options):
        logits, true = original(*arguments, what=what, **options)
        parts[what] = (logits.argmax(-1), true)
        return logits, true

    original = loop.predict
    monkeypatch.setattr(loop, "predict", predict)
    options = {"class_names": names, "directory": tmp_path, "progress": False}
    results = evaluate_model(by_brightness, images, labels, **options)
    clean = by_brightness(images / np.float32(255)).argmax(-1)
    expected = recall_score(labels, clean, average=None, zero_division=0)
    assert results["clean"]["last"]["by_class"] == pytest.approx(expected)
    assert results["class_names"] == names
    assert len(parts) == 15
    recalls = [recall_score(true, p, average=None, zero_division=0) for p, true in parts.values()]
    found = results["benchmarks"]["corrupted"]["by_class"]
    assert found == pytest.approx(np.mean(recalls, axis=0))

    parts.clear()  # now from the kept file, then from one of an earlier version
    assert evaluate_model(by_brightness, images, labels, **options) == results
    path = tmp_path / "evaluation" / "corrupted.json"
    kept = json.loads(path.read_text())
    del kept["rows"]["contrast"]["3"]["by_class"]
    path.write_text(json.dumps(kept))
    older = evaluate_model(by_brightness, images, labels, **options)
    assert parts == {}
    assert "by_class" not in older["benchmarks"]["corrupted"]
    assert (
        older["benchmarks"]["corrupted"]["accuracy"]
        == results["benchmarks"]["corrupted"]["accuracy"]
    )
    assert "Accuracy by class" in (tmp_path / "report.html").read_text()  # the clean ones


def test_what_part_of_a_set_takes_part_is_kept(rng):
    images = rng.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    whole = corrupted(ArraySplit(images, np.zeros(9, np.int32), seed=0), names=("contrast",))
    part = dataclasses.replace(whole, note="3 of 9 classes take part")
    row = {"accuracy": 0.5, "loss": 1.0, "ece": 0.0, "count": 9}
    rows = {"contrast": {str(s): dict(row) for s in range(1, 6)}}
    assert loop.summarize(rows, part)["note"] == part.note
    assert "note" not in loop.summarize(rows, whole)
    shift = dataclasses.replace(part, kind="shift", corruptions=(), severities=())
    counts = {"correct": [1, 0], "count": [2, 0]}
    found = loop.summarize({"all": {"0": row | {"by_class": counts}}}, shift)
    assert found == {"source": "generated", **row, "note": part.note, "by_class": [0.5, None]}
