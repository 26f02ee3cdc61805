"""`evaluate_model`: any predictor, whatever it is written in; bad input is refused in time."""

import functools
import json
import logging
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import augmax_jax
from augmax_jax import corruptions, report
from augmax_jax.evaluation import any_network
from augmax_jax.robustness import evaluate_model

COUNT, CLASSES = 20, 4
DOCUMENT = Path(__file__).parents[2] / "docs" / "evaluate_any_network.md"


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def labels(rng):
    labels = rng.integers(0, CLASSES, COUNT)
    labels[:CLASSES] = range(CLASSES)
    return labels


@pytest.fixture
def few(monkeypatch):
    """Keeps the corruptions to one that compiles fast."""
    few = functools.partial(any_network.corrupted, names=("brightness",))
    monkeypatch.setattr(any_network, "corrupted", few)


def in_jax(x):
    mean = x.mean((1, 2)) * 5
    return jnp.concatenate([mean, 5 - mean[:, :1]], axis=1)


def in_numpy(x):
    assert isinstance(x, np.ndarray)
    assert x.dtype == np.float32
    assert 0 <= x.min() <= x.max() <= 1
    mean = x.mean((1, 2)) * 5
    return np.concatenate([mean, 5 - mean[:, :1]], axis=1)


def probabilities(x):
    logits = in_numpy(x)
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(1, keepdims=True)


def in_python(x):
    return in_numpy(np.asarray(x)).tolist()


def rounded(tree):
    """Scores to five digits, without their descriptions."""
    if isinstance(tree, dict):
        return {k: rounded(v) for k, v in tree.items() if k not in ("outputs", "called")}
    return round(tree, 5) if isinstance(tree, float) else tree


@pytest.mark.parametrize("batch_size", [7, 1000])
@pytest.mark.parametrize(
    ("function", "outputs", "called", "found"),
    [
        (in_numpy, "auto", "on the host", "logits"),
        (in_python, "logits", "on the host", "logits"),
        (probabilities, "auto", "on the host", "probabilities"),
        (probabilities, "probabilities", "on the host", "probabilities"),
        (lambda x: np.log(probabilities(x)), "auto", "on the host", "logits"),
        (lambda x: in_numpy(x).astype(np.float64), "auto", "on the host", "logits"),
    ],
)
def test_a_network_is_the_same_whatever_it_is_written_in(
    images, labels, few, function, outputs, called, found, batch_size
):
    expected = evaluate_model(in_jax, images, labels)
    assert (expected["called"], expected["outputs"]) == ("compiled", "logits")
    results = evaluate_model(function, images, labels, outputs=outputs, batch_size=batch_size)
    assert (results["called"], results["outputs"]) == (called, found)
    assert rounded(results) == rounded(expected)


def test_a_network_may_know_more_classes_than_the_labels_show(images, labels, few, tmp_path):
    def more(x):
        return jnp.pad(in_jax(x), ((0, 0), (0, 6)), constant_values=9)  # all images are mistakes

    results = evaluate_model(more, images, labels, directory=tmp_path / "numbers")
    assert results["clean"]["last"]["accuracy"] == 0
    names = [f"class {i}" for i in range(CLASSES + 6)]
    evaluate_model(more, images, labels, class_names=names, directory=tmp_path / "names")
    for name in ("numbers", "names"):
        assert (tmp_path / name / "pictures" / "mistakes_corrupted.png").is_file()


def test_the_report_speaks_of_what_was_given(images, labels, few, tmp_path):
    results = evaluate_model(
        in_numpy, images, labels, name="My <net>", dataset="photos", directory=tmp_path / "a"
    )
    assert json.loads((tmp_path / "a" / "results.json").read_text()) == results
    page = (tmp_path / "a" / "report.html").read_text()
    assert "My &lt;net&gt; on photos" in page
    assert "called from the host" in page
    evaluate_model(in_jax, images, labels, directory=tmp_path / "b")
    unnamed = (tmp_path / "b" / "report.html").read_text()
    assert "the network given on the images given" in unnamed
    for text in (page, unnamed):
        for wrong in ("checkpoint", "clean given", "model, ?", "on ?"):
            assert wrong not in text
    table = report.summary_table(results)
    assert table.startswith("My <net>, photos\n")
    assert "checkpoint" not in table


def test_an_evaluation_goes_on_for_the_same_network_only(images, labels, few, tmp_path, caplog):
    calls = []

    def counted(x):
        calls.extend([len(x)] if isinstance(x, np.ndarray) else [])  # not as it is traced
        return in_numpy(x)

    first = evaluate_model(counted, images, labels, directory=tmp_path)
    assert calls == [COUNT] * 6  # clean, and five severities
    calls.clear()
    assert evaluate_model(counted, images, labels, directory=tmp_path) == first
    assert calls == [COUNT]
    calls.clear()
    with caplog.at_level(logging.INFO, "augmax_jax"):
        other = evaluate_model(lambda x: 2 * counted(x), images, labels, directory=tmp_path)
        assert len(calls) == 6
        assert "logits: " in caplog.text
        evaluate_model(counted, images, labels, directory=tmp_path)
        swapped = evaluate_model(counted, images, (labels + 1) % CLASSES, directory=tmp_path)
        assert "labels: " in caplog.text
    assert other["test_set"] == first["test_set"]
    assert swapped["test_set"]["labels"] != first["test_set"]["labels"]
    assert swapped["test_set"]["images"] == first["test_set"]["images"]


def nothing(x):
    raise AssertionError("the network must not be asked")


UINT8 = np.zeros((3, 16, 16, 3), np.uint8)
LABELS = np.arange(3)


