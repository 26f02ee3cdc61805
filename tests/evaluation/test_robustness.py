"""Benchmarks scored exactly: known logits in, hand-computed numbers out."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax import adversary, corruptions
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.evaluation import corrupted as generated
from augmax_jax.evaluation import metrics, robustness
from augmax_jax.evaluation import predictions as predict
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.runtime import files

COUNT, CLASSES = 53, 4


@pytest.fixture
def split(rng):
    images = rng.integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)
    return ArraySplit(images, rng.integers(0, CLASSES, COUNT).astype(np.int32), seed=0)


def brightness_score(images):
    """A network that says by mean brightness; anything but constant."""
    mean = images.astype(np.float32).mean((1, 2))
    return np.concatenate([mean, 255 - mean[:, :1]], axis=1) / 50


@pytest.mark.parametrize("batch_size", [7, 16, 53, 1000])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_every_example_counts_once(split, batch_size, devices):
    seen = []

    def score(images):
        assert len(images) % devices == 0
        return brightness_score(images)

    logits, labels = predict.predict(
        score, split, batch_size, devices=devices, observe=lambda b, _: seen.append(b["mask"].sum())
    )
    np.testing.assert_array_equal(logits, brightness_score(split.arrays()[0]))
    np.testing.assert_array_equal(labels, split.arrays()[1])
    assert sum(seen) == COUNT
    found = predict.scores(logits, labels)
    assert found["accuracy"] == np.mean(logits.argmax(-1) == labels)
    assert found["count"] == COUNT


def test_corruption_of_a_split_does_not_depend_on_the_batch_size(split):
    def images(batch_size):
        part = generated.corrupted(split).load("gaussian_noise", 3)
        batches = list(part.eval_batches(batch_size))
        return np.concatenate([b["image"][b["mask"]] for b in batches])

    np.testing.assert_array_equal(images(10), images(53))
    assert (images(53) != split.arrays()[0]).any()


def counting(score):
    calls = []

    def counted(images):
        calls.append(1)
        return score(images)

    return counted, calls


def test_an_evaluation_resumes_where_it_was(split, tmp_path):
    names = ("brightness", "contrast")
    benchmark = generated.corrupted(split, names=names)
    path = tmp_path / "evaluation" / "corrupted.json"
    score, calls = counting(brightness_score)

    def broken(images):
        if len(calls) == 7:
            raise RuntimeError("power cut")
        return score(images)

    with pytest.raises(RuntimeError, match="power cut"):
        robustness.evaluate_benchmark(
            broken, benchmark, batch_size=99, store=robustness.Store(path, {"w": 1})
        )
    assert len(calls) == 7
    rows = robustness.evaluate_benchmark(
        score, benchmark, batch_size=99, store=robustness.Store(path, {"w": 1})
    )
    assert len(calls) == 10
    fresh = robustness.evaluate_benchmark(brightness_score, benchmark, batch_size=99)
    assert rows == fresh
    assert json.loads(path.read_text())["rows"] == fresh
    lines = path.with_suffix(".csv").read_text().splitlines()
    assert lines[0] == "corruption,severity,accuracy,loss,ece,count"
    assert len(lines) == 1 + 2 * 5
    # Other weights are other results.
    assert robustness.Store(path, {"w": 2}).rows == {}


def test_spatial_robustness_is_the_worst_of_k(split):
    images, labels = split.arrays()
    found = robustness.evaluate_spatial(brightness_score, split, batch_size=20, k=4)
    key = jax.random.key(0)

    def logits_fn(x):
        mean = 255 * x.mean((1, 2))
        return jnp.concatenate([mean, 255 - mean[:, :1]], axis=1) / 50

    whole = adversary.worst_of_k_spatial(key, logits_fn, images, labels, k=4)
    assert found["accuracy"] == np.mean(whole.logits.argmax(-1) == labels)
    np.testing.assert_allclose(found["loss"], whole.loss.mean(), rtol=1e-4)
    once = robustness.evaluate_spatial(brightness_score, split, batch_size=20, k=1)
    assert found["accuracy"] <= once["accuracy"]


def test_summary_holds_what_the_metrics_find(split):
    benchmark = generated.corrupted(split)
    rng = np.random.default_rng(1)
    rows = {
        c: {
            str(s): {"accuracy": rng.random(), "loss": rng.random(), "ece": rng.random()}
            for s in range(1, 6)
        }
        for c in corruptions.BENCHMARK
    }
    baseline = metrics.BASELINES["alexnet"]
    out = robustness.summarize(rows, benchmark, clean_accuracy=0.9, baseline=baseline)
    table = np.array([[rows[c][str(s)]["accuracy"] for s in range(1, 6)] for c in rows])
    np.testing.assert_allclose(out["ra"], table.mean())
    anchors = [metrics.ALEXNET_ERRORS[c] for c in rows]
    np.testing.assert_allclose(out["mce"], np.mean((1 - table).mean(1) / anchors))
    np.testing.assert_allclose(
        out["mean_ece"], np.mean([[row["ece"] for row in by.values()] for by in rows.values()])
    )
    assert "relative_mce" in out
    unharmed = metrics.Baseline("easy", dict.fromkeys(corruptions.BENCHMARK, 0.1), 0.1)
    easy = robustness.summarize(rows, benchmark, clean_accuracy=0.9, baseline=unharmed)
    assert easy["mce"] > 0
    assert "relative_mce" not in easy
    part = generated.corrupted(split, names=("fog",))
    assert "ra" not in robustness.summarize({"fog": rows["fog"]}, part)


def _run_results(path, *, start=0.5, clean=0.8, method="normal"):
    """Writes results with accuracies of `start` + 0.01 to 0.05 on every corruption."""
    by_severity = {str(s): start + s / 100 for s in range(1, 6)}
    accuracy = dict.fromkeys(corruptions.BENCHMARK, by_severity)
    results = {
        "method": method,
        "selected": "best",
        "clean": {"best": {"accuracy": clean}},
        "benchmarks": {"corrupted": {"accuracy": accuracy}},
    }
    files.write_json(path, results)
    return results


def test_baseline_of_several_runs(tmp_path):
    paths = [tmp_path / f"{i}.json" for i in range(3)]
    _run_results(paths[0])
    _run_results(paths[1], start=0.2, clean=0.5)
    perfect = _run_results(paths[2], clean=1.0)
    perfect["benchmarks"]["corrupted"]["accuracy"] = {
        c: {str(s): 1.0 for s in range(1, 6)} for c in corruptions.BENCHMARK
    }
    files.write_json(paths[2], perfect)
    baseline = robustness.read_baseline(", ".join(map(str, paths)))
    assert baseline.name == "normal"
    assert baseline.clean_error == pytest.approx((0.2 + 0.5 + 0) / 3)
    assert baseline.mean_error("fog") == pytest.approx((0.47 + 0.77 + 0) / 3)
    with pytest.raises(ValueError, match=r"error of baseline 'normal' .* got 0"):
        robustness.read_baseline(str(paths[2]))


def test_baseline_from_another_run(tmp_path):
    path = tmp_path / "results.json"
    _run_results(path)
    baseline = robustness.read_baseline(str(path))
    assert baseline.clean_error == pytest.approx(0.2)
    assert baseline.mean_error("fog") == pytest.approx(0.47)
    assert robustness.read_baseline("") is None
    assert robustness.read_baseline("alexnet").name == "alexnet"
    with pytest.raises(ValueError, match="Did you mean 'alexnet'"):
        robustness.read_baseline("alexnt")
    with pytest.raises(ValueError, match="is not there"):
        robustness.read_baseline(str(tmp_path / "other.json"))
    files.write_json(path, {"benchmarks": {}})
    with pytest.raises(ValueError, match="no benchmark with all 15"):
        robustness.read_baseline(str(path))


def test_gallery_keeps_samples_and_the_surest_mistakes(split, tmp_path):
    benchmark = generated.corrupted(split, names=("brightness", "contrast"))
    gallery = Gallery([str(i) for i in range(CLASSES)], mistakes=5)
    robustness.evaluate_benchmark(brightness_score, benchmark, batch_size=20, gallery=gallery)
    gallery.write(tmp_path, benchmark)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "corruptions_corrupted.png",
        "mistakes_corrupted.png",
    ]
    kept = sorted(entry[0] for entry in gallery._mistakes)
    assert len(kept) == 5
    everything = []
    for name in benchmark.corruptions:
        for severity in benchmark.severities:
            part = benchmark.load(name, severity)
            logits, labels = predict.predict(brightness_score, part, 20)
            confidence = np.asarray(jax.nn.softmax(logits)).max(-1)
            everything.extend(confidence[logits.argmax(-1) != labels])
    assert kept[-1] == pytest.approx(max(everything), rel=1e-5)


@pytest.mark.slow
def test_any_network_gets_the_same_report(split, tmp_path):
    images, labels = split.arrays()

    def logits_fn(x):
        mean = x.mean((1, 2)) * 5
        return jnp.concatenate([mean, 5 - mean[:, :1]], axis=1)

    results = robustness.evaluate_model(
        logits_fn, images, labels, baseline="alexnet", directory=tmp_path
    )
    found = results["benchmarks"]["corrupted"]
    assert set(found["accuracy"]) == set(corruptions.BENCHMARK)
    assert 0 <= found["ra"] <= 1
    assert found["mce"] > 0
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "results.json").read_text()) == results
