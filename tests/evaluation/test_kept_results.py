"""A kept result belongs to what was evaluated: through the command's own functions."""

import functools
import json
import logging
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from augmax_jax import corruptions, data, models
from augmax_jax.config import defaults
from augmax_jax.corruptions import textures
from augmax_jax.evaluation import benchmarks, corrupted, identity, loop
from augmax_jax.pytorch import importing
from augmax_jax.training.commands import evaluate_workdir

pytestmark = pytest.mark.usefixtures("speck")

SIZE, CLASSES = 8, 10


@pytest.fixture(scope="module")
def variables():
    model = models.create("speck", CLASSES)
    images = np.zeros((1, SIZE, SIZE, 3), np.float32)
    return jax.jit(model.init)(jax.random.key(5), images)


@pytest.fixture
def workdir(tmp_path, variables):
    """A directory with an imported network of random weights."""
    settings = {
        "model": "speck", "num_classes": CLASSES, "norm": "dubin", "options": {},
        "mean": None, "std": None,
    }  # fmt: skip
    importing.save_imported(tmp_path / "run", variables, settings)
    return tmp_path / "run"


@pytest.fixture
def scored(monkeypatch):
    """Names of the parts that were scored since the list was cleared."""
    seen = []

    def predict(*arguments, what, **options):
        seen.append(what)
        return original(*arguments, what=what, **options)

    original = loop.predict
    monkeypatch.setattr(loop, "predict", predict)
    return seen


def config(*names, **changes):
    c = defaults()
    c.data.name, c.data.image_size = "digits", SIZE
    c.model.name = "speck"
    c.batch_size, c.num_devices = 8, 1
    c.select_on = "test"
    c.progress, c.tensorboard = False, False
    c.compilation_cache = ""
    c.allow_config_change = True
    c.evaluate.benchmarks = names
    for name, value in changes.items():
        c.data[name] = value
    return c


def write_set(folder, images, labels):
    """A set of one corruption, the same at each of the five severities."""
    folder.mkdir(parents=True)
    np.save(folder / "brightness.npy", np.concatenate([images] * 5))
    np.save(folder / "labels.npy", np.concatenate([labels] * 5))


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def predicted(images, variables):
    """The classes that the network predicts for the images."""
    logits = models.create("speck", CLASSES).apply(variables, images / np.float32(255), train=False)
    return np.asarray(logits).argmax(-1).astype(np.int64)


def accuracies(results, name):
    return [float(a) for a in results["benchmarks"][str(name)]["accuracy"]["brightness"].values()]


def test_two_sets_of_one_name_have_their_own_results(
    tmp_path, workdir, images, predicted, scored, caplog
):
    x, y = tmp_path / "x" / "Set", tmp_path / "y" / "Set"
    write_set(x, images, predicted)
    write_set(y, images, (predicted + 1) % CLASSES)
    assert accuracies(evaluate_workdir(config(str(x)), workdir), x) == [1.0] * 5
    assert accuracies(evaluate_workdir(config(str(y)), workdir), y) == [0.0] * 5
    scored.clear()
    both = evaluate_workdir(config(str(x), str(y)), workdir)
    assert scored == []  # both are kept
    assert (accuracies(both, x), accuracies(both, y)) == ([1.0] * 5, [0.0] * 5)
    sets = [both["benchmarks"][str(folder)]["set"] for folder in (x, y)]
    assert [s["place"] for s in sets] == [str(x), str(y)]
    assert sets[0]["images"] == sets[1]["images"]
    assert sets[0]["labels"] != sets[1]["labels"]
    assert len(list((workdir / "evaluation").glob("Set-*.csv"))) == 2
    # Where one lies now where the other lay, too.
    shutil.rmtree(x)
    y.rename(x)
    with caplog.at_level(logging.INFO, "augmax_jax"):
        assert accuracies(evaluate_workdir(config(str(x)), workdir), x) == [0.0] * 5
    assert len(scored) == 5
    assert "brightness 1 is not what was evaluated before (labels: " in caplog.text


def test_only_parts_that_changed_are_evaluated_again(tmp_path, workdir, images, predicted, scored):
    folder = tmp_path / "Set"
    write_set(folder, images, predicted)
    evaluate_workdir(config(str(folder)), workdir)
    scored.clear()
    rows = np.load(folder / "brightness.npy")
    rows[2 * 40 : 3 * 40] = 0
    np.save(folder / "brightness.npy", rows)
    found = accuracies(evaluate_workdir(config(str(folder)), workdir), folder)
    assert scored == ["Set brightness 3"]
    assert found[2] < 1
    assert found[:2] + found[3:] == [1.0] * 4


def test_a_set_that_moved_is_evaluated_again(tmp_path, workdir, images, predicted, scored):
    write_set(tmp_path / "old" / "Set", images, predicted)
    evaluate_workdir(config(str(tmp_path / "old" / "Set")), workdir)
    (tmp_path / "old").rename(tmp_path / "new")
    scored.clear()
    evaluate_workdir(config(str(tmp_path / "new" / "Set")), workdir)
    assert len(scored) == 5
    (tmp_path / "link").symlink_to(tmp_path / "new" / "Set")
    scored.clear()
    evaluate_workdir(config(str(tmp_path / "link")), workdir)
    assert scored == []  # another name of the same place


