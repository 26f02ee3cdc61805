"""A loaded network predicts what evaluation measured."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import augmax_jax
from augmax_jax import models
from augmax_jax.data import BadImageError
from augmax_jax.inference import Predictor
from augmax_jax.pytorch import importing
from augmax_jax.training.run import build

from .conftest import CLASSES, picture, toy_config


@pytest.fixture(scope="module")
def network(run):
    return augmax_jax.load(run)


def test_a_photograph_becomes_names_and_probabilities(network, photos):
    path = photos / "test" / "bee" / "0.png"
    (found,) = network.predict(path)
    assert [name for name, _ in found] == [name for name, _ in sorted(found, key=lambda p: -p[1])]
    assert {name for name, _ in found} == set(CLASSES)
    assert sum(p for _, p in found) == pytest.approx(1)
    pixels = np.asarray(Image.open(path))
    for same in (str(path), pixels, pixels[None], Image.open(path)):
        assert network.predict(same, top=1) == [found[:1]]
    both = network.predict([path, pixels], top=2)
    assert len(both) == 2
    for pairs in both:  # rounded otherwise in a batch of two
        assert [name for name, _ in pairs] == [name for name, _ in found[:2]]
        assert dict(pairs) == pytest.approx(dict(found[:2]), abs=1e-5)


def test_logits_are_those_of_the_module_on_the_clean_route(network, run):
    images = network.preprocess([picture(seed, "cat") for seed in range(5)])
    assert (images.shape, images.dtype) == ((5, 16, 16, 3), np.uint8)
    module = models.create("tiny", 3, norm="dubin")
    x = images.astype(np.float32) / np.float32(255)
    expected = module.apply(network.variables, x, route="clean", train=False)
    other = module.apply(network.variables, x, route="augmented", train=False)
    got = network.logits(images)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert abs(np.asarray(other) - got).max() > 1e-3
    # An image's logits do not depend on its batch.
    np.testing.assert_allclose(network.logits(images, batch_size=2), got, atol=1e-6)
    np.testing.assert_allclose(network.logits(images[3:4]), got[3:4], atol=1e-6)
    odds = np.exp(np.asarray(expected, np.float64))
    for row, pairs in zip(odds / odds.sum(-1, keepdims=True), network.rank(got), strict=True):
        assert dict(pairs) == pytest.approx(dict(zip(CLASSES, row, strict=True)), abs=1e-5)


@pytest.mark.parametrize("transform", ["resize", "center_crop"])
def test_preprocessing_is_that_of_the_test_split(network, photos, transform):
    config = toy_config(photos)
    config.data.test_transform = transform
    images, labels = build(config).data.test.arrays()
    loaded = Predictor(
        network.model, network.variables, CLASSES, image_size=16, test_transform=transform
    )
    paths = [p for name in CLASSES for p in sorted((photos / "test" / name).iterdir())]
    np.testing.assert_array_equal(loaded.preprocess(paths), images)
    assert [path.parent.name for path in paths] == [CLASSES[label] for label in labels]


def test_both_checkpoints_are_there(run):
    results = json.loads((run / "results.json").read_text())
    steps = {kind: results["clean"][kind]["step"] for kind in ("best", "last")}
    best, last = (augmax_jax.load(run, checkpoint=kind) for kind in ("best", "last"))
    kernels = [network.variables["params"]["head"]["kernel"] for network in (best, last)]
    assert (steps["best"] == steps["last"]) == bool((kernels[0] == kernels[1]).all())
    with pytest.raises(ValueError, match=r"unknown checkpoint 'lst'. Did you mean 'last'"):
        augmax_jax.load(run, checkpoint="lst")


def test_a_run_without_model_json_is_told_from_its_config(run, network, tmp_path, caplog):
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "model.json").unlink()
    old = augmax_jax.load(tmp_path / "old")
    assert "does not say the names of its classes" in caplog.text
    assert (old.class_names, old.has_names) == (("0", "1", "2"), False)
    assert (old.model, old.image_size, old.resize) == (network.model, 16, 16)
    image = picture(3, "ant")
    named = [(CLASSES[int(number)], p) for number, p in old.predict(image)[0]]
    assert named == network.predict(image)[0]
    kept = json.loads((tmp_path / "old" / "config.json").read_text())
    # Such a run resized its test images before cropping, when there was no setting for it.
    kept["data"]["train_transform"] = "random_resized_crop"
    del kept["data"]["test_transform"]
    (tmp_path / "old" / "config.json").write_text(json.dumps(kept))
    assert augmax_jax.load(tmp_path / "old").resize == round(16 * 256 / 224)


def test_imports_of_both_formats_are_loaded(tmp_path, caplog):
    variables = jax.jit(models.create("tiny", 3, norm="bn").init)(
        jax.random.key(1), np.zeros((1, 16, 16, 3), np.float32)
    )
    old = {
        "model": "tiny", "num_classes": 3, "norm": "bn", "options": {"stem_stride": 2},
        "mean": [0.5] * 3, "std": [0.25] * 3,
    }  # fmt: skip
    importing.save_imported(tmp_path / "old", variables, old)
    path = tmp_path / "old" / "model.json"
    path.write_text(json.dumps({**old, "format": 1}))
    loaded = augmax_jax.load(tmp_path / "old")
    assert (loaded.image_size, loaded.class_names) == (64, ("0", "1", "2"))
    assert "they are given 64 pixels" in caplog.text
    new = {"image_size": 24, "test_transform": "center_crop", "class_names": list(CLASSES)}
    importing.save_imported(tmp_path / "new", variables, old | new)
    caplog.clear()
    loaded = augmax_jax.load(tmp_path / "new")
    assert caplog.text == ""
    assert (loaded.image_size, loaded.resize, loaded.class_names) == (24, 27, CLASSES)
    image = picture(0, "bee")
    x = loaded.preprocess(image).astype(np.float32) / 255
    module = models.create("tiny", 3, norm="bn", mean=(0.5,) * 3, std=(0.25,) * 3, stem_stride=2)
    expected = module.apply(variables, x, route="clean", train=False)
    np.testing.assert_allclose(loaded.logits(loaded.preprocess(image)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((16, 16, 4), np.uint8), r"3 channels, got uint8 \[16, 16, 4\]"),
        (np.zeros((16, 16), np.uint8), r"got uint8 \[16, 16\]"),
        (np.zeros((2, 3, 16, 16), np.uint8), "move the channels last"),
        (np.zeros((16, 16, 3), np.float32), r"0\.\.255 and 3 channels, got float32"),
        (np.zeros((4, 16, 3), np.uint8), "16x4 pixels, each side must have at least 8"),
        (None, "got NoneType"),
        ([], "at least one"),
    ],
)
def test_images_that_are_none_are_refused(network, images, message):
    with pytest.raises(ValueError, match=message):
        network.predict(images)


def test_arguments_are_checked(network, photos, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(BadImageError, match=r"text\.png: no image"):
        network.predict(tmp_path / "text.png")
    with pytest.raises(BadImageError, match="No such file"):
        network.predict(tmp_path / "nothing.png")
    ready = network.preprocess(picture(0, "ant"))
    for wrong in (ready[0], ready.astype(np.float32), ready[:, :8], ready[:0], [ready[0]]):
        with pytest.raises(ValueError, match=r"uint8 \[N, 16, 16, 3\], as preprocess makes them"):
            network.logits(wrong)
    with pytest.raises(ValueError, match="top must be at least 1"):
        network.predict(ready, top=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        network.logits(ready, batch_size=0)
    with pytest.raises(ValueError, match="NaN or infinity for 1 of 2 images"):
        network.rank(np.array([[0, 1, 2], [np.nan, 0, 0]], np.float32))


def test_what_holds_no_network_is_named(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        augmax_jax.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"neither an imported model .* nor a run"):
        augmax_jax.load(tmp_path)
    (tmp_path / "checkpoints" / "latest").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"neither an imported model .* nor a run"):
        augmax_jax.load(tmp_path)
    shutil.copytree(run, tmp_path / "copy")
    card = tmp_path / "copy" / "model.json"
    known = json.loads(card.read_text())
    for text, message in (
        ("{", "is damaged"),
        ("[]", "no JSON object"),
        (json.dumps({**known, "class_names": ["ant"]}), "class_names must be 3 names"),
        (json.dumps({k: v for k, v in known.items() if k != "norm"}), "it lacks norm"),
        (json.dumps({**known, "format": 99}), "format 99"),
        (json.dumps({**known, "num_classes": 2, "class_names": None}), "the checkpoint has 3"),
    ):
        card.write_text(text)
        with pytest.raises(ValueError, match=message):
            augmax_jax.load(tmp_path / "copy")
    card.write_text(json.dumps(known))
    for file in (tmp_path / "copy" / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        augmax_jax.load(tmp_path / "copy")


def test_a_damaged_best_checkpoint_is_named(run, tmp_path, caplog):
    shutil.copytree(run, tmp_path / "copy")
    for file in (tmp_path / "copy" / "checkpoints" / "best").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-20])
    with caplog.at_level("INFO", "augmax_jax"):
        loaded = augmax_jax.load(tmp_path / "copy")
    assert "damaged and passed over" in caplog.text
    last = augmax_jax.load(run, checkpoint="last")
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, last.variables)


def test_nothing_is_written_where_a_network_is_loaded(run):
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    augmax_jax.load(run)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before


BLOCKED = """
import sys
for name in ("tensorflow", "tensorflow_datasets", "clu", "tensorboard"):
    sys.modules[name] = None
"""


def test_a_network_is_loaded_without_tensorflow(run, photos, network):
    path = photos / "test" / "cat" / "1.jpg"
    code = (
        BLOCKED
        + f"""
import augmax_jax
network = augmax_jax.load({str(run)!r})
print(network.predict({str(path)!r})[0][0][0])
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == network.predict(path)[0][0][0]
