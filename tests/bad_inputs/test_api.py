"""Calls of the Python API that must be refused, with a message that names the argument at fault.

One table for all of it; tests/adversary/test_inputs.py has the attacks' own, one by one.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import augmax_jax
from augmax_jax import (
    adversary,
    augment,
    corruptions,
    models,
    objectives,
    torch_export,
    torch_files,
    torch_import,
)
from augmax_jax.adversary import noise_generator
from augmax_jax.augment import operators, standard
from augmax_jax.config import defaults
from augmax_jax.deepaugment import distort, train
from augmax_jax.evaluation import comparison, metrics
from augmax_jax.evaluation.corrupted import corrupted
from augmax_jax.evaluation.spatial import worst_of_maps
from augmax_jax.report import compare, render, summary_table, write
from augmax_jax.runtime import config_file, keys

NAN, INF = float("nan"), float("inf")
KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
IMAGE = IMAGES[0]
FLOATS = IMAGES / np.float32(255)
LABELS = np.array([0, 1, 2, 0])
LOGITS = np.eye(4, 3, dtype=np.float32)
M, W = np.full(4, 0.5, np.float32), np.full((4, 2), 0.5, np.float32)
CHAINS = np.stack([IMAGES, IMAGES], 1)
ERRORS = {name: [0.1, 0.2, 0.3, 0.4, 0.5] for name in corruptions.BENCHMARK}
WEIGHTS = {"weights": (0.5, 0.5), "consistent": (True, True), "consistency_weight": 1.0}


class Bad(NamedTuple):
    """A call, what its message must match, and the kind of error."""

    call: Callable[[], Any]
    message: str
    error: type[Exception] = ValueError


def net(images):
    return images[:, 0, 0, :]


def evaluate(**changes):
    given = {"predictor": net, "images": IMAGES, "labels": LABELS, "progress": False} | changes
    return augmax_jax.evaluate_model(
        given.pop("predictor"), given.pop("images"), given.pop("labels"), **given
    )


def objective(logits=(LOGITS, LOGITS), labels=LABELS, **changes):
    return objectives.objective(list(logits), labels, **(WEIGHTS | changes))


def augmax(key=KEY, logits_fn=net, images=IMAGES, labels=LABELS, **settings):
    return augmax_jax.augmax(key, logits_fn, images, labels, **settings)


def algorithm(m=M, p=W, chains=CHAINS, **settings):
    return adversary.augmax(net, IMAGES, chains, LABELS, m, p, **settings)


def pgd(**settings):
    return adversary.pgd(KEY, net, settings.pop("images", FLOATS), LABELS, **settings)


TINY = models.create("tiny", 3, norm="bn")
GENERATOR = noise_generator.init_generator(KEY)

CALLS = {
    "augment": [
        Bad(lambda: augmax_jax.augmix(0, IMAGES), "key must be a JAX key"),
        Bad(lambda: augmax_jax.augmix("key", IMAGES), "key must be a JAX key .* got 'key'"),
        Bad(lambda: augmax_jax.augmix(jax.random.split(KEY, 3), IMAGES), r"key .*\[4\].*\(3,\)"),
        Bad(lambda: augmax_jax.augmix(KEY, FLOATS), "images must be uint8 .* got float32"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES.tolist()), "images must be uint8 .* got list"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES[:0]), "images .* not empty"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES[..., :1]), "images must be uint8"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, width=0), "width must be at least 1, got 0"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, width=2.0), "width must be a whole number"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, depth=0), "depth must be at least 1"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, severity=NAN), r"severity must be in \[0.1,"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, severity="3"), "severity must be a number"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, operators=()), "operators .* at least one"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, operators=3), "operators must be a sequence"),
        Bad(lambda: augmax_jax.augmix(KEY, IMAGES, operators=["rotat"]), "mean 'rotate'"),
        Bad(lambda: augment.sample_chains(KEY, IMAGES, level_key=3), "key must be a JAX key"),
        Bad(lambda: augment.sample_mixing_weights(KEY, 0, 3), "batch must be at least 1"),
        Bad(lambda: augment.sample_mixing_weights(KEY, 2, 3, alpha=0), "alpha must be above 0"),
        Bad(lambda: augment.mix(IMAGES.tolist(), CHAINS, M, W), "images must be .* got list"),
        Bad(lambda: augment.mix(FLOATS * 255, CHAINS, M, W), r"images must be in \[0, 1\]"),
        Bad(lambda: augment.mix(FLOATS * NAN, CHAINS, M, W), "images holds NaN"),
        Bad(lambda: augment.mix(IMAGES, CHAINS[:1], M, W), "chains must be versions of the images"),
        Bad(lambda: augment.mix(IMAGES, CHAINS[:, :0], M, W[:, :0]), "chains must be .* not empty"),
        Bad(lambda: augment.mix(IMAGES, IMAGES, M, W), r"chains must be \[B, K, H, W, 3\]"),
        Bad(lambda: augment.mix(IMAGES, CHAINS, M * 4, W), r"m must be in \[0, 1\], got 2"),
        Bad(lambda: augment.mix(IMAGES, CHAINS, M[:1], W), r"m must be float \[4\]"),
        Bad(lambda: augment.mix(IMAGES, CHAINS, M, W * NAN), "w holds NaN"),
        Bad(lambda: augment.mix(IMAGES, CHAINS, M, W / 2), "each row of w must sum to 1"),
        Bad(lambda: augment.to_float(FLOATS), "images must be uint8, got float32"),
        Bad(lambda: standard.flip_and_crop(KEY, IMAGES, padding=-1), "padding must be at least 0"),
        Bad(lambda: standard.flip_and_crop(KEY, IMAGES, flip=1), "flip must be True or False"),
        Bad(lambda: operators.rotate(IMAGE, NAN), "degrees must be a finite number, got nan"),
        Bad(lambda: operators.shear_x(IMAGE, "a"), "shear must be a number, got 'a'"),
        Bad(lambda: operators.translate_y(IMAGE, INF), "pixels must be a finite number"),
        Bad(lambda: operators.posterize(IMAGE, 9), r"bits must be in \[1, 8\], got 9"),
        Bad(lambda: operators.solarize(IMAGE, None), "threshold must be a number"),
        Bad(lambda: operators.color(IMAGE, NAN), "factor must be a finite number"),
        Bad(lambda: operators.equalize(IMAGES), "image must be uint8"),
        Bad(lambda: keys.step_key("0", 0), "seed must be a whole number"),
        Bad(lambda: keys.step_key(0, -1), "step must be at least 0"),
    ],
    "adversary": [
        Bad(lambda: augmax(key=1), "key must be a JAX key"),
        Bad(lambda: augmax(logits_fn=LOGITS), "logits_fn must be a function"),
        Bad(lambda: augmax(labels=LABELS - 1), "labels must be classes from 0 on, got -1"),
        Bad(lambda: augmax(labels=LABELS + 0.5), "labels must be int"),
        Bad(lambda: augmax(labels=[[0], [1, 2]]), "labels must be"),
        Bad(lambda: augmax(steps=1.5), "steps must be a whole number .* got 1.5"),
        Bad(lambda: augmax(step_size=NAN), "step_size must be .* got nan"),
        Bad(lambda: augmax(patience=0), "patience must be at least 1"),
        Bad(lambda: augmax(early_stop="samples"), "Did you mean 'sample'"),
        Bad(lambda: augmax(count_initial="no"), "count_initial must be True or False"),
        Bad(lambda: algorithm(m=M + 1), r"m must be in \[0, 1\]"),
        Bad(lambda: algorithm(m=M * NAN), "m holds NaN"),
        Bad(lambda: algorithm(p=W[:, 0]), r"p must be float \[4, 2\]"),
        Bad(lambda: algorithm(p=W * INF), "p holds NaN or infinity"),
        Bad(lambda: algorithm(chains=IMAGES), "chains must be uint8"),
        Bad(lambda: algorithm(targets=LABELS[:2]), "targets must be int"),
        Bad(lambda: algorithm(compact=-1), "compact must be"),
        Bad(lambda: pgd(images=FLOATS * 255), r"images must be in \[0, 1\]"),
        Bad(lambda: pgd(images=FLOATS * NAN), "images holds NaN"),
        Bad(lambda: pgd(eps=8), r"eps must be in \[0, 1\], got 8"),
        Bad(lambda: pgd(budget=-1), "budget must be at least 0"),
        Bad(lambda: pgd(jitter=NAN), "jitter must be"),
        Bad(lambda: adversary.stadv(net, FLOATS, LABELS, max_flow=-1), "max_flow must be at least"),
        Bad(lambda: adversary.warp(FLOATS, np.zeros((4, 8, 8))), "flow must be float"),
        Bad(lambda: adversary.warp(IMAGES, np.zeros((4, 8, 8, 2))), "images must be float"),
        Bad(lambda: adversary.flow_smoothness(IMAGES), "flow must be float"),
        Bad(lambda: adversary.worst_of_k(KEY, net, 3, LABELS), "draw must be a function, got int"),
        Bad(lambda: adversary.worst_of_k(KEY, net, net, LABELS, k=0), "k must be at least 1"),
        Bad(lambda: adversary.worst_of_k_spatial(KEY, net, IMAGES, LABELS, k=1.5), "k must be a"),
        Bad(
            lambda: adversary.worst_of_k_spatial(KEY, net, IMAGES, LABELS, max_degrees=-1), "max_d"
        ),
        Bad(
            lambda: adversary.worst_of_k_spatial(KEY, net, IMAGES, LABELS, max_pixels=NAN), "max_p"
        ),
        Bad(lambda: adversary.stadv(net, FLOATS, LABELS, smoothness=-1), "smoothness must be at"),
        Bad(lambda: adversary.stadv(net, FLOATS, LABELS, step_size=-1), "step_size must be at"),
        Bad(lambda: adversary.random_targets(KEY, LABELS, 1), "num_classes must be at least 2"),
        Bad(lambda: adversary.random_targets(KEY, LABELS, 2), "labels must be below the 2 classes"),
        Bad(lambda: adversary.random_start(KEY, 4, 0), "width must be at least 1"),
        Bad(lambda: noise_generator.init_generator(KEY, kernel=2), "kernel must be 1 or 3, got 2"),
        Bad(lambda: noise_generator.draw_noise(KEY, GENERATOR, (4, 8, 8)), "shape must be"),
        Bad(lambda: noise_generator.draw_noise(KEY, GENERATOR, (4, 0, 8, 3)), "H of shape"),
        Bad(lambda: noise_generator.apply_generator(GENERATOR, FLOATS[..., :1]), "noise must be"),
        Bad(lambda: noise_generator.add_noise(FLOATS, FLOATS, -1), "norm must be above 0"),
        Bad(lambda: noise_generator.add_noise(FLOATS, FLOATS[..., :1], 1.0), "images' shape"),
        Bad(lambda: noise_generator.add_noise(FLOATS[0], FLOATS, 1.0), "images must be"),
        Bad(lambda: noise_generator.init_history(GENERATOR, 0), "size must be at least 1"),
        Bad(lambda: noise_generator.recall(KEY, GENERATOR, 0), "count must be at least 1"),
    ],
    "objectives": [
        Bad(lambda: objectives.cross_entropy(LOGITS[:1], LABELS), r"labels must be int \[1\]"),
        Bad(lambda: objectives.cross_entropy(LOGITS, LABELS - 1), "labels must be classes from 0"),
        Bad(lambda: objectives.cross_entropy(LOGITS, LABELS + 1), "below the 3 classes, got 3"),
        Bad(lambda: objectives.cross_entropy(LOGITS, LABELS + 0.5), "labels must be int"),
        Bad(lambda: objectives.cross_entropy(LOGITS * NAN, LABELS), "logits have no highest value"),
        Bad(lambda: objectives.cross_entropy(FLOATS, LABELS), "logits must be float"),
        Bad(lambda: objectives.cross_entropy(LOGITS.astype(int), LABELS), "logits must be float"),
        Bad(lambda: objectives.jensen_shannon([LOGITS]), "at least 2 predictions, got 1"),
        Bad(lambda: objectives.jensen_shannon(jnp.stack([LOGITS] * 2)), "must be a list of logits"),
        Bad(lambda: objectives.jensen_shannon([LOGITS, LOGITS[:1]]), "must have one shape"),
        Bad(lambda: objectives.jensen_shannon([LOGITS, LOGITS * NAN]), r"predictions\[1\] have no"),
        Bad(lambda: objective(weights=(0.5,)), "one entry for each of the 2 views"),
        Bad(lambda: objective(weights=(0.5, NAN)), r"weights\[1\] must be"),
        Bad(lambda: objective(consistent=(1, True)), r"consistent\[0\] must be True or False"),
        Bad(lambda: objective(consistency_weight=-1), "consistency_weight must be at least 0"),
        Bad(lambda: objective(logits=(LOGITS[:1], LOGITS[:1])), r"labels must be int \[1\]"),
    ],
    "corruptions": [
        Bad(lambda: corruptions.corrupt(KEY, IMAGES, "fogg", 1), "mean 'fog'"),
        Bad(lambda: corruptions.corrupt(KEY, IMAGES, 3, 1), "unknown corruption 3"),
        Bad(lambda: corruptions.corrupt(KEY, IMAGES, "fog", 6), r"severity must be in \[1, 5\]"),
        Bad(lambda: corruptions.corrupt(KEY, IMAGES, "fog", True), "severity must be a whole"),
        Bad(lambda: corruptions.corrupt(KEY, FLOATS, "fog", 1), "images must be uint8"),
        Bad(lambda: corruptions.corrupt(KEY, IMAGES[:0], "fog", 1), "images .* not empty"),
        Bad(lambda: corruptions.corrupt("k", IMAGES, "fog", 1), "key must be a JAX key"),
        Bad(lambda: corruptions.corrupt(KEY, IMAGES, "fog", 1, benchmark="x"), "unknown benchmark"),
        Bad(lambda: corruptions.benchmark_key(0.5, "fog", 1), "seed must be a whole number"),
        Bad(lambda: corruptions.benchmark_key(0, "fog", 0), r"severity must be in \[1, 5\]"),
    ],
    "models": [
        Bad(lambda: models.create("wrn40-2", 10), "Did you mean 'wrn40_2'"),
        Bad(lambda: models.create("tiny", 0), "num_classes must be at least 1"),
        Bad(lambda: models.create("tiny", 3, norm="dubi"), "Did you mean 'dubin'"),
        Bad(lambda: models.create("tiny", 3, remat=1), "remat must be True or False"),
        Bad(lambda: models.create("tiny", 3, axis_name=1), "axis_name must be the name"),
        Bad(lambda: models.create("tiny", 3, mean="000", std=(1, 1, 1)), "mean must be three num"),
        Bad(lambda: models.create("tiny", 3, mean=(0, 0, 0), std=(1, 0, 1)), "std must be pos"),
        Bad(lambda: models.create("tiny", 3, mean=(0, 0, 0)), "mean and std go together"),
        Bad(lambda: models.create("tiny", 3, dtype="int8"), "dtype must be float32 or bfloat16"),
        Bad(lambda: models.create("wrn40_2", 3, depth=11), r"depth must be 6 n \+ 4"),
        Bad(lambda: models.usual_image_size("tiny", stem_stride=3), "stem_stride must be in"),
        Bad(lambda: TINY.init(KEY, IMAGES), "divide uint8 images by 255"),
        Bad(lambda: TINY.init(KEY, FLOATS[0]), r"x must be float \[B, H, W, 3\]"),
        Bad(lambda: TINY.init(KEY, FLOATS, route="cleen"), "Did you mean 'clean'"),
        Bad(lambda: models.BatchNorm().init(KEY, FLOATS[0]), r"x must be float \[B, H, W, C\]"),
        Bad(lambda: models.IBN().init(KEY, FLOATS[..., :1]), "half of the channels"),
        Bad(lambda: models.BatchNorm().init(KEY, FLOATS, train="yes"), "train must be True or"),
        Bad(lambda: models.single_route(3), "variables must be a network's"),
        Bad(lambda: models.single_route({"params": {}, "batch_stats": {}}), "two routes"),
        Bad(lambda: models.both_routes({}), "variables must be a network's"),
    ],
    "metrics": [
        Bad(lambda: metrics.accuracy(LOGITS * NAN, LABELS), "logits have no highest value"),
        Bad(lambda: metrics.accuracy(LOGITS, LABELS + 0.5), "labels must be int"),
        Bad(lambda: metrics.accuracy(LOGITS, LABELS - 1), "labels must be classes from 0 on"),
        Bad(lambda: metrics.accuracy(jnp.asarray(LOGITS), LABELS + 1), "below the 3 classes"),
        Bad(lambda: metrics.accuracy(LOGITS[:1], LABELS), r"labels must be int \[1\]"),
        Bad(lambda: metrics.accuracy(LOGITS[:0], LABELS[:0]), "logits must be float"),
        Bad(lambda: metrics.accuracy(LOGITS[0], LABELS), "logits must be float"),
        Bad(lambda: metrics.expected_calibration_error(LOGITS, LABELS, bins=0), "bins must be"),
        Bad(lambda: metrics.tally(LOGITS, LABELS, np.ones(3, bool)), r"mask must be bool \[4\]"),
        Bad(lambda: metrics.expected_calibration_error(LOGITS, LABELS, bins=1.5), "bins must be"),
        Bad(lambda: metrics.restrict_classes(LOGITS, [0.5]), "classes must be indices"),
        Bad(lambda: metrics.restrict_classes(LOGITS, [3]), r"classes must be indices in \[0, 3\)"),
        Bad(lambda: metrics.robust_accuracy([0.1]), "errors must map corruptions to errors"),
        Bad(lambda: metrics.robust_accuracy({}), "errors lack gaussian_noise"),
        Bad(lambda: metrics.robust_accuracy(ERRORS, []), "corruptions must be names"),
        Bad(lambda: metrics.robust_accuracy(ERRORS | {"fog": "abcde"}), "errors of 'fog' must be"),
        Bad(lambda: metrics.robust_accuracy(ERRORS | {"fog": [2] * 5}), "must be fractions"),
        Bad(lambda: metrics.mean_corruption_error(ERRORS, "alexnt"), "Did you mean 'alexnet'"),
        Bad(lambda: metrics.summarize(ERRORS, clean_error=NAN), r"clean_error must be in \[0, 1\]"),
    ],
    "evaluation": [
        Bad(lambda: evaluate(predictor=3), "predictor must be a function of images, got int"),
        Bad(lambda: evaluate(predictor=lambda x: x), "one row of logits per image"),
        Bad(lambda: evaluate(predictor=lambda x: net(x)[:1]), "one row of logits per image"),
        Bad(lambda: evaluate(predictor=lambda x: net(np.array(x)) * NAN), "NaN or infinity for 4"),
        Bad(lambda: evaluate(predictor=lambda x: net(x)[:, :2]), "labels go up to 2"),
        Bad(lambda: evaluate(images=FLOATS), "images must be uint8"),
        Bad(lambda: evaluate(images=IMAGES[..., :1]), "images must be uint8"),
        Bad(lambda: evaluate(images=IMAGES[0]), "images must be uint8"),
        Bad(lambda: evaluate(images=IMAGES[:0], labels=LABELS[:0]), "at least one"),
        Bad(lambda: evaluate(images=IMAGES[:, :4]), "each side at least 8"),
        Bad(lambda: evaluate(images=IMAGES.transpose(0, 3, 1, 2)), "move the channels last"),
        Bad(lambda: evaluate(labels=LABELS + 0.5), "labels must be whole numbers"),
        Bad(lambda: evaluate(labels=np.array(list("abca"))), "labels must be whole numbers"),
        Bad(lambda: evaluate(labels=LABELS - 1), "labels must be at least 0, got -1"),
        Bad(lambda: evaluate(labels=LABELS[:1]), "one per image"),
        Bad(lambda: evaluate(class_names=["a"]), "class_names must be 3, one for each"),
        Bad(lambda: evaluate(class_names="abc"), "class_names must be a list of 3 names"),
        Bad(lambda: evaluate(class_names=["a", "b", 3]), "class_names must be texts, got 3"),
        Bad(lambda: evaluate(batch_size=0), "batch_size must be at least 1"),
        Bad(lambda: evaluate(batch_size=1.5), "batch_size must be a whole number"),
        Bad(lambda: evaluate(seed=-1), "seed must be at least 0"),
        Bad(lambda: evaluate(outputs="logit"), "Did you mean 'logits'"),
        Bad(lambda: evaluate(constants="cifar10"), "Did you mean 'cifar'"),
        Bad(lambda: evaluate(name=3), "name must be a text"),
        Bad(lambda: evaluate(progress="no"), "progress must be True or False"),
        Bad(lambda: evaluate(baseline="alexnt"), "Did you mean 'alexnet'"),
        Bad(lambda: evaluate(baseline="alexnet"), "severities of 'imagenet'"),
        Bad(lambda: evaluate(baseline="./none.json"), "is not there", FileNotFoundError),
        Bad(lambda: evaluate(directory=__file__), "is a file", NotADirectoryError),
        Bad(lambda: evaluate(directory=__file__ + "/out"), "is a file", NotADirectoryError),
        Bad(lambda: evaluate(directory=3), "a path must be a text, got 3"),
        Bad(lambda: evaluate(directory="gs://bucket/x"), "is not a path on this machine"),
        Bad(lambda: corrupted(None, constants="x"), "unknown constants"),  # type: ignore[arg-type]
        Bad(lambda: worst_of_maps(None, k=0), "k must be at least 1"),  # type: ignore[arg-type]
        Bad(lambda: comparison.read("runs/none"), "is not there", FileNotFoundError),
    ],
    "runs": [
        Bad(lambda: augmax_jax.load(3), "a path must be a text, got 3"),
        Bad(lambda: augmax_jax.load("no/run"), "there is no directory", FileNotFoundError),
        Bad(lambda: augmax_jax.load("no/run", checkpoint="bset"), "Did you mean 'best'"),
        Bad(lambda: augmax_jax.load("s3://bucket/run"), "is not a path on this machine"),
        Bad(lambda: render("no/run"), "is not a directory"),
        Bad(lambda: write(__file__), "is not a directory"),
        Bad(lambda: compare([]), "at least one"),
        Bad(lambda: compare("runs/a"), "runs must be a list of directories"),
        Bad(lambda: summary_table([1]), "results must be those of a results.json, got list"),
        Bad(lambda: augmax_jax.train_and_evaluate({}, "out"), "config must be the ConfigDict"),
        Bad(lambda: augmax_jax.train_and_evaluate(defaults(), 3), "a path must be a text, got 3"),
        Bad(lambda: augmax_jax.train_and_evaluate(defaults(), __file__), "--workdir", OSError),
        Bad(lambda: augmax_jax.evaluate_workdir(None, "out"), "config must be the ConfigDict"),
        Bad(lambda: torch_files.read_state_dict(3), "a path must be a text, got 3"),
        Bad(lambda: torch_import.from_state_dict([1], "tiny", num_classes=3), "must map names to"),
        Bad(lambda: torch_import.from_state_dict({"w": 3}, "tiny", num_classes=3), "no tensors"),
        Bad(lambda: torch_import.from_state_dict({}, "tny", num_classes=3), "mean 'tiny'"),
        Bad(lambda: torch_export.write_state_dict("a.npz", {"w": 3}), "names to NumPy arrays"),
        Bad(lambda: torch_export.write_state_dict("a.txt", {"w": M}), "unknown suffix of --out"),
        Bad(lambda: config_file.load("digit"), "Did you mean 'digits'"),
    ],
    "deepaugment": [
        Bad(lambda: distort("esdr", {}, "digits", "out"), "Did you mean 'edsr'"),
        Bad(lambda: distort("edsr", {}, "digits", "out", limit=1.5), "limit must be a whole"),
        Bad(
            lambda: distort("edsr", {}, "digits", "out", quality=0),
            r"quality must be in \[1,",
        ),
        Bad(lambda: distort("edsr", {}, "digits", "out", shard=(1, 1)), r"shard must be \(i, n\)"),
        Bad(lambda: distort("edsr", {}, "digits", "out", shard=("0", 1)), "shard must be"),
        Bad(lambda: distort("edsr", {}, "digits", "out", limit=-1), "limit must be at least 0"),
        Bad(lambda: distort("edsr", {}, "digits", "out", seed=-1), "seed must be at least 0"),
        Bad(lambda: distort("edsr", {}, "digits", "out", image_format="jpg"), "mean 'jpeg'"),
        Bad(lambda: distort("edsr", {"a": 3}, "digits", "out"), "must be arrays, got a=int"),
        Bad(lambda: distort("edsr", {}, "digits", "out"), "not hold the weights of"),
        Bad(lambda: distort("edsr", "no.pt", "digits", "out"), "no checkpoint", FileNotFoundError),
        Bad(lambda: train("cae", "digits", "out.pt"), "out must end in .npz"),
        Bad(lambda: train("cae", "digits", "o.npz", steps=0), "steps must be at least 1"),
        Bad(lambda: train("cae", "digits", "o.npz", learning_rate=NAN), "learning_rate must be"),
        Bad(lambda: train("cae", "digits", "o.npz", batch_size=2.5), "batch_size must be a whole"),
        Bad(lambda: train("cae", "digits", "o.npz", patch=18), "patch must be a multiple of 4"),
    ],
}
TABLE = [(area, bad) for area, cases in CALLS.items() for bad in cases]


@pytest.mark.parametrize(
    "bad", [bad for _, bad in TABLE], ids=[f"{area}-{bad.message}" for area, bad in TABLE]
)
def test_is_refused_by_name(bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(bad.error) as refusal:
        bad.call()
    # The documented kinds, and not what a library raises below them.
    assert issubclass(type(refusal.value), OSError) or type(refusal.value) is bad.error
    message = str(refusal.value).split("\n-----", 1)[0]
    assert re.search(bad.message, message), message
    assert not list(tmp_path.iterdir())


def test_under_jit_shapes_are_checked_and_values_pass():
    loss = jax.jit(objectives.cross_entropy)
    assert jnp.isfinite(loss(LOGITS, LABELS))
    assert jnp.isnan(loss(LOGITS * NAN, LABELS))
    with pytest.raises(ValueError, match=r"labels must be int \[1\]"):
        loss(LOGITS[:1], LABELS)
    mixed = jax.jit(augment.mix)(IMAGES, CHAINS, M * 4, W)
    assert mixed.shape == IMAGES.shape