@pytest.fixture
def few(monkeypatch):
    """Keeps the set that is corrupted on the fly to two corruptions, which change nothing.

    Results are kept by the recipe of their set, so its pixels need not be computed.
    """
    monkeypatch.setattr(corruptions, "corrupt", lambda key, images, *_, **__: images)
    few = functools.partial(corrupted.corrupted, names=("frost", "brightness"))
    monkeypatch.setattr(benchmarks, "corrupted", few)


def test_a_corrupted_test_split_is_told_by_all_that_makes_it(
    tmp_path, workdir, scored, caplog, few, rng, monkeypatch
):
    def evaluate(seed=0, constants="cifar", **changes):
        scored.clear()
        caplog.clear()
        c = config("corrupted", **changes)
        c.seed, c.evaluate.constants = seed, constants
        with caplog.at_level(logging.INFO, "augmax_jax.evaluation"):
            return evaluate_workdir(c, workdir)["benchmarks"]["corrupted"]["set"]

    first = evaluate()
    assert len(scored) == 10
    assert evaluate() == first
    assert scored == []
    for change, said in (
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"seed": 1, "constants": "imagenet"}, "constants: cifar -> imagenet"),
    ):
        assert evaluate(**change) != first
        assert len(scored) == 10
        assert said in caplog.text
    # Other pictures of frost.
    pictures = tmp_path / "frost"
    shutil.copytree(textures.folder(), pictures)
    Image.new("RGB", (600, 600), (9, 9, 9)).save(pictures / "frost1.png")
    with monkeypatch.context() as patch:
        patch.setattr(textures, "folder", lambda: pictures)
        evaluate()
    assert len(scored) == 10
    assert "frost pictures: " in caplog.text
    # Another data directory: the same images elsewhere, and others at the same place.
    for name in ("here", "there"):
        for split in ("train", "test"):
            for label in range(CLASSES):
                folder = tmp_path / name / split / str(label)
                folder.mkdir(parents=True)
                picture = np.full((SIZE, SIZE, 3), 20 * label, np.uint8)
                Image.fromarray(picture).save(folder / "0.png")
    whole = {"holdout": 0.0}
    here = evaluate(name=str(tmp_path / "here"), **whole)
    there = evaluate(name=str(tmp_path / "there"), **whole)
    assert len(scored) == 10
    assert here["labels"] == there["labels"]
    assert here["images"] == there["images"]
    assert f"{tmp_path}/here/test -> test split: {tmp_path}/there/test" in caplog.text
    Image.new("RGB", (SIZE, SIZE), (255, 0, 0)).save(tmp_path / "there" / "test" / "0" / "0.png")
    evaluate(name=str(tmp_path / "there"), **whole)
    assert len(scored) == 10
    assert "images: " in caplog.text


def test_other_weights_and_other_networks_are_evaluated_again(
    tmp_path, workdir, images, predicted, scored, variables
):
    folder = tmp_path / "Set"
    write_set(folder, images, predicted)
    evaluate_workdir(config(str(folder)), workdir)
    kept = next((workdir / "evaluation").glob("Set-*.json"))
    network = json.loads(kept.read_text())["network"]
    assert network["network"]["norm"] == "dubin"
    assert network["weights"] == identity.digest(jax.tree.map(np.asarray, dict(variables)))
    scored.clear()
    c = config(str(folder))
    c.dtype = "bfloat16"
    evaluate_workdir(c, workdir)
    assert len(scored) == 5


def test_a_benchmark_that_is_absent_is_no_error(tmp_path, workdir, images, predicted, caplog):
    folder = tmp_path / "Set"
    write_set(folder, images, predicted)
    absent = str(tmp_path / "absent")
    results = evaluate_workdir(config(str(folder), absent), workdir)
    assert list(results["not_measured"]) == [absent]
    assert accuracies(results, folder) == [1.0] * 5
    c = config(str(folder), absent)
    with caplog.at_level(logging.WARNING, "augmax_jax"):
        loaded = data.load({"name": "digits", "image_size": SIZE}, seed=0)
        assert list(benchmarks.missing(c, loaded)) == [absent]
    assert f"benchmark {absent} will not be measured" in caplog.text


def test_digests_tell_arrays_apart(rng):
    a = rng.integers(0, 9, (4, 6))
    same = [a.copy(), np.asfortranarray(a)]
    other = [a + 1, a.reshape(6, 4), a.astype(np.int32), a[:3]]
    assert {identity.digest(x) for x in same} == {identity.digest(a)}
    assert len({identity.digest(x) for x in [a, *other]}) == 5
    assert identity.digest({"a": a, "b": a[0]}) != identity.digest({"b": a, "a": a[0]})
