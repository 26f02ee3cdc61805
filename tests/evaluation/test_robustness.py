"""Benchmarks scored exactly: known logits in, hand-computed numbers out."""

import base64
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import log_softmax

from augmax_jax import adversary, corruptions
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.evaluation import baselines, loop
from augmax_jax.evaluation import corrupted as generated
from augmax_jax.evaluation import predictions as predict
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.evaluation.spatial import worst_of_maps
from augmax_jax.evaluation.store import Store

COUNT, CLASSES = 53, 4


@pytest.fixture
def split(rng):
    images = rng.integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)
    return ArraySplit(images, rng.integers(0, CLASSES, COUNT).astype(np.int32), seed=0)


def brightness_score(images):
    """A network whose logits depend on the mean brightness, so that they differ."""
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

    def store(weights=1):
        return Store(path, network={"weights": weights}, benchmark=benchmark)

    score, calls = counting(brightness_score)

    def broken(images):
        if len(calls) == 7:
            raise RuntimeError("power cut")
        return score(images)

    with pytest.raises(RuntimeError, match="power cut"):
        loop.evaluate_benchmark(broken, benchmark, batch_size=99, store=store())
    assert len(calls) == 7
    rows = loop.evaluate_benchmark(score, benchmark, batch_size=99, store=store())
    assert len(calls) == 10
    fresh = loop.evaluate_benchmark(brightness_score, benchmark, batch_size=99)
    assert rows == fresh
    assert json.loads(path.read_text())["rows"] == fresh
    lines = path.with_suffix(".csv").read_text().splitlines()
    assert lines[0] == "corruption,severity,accuracy,loss,ece,count"
    assert len(lines) == 1 + 2 * 5
    # Other weights are other results.
    assert store(weights=2).rows == {}


def test_spatial_robustness_is_the_worst_of_k(split):
    images, labels = split.arrays()

    def worst(k):
        rows = loop.evaluate_benchmark(brightness_score, worst_of_maps(split, k=k), batch_size=20)
        assert list(rows["map"]) == [str(i + 1) for i in range(k)]
        return rows["all"]["0"]

    found = worst(4)

    def logits_fn(x):
        mean = 255 * x.mean((1, 2))
        return jnp.concatenate([mean, 255 - mean[:, :1]], axis=1) / 50

    whole = adversary.worst_of_k_spatial(jax.random.key(0), logits_fn, images, labels, k=4)
    assert found["accuracy"] == np.mean(whole.logits.argmax(-1) == labels)
    np.testing.assert_allclose(found["loss"], whole.loss.mean(), rtol=1e-4)
    # Not only close: the scores are those of the logits under the worst maps.
    tried = [
        predict.predict(brightness_score, worst_of_maps(split, k=4).load("map", i), 20)[0]
        for i in (1, 2, 3, 4)
    ]
    likelihood = [log_softmax(t, axis=-1)[np.arange(COUNT), labels] for t in tried]
    chosen = np.stack(tried)[np.argmin(likelihood, axis=0), np.arange(COUNT)]
    assert found == predict.scores(chosen, labels)
    assert found["accuracy"] <= worst(1)["accuracy"]


@pytest.mark.parametrize("damage", ["none", "lost", "damaged", "another's"])
def test_the_spatial_attack_resumes_map_by_map(split, tmp_path, damage):
    benchmark = worst_of_maps(split, k=5)
    path = tmp_path / "spatial.json"
    score, calls = counting(brightness_score)

    def broken(images):
        if len(calls) == 3:
            raise RuntimeError("power cut")
        return score(images)

    def evaluate(score, weights=1):
        store = Store(path, network={"weights": weights}, benchmark=benchmark)
        return loop.evaluate_benchmark(score, benchmark, batch_size=99, store=store)

    with pytest.raises(RuntimeError, match="power cut"):
        evaluate(broken)
    if damage == "lost":
        path.with_suffix(".npz").unlink()
    elif damage == "damaged":
        path.with_suffix(".npz").write_bytes(b"PK not much")
    elif damage == "another's":
        kept = path.read_text()
        evaluate(lambda images: 1 - brightness_score(images), weights=2)
        path.write_text(kept)  # as if that one had stopped before it wrote its first part
    rows = evaluate(score)
    assert len(calls) == (5 if damage == "none" else 3 + 5)
    assert rows == loop.evaluate_benchmark(brightness_score, benchmark, batch_size=99)
    assert evaluate(score) == rows
    assert len(calls) == (5 if damage == "none" else 3 + 5)