def test_bad_arguments_are_refused_before_the_network_is_asked(tmp_path):
    """tests/bad_inputs has the table of them."""
    for arguments in ({"labels": LABELS[:2]}, {"batch_size": True}, {"baseline": "alexnt"}):
        given = {"labels": LABELS} | arguments
        with pytest.raises(ValueError, match=next(iter(arguments))):
            evaluate_model(nothing, UINT8, given.pop("labels"), directory=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def ones(*shape):
    return lambda x: np.ones(tuple(len(x) if n == "B" else n for n in shape), np.float32)


def fails(x):
    raise RuntimeError("expects 224 pixels" if isinstance(x, np.ndarray) else "a tracer")


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (ones("B"), {}, r"one row of logits per image, \[3, classes\], got shape \[3\].*proba"),
        (lambda x: jnp.ones(len(x)), {}, r"got shape \[3\]"),
        (ones(2, 4), {}, r"got shape \[2, 4\]"),
        (ones("B", 4, 1), {}, r"got shape \[3, 4, 1\]"),
        (lambda x: None, {}, "got no array"),
        (ones("B", 2), {}, "logits of 2 classes, but labels go up to 2"),
        (lambda x: jnp.ones((len(x), 1)), {}, "logits of 1 classes"),
        (lambda x: np.asarray(x)[:, 0, 0].astype(str), {}, "must give numbers"),
        (lambda x: np.asarray(x)[:, 0, 0] + np.nan, {}, "NaN or infinity for 3 of 3 images of the"),
        (lambda x: jnp.ones((len(x), 3)) * jnp.inf, {}, "NaN or infinity for 3 of 3 images"),
        (ones("B", 3), {"outputs": "probabilities"}, "rows that do not sum to 1"),
        (ones("B", 3), {"class_names": ["a", "b"]}, "class_names must be 3.* got 2"),
        (fails, {}, r"fails on a NumPy batch float32 \[3, 16, 16, 3\].*expects 224 pixels"),
    ],
)
def test_what_a_network_gives_is_checked(tmp_path, function, options, said):
    with pytest.raises(ValueError, match=f"(?s){said}"):
        evaluate_model(function, UINT8, LABELS, directory=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_nan_under_a_corruption_is_named(images, labels, few):
    def breaks(x):
        logits = in_numpy(x)
        logits[x.mean((1, 2, 3)) > 0.3] = np.nan
        return logits

    dark = images // 4
    with pytest.raises(ValueError, match=r"for \d+ of 20 images of corrupted brightness \d"):
        evaluate_model(breaks, dark, labels)


def test_the_baseline_of_the_same_images(images, labels, tmp_path):
    table = {str(s): 0.25 for s in range(1, 6)}
    accuracy = {"accuracy": dict.fromkeys(corruptions.BENCHMARK, table)}
    split = any_network.ArraySplit(images, labels.astype(np.int32))
    theirs = any_network.corrupted(split).recipe
    results = {
        "name": "yardstick", "dataset": "", "selected": "last",
        "clean": {"last": {"accuracy": 0.5}}, "benchmarks": {"corrupted": accuracy},
    }  # fmt: skip
    results["benchmarks"]["corrupted"]["set"] = {**theirs, "labels": "others"}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(results))
    with pytest.raises(ValueError, match="another set called 'corrupted': labels differ"):
        evaluate_model(nothing, images, labels, baseline=str(other))


def documented(*needles):
    """The code blocks of the page that hold these words, as one program."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return "\n".join(block for block in blocks if any(needle in block for needle in needles))


def test_the_documented_pytorch_example(images, labels, few):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    torch.manual_seed(0)
    names = {"images": images, "labels": labels, "evaluate_model": evaluate_model}
    exec(documented("import torch"), names)  # the page's own words
    results = names["results"]
    assert results["name"] == "my network"
    assert results["called"] == "on the host"
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255))
    expected = names["module"](pixels).argmax(1).numpy()
    assert results["clean"]["last"]["accuracy"] == np.mean(expected == labels)


def test_the_documented_predict_proba_example(images, labels, few):
    from sklearn.naive_bayes import GaussianNB

    flat = images.reshape(COUNT, -1) / np.float32(255)
    classifier = GaussianNB(var_smoothing=1e-2).fit(flat, labels)
    scope = {"images": images, "labels": labels, "classifier": classifier}
    scope["evaluate_model"] = evaluate_model
    exec(documented("predict_proba"), scope)
    assert scope["results"]["outputs"] == "probabilities"
    assert scope["results"]["clean"]["last"]["accuracy"] == classifier.score(flat, labels)


def test_one_function_under_all_its_names():
    assert augmax_jax.evaluate_model is evaluate_model is any_network.evaluate_model


@pytest.mark.slow
def test_all_corruptions_and_a_report(images, labels, tmp_path):
    images, labels = np.tile(images, (3, 1, 1, 1)), np.tile(labels, 3)  # enough errors for an mCE
    first = evaluate_model(in_jax, images, labels, directory=tmp_path / "first")
    found = first["benchmarks"]["corrupted"]
    assert set(found["accuracy"]) == set(corruptions.BENCHMARK)
    assert 0 <= found["ra"] <= 1
    assert "mce" not in found
    results = evaluate_model(
        in_jax, images, labels, baseline=str(tmp_path / "first"), directory=tmp_path / "second"
    )
    assert results["benchmarks"]["corrupted"]["mce"] == pytest.approx(1)
    assert (tmp_path / "second" / "report.html").stat().st_size > 10_000
    evaluate_model(in_jax, images, labels, baseline="alexnet", constants="imagenet")