def test_images_without_a_prediction_are_named(split):
    def broken(images):
        logits = np.array(brightness_score(images))
        logits[:3] = np.nan
        return logits

    with pytest.raises(ValueError, match="NaN or infinity for 3 of 53 images of brightness 2"):
        predict.predict(broken, split, 99, what="brightness 2")
    gallery = Gallery([str(i) for i in range(CLASSES)])
    benchmark = generated.corrupted(split, names=("brightness",))
    with pytest.raises(ValueError, match="of corrupted brightness 1"):
        loop.evaluate_benchmark(broken, benchmark, batch_size=99, gallery=gallery)


def test_summary_holds_what_the_metrics_find(split):
    benchmark = generated.corrupted(split)
    rng = np.random.default_rng(1)
    rows = {
        c: {
            str(s): {"accuracy": rng.random(), "loss": rng.random(), "ece": rng.random()}
            | {"count": 53}
            for s in range(1, 6)
        }
        for c in corruptions.BENCHMARK
    }
    baseline = baselines.BASELINES["alexnet"]
    out = loop.summarize(rows, benchmark, clean_accuracy=0.9, baseline=baseline)
    table = np.array([[rows[c][str(s)]["accuracy"] for s in range(1, 6)] for c in rows])
    np.testing.assert_allclose(out["ra"], table.mean())
    anchors = [baselines.ALEXNET_ERRORS[c] for c in rows]
    np.testing.assert_allclose(out["mce"], np.mean((1 - table).mean(1) / anchors))
    np.testing.assert_allclose(
        out["mean_ece"], np.mean([[row["ece"] for row in by.values()] for by in rows.values()])
    )
    assert "relative_mce" in out
    unharmed = baselines.Baseline("easy", dict.fromkeys(corruptions.BENCHMARK, 0.1), 0.1)
    easy = loop.summarize(rows, benchmark, clean_accuracy=0.9, baseline=unharmed)
    assert easy["mce"] > 0
    assert "relative_mce" not in easy
    part = generated.corrupted(split, names=("fog",))
    assert "ra" not in loop.summarize({"fog": rows["fog"]}, part)


def test_gallery_keeps_samples_and_the_surest_mistakes(split, tmp_path):
    benchmark = generated.corrupted(split, names=("brightness", "contrast"))
    gallery = Gallery([str(i) for i in range(CLASSES)], mistakes=5)
    loop.evaluate_benchmark(brightness_score, benchmark, batch_size=20, gallery=gallery)
    gallery.write(tmp_path, "corrupted", benchmark)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "corruptions_corrupted.png",
        "mistakes_corrupted.json",
        "mistakes_corrupted.png",
    ]
    Gallery.clear(tmp_path, "other")
    assert len(list(tmp_path.iterdir())) == 3
    entries = json.loads((tmp_path / "mistakes_corrupted.json").read_text())
    Gallery.clear(tmp_path, "corrupted")
    assert list(tmp_path.iterdir()) == []

    surest = 0.0
    of_entry = {}
    for name in benchmark.corruptions:
        for severity in benchmark.severities:
            part = benchmark.load(name, severity)
            images = np.concatenate([b["image"][b["mask"]] for b in part.eval_batches(20)])
            logits, labels = predict.predict(brightness_score, part, 20)
            confidence = np.asarray(jax.nn.softmax(logits)).max(-1)
            for i in np.flatnonzero(logits.argmax(-1) != labels):
                surest = max(surest, float(confidence[i]))
                key = f"{name} {severity}", images[i].tobytes()
                of_entry[key] = int(i), str(labels[i]), str(logits[i].argmax()), confidence[i]
    found = []
    for entry in entries:
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["image"]))))
        place, label, prediction, sure = of_entry[entry["where"], image.tobytes()]
        assert (entry["label"], entry["prediction"]) == (label, prediction)
        assert entry["confidence"] == pytest.approx(sure, rel=1e-5)
        found.append(place)
    assert len(found) == len(set(found)) == 5  # each image once
    assert entries[0]["confidence"] == pytest.approx(surest, rel=1e-5)
