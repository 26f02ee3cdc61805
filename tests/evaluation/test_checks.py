"""Settings of the evaluation that cannot be right are refused before any work."""

import json
from pathlib import Path

import pytest

from augmax_jax import corruptions, evaluation
from augmax_jax.config import defaults
from augmax_jax.training.run import build

pytestmark = pytest.mark.usefixtures("speck")


def config(**changes):
    c = defaults()
    c.data.name = "digits"
    c.model.name = "speck"
    with c.unlocked():
        for name, value in changes.items():
            c.evaluate[name] = value
    return c


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with some baselines and sets; the test runs in it."""
    monkeypatch.chdir(tmp_path)
    by_severity = {str(s): 0.5 for s in range(1, 6)}
    table = {"accuracy": dict.fromkeys(corruptions.BENCHMARK, by_severity)}
    results = {
        "dataset": "digits", "selected": "last", "clean": {"last": {"accuracy": 0.9}},
        "benchmarks": {"corrupted": table},
    }  # fmt: skip
    Path("run").mkdir()
    Path("run/results.json").write_text(json.dumps(results))
    Path("photos.json").write_text(json.dumps(results | {"dataset": "photos"}))
    Path("set").mkdir()
    Path("set/corruptions.json").write_text('{"benchmark": "tiny_imagenet"}')
    return tmp_path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"benchmarks": ("corrupted", "spatial")},
        {"benchmarks": ("cifar10_c", "imagenet_v2/topimages")},
        {"benchmarks": ("set", "./not/there", "~/nor/there")},
        {"benchmarks": ("corrupted",), "baseline": "run"},
        {"benchmarks": ("spatial",), "baseline": "alexnet"},
        {"benchmarks": ("spatial", "cifar10_c", "corrupted"), "baseline": "run/results.json"},
        {"benchmarks": ("corrupted",), "constants": "imagenet", "baseline": "alexnet"},
        {"benchmarks": ("imagenet_c",), "baseline": "alexnet"},
        {"benchmarks": ("set",), "baseline": "tiny_imagenet_resnet18"},
        {"benchmarks": (), "baseline": "photos.json"},
        {"data_dir": "set"},
        {"routes": ("clean", "augmented")},
        {"routes": ["augmented"]},
    ],
)
def test_what_may_be_right_is_taken(place, changes):
    evaluation.check(config(**changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"benchmarks": ("corruptd",)}, r"Did you mean 'corrupted'\?.*spatial.*cifar10_c"),
        ({"benchmarks": ("spatal",)}, "Did you mean 'spatial'"),
        ({"benchmarks": ("cifar_10_c",)}, "Did you mean 'cifar10_c'"),
        ({"benchmarks": ("corrupted", "")}, "must be a tuple of names"),
        ({"constants": "imagnet"}, "Did you mean 'imagenet'"),
        ({"checkpoint": "first"}, "Available: best, last"),
        ({"data_dir": "nowhere"}, "'nowhere' is no folder"),
        ({"routes": ()}, "one or more of clean, augmented"),
        ({"routes": ("clean", "clean")}, "each once"),
        ({"routes": ("clean", "augmentd")}, "Did you mean 'augmented'"),
        ({"baseline": "alexnt"}, "Did you mean 'alexnet'"),
        ({"baseline": "nowhere.json"}, "is not there"),
        ({"baseline": "set"}, "directory without results.json"),
        ({"benchmarks": ("corrupted",), "baseline": "alexnet"}, "serves none.*'cifar'"),
        ({"benchmarks": ("cifar10_c",), "baseline": "run"}, "serves none.*but on corrupted"),
        ({"benchmarks": ("corrupted",), "baseline": "photos.json"}, "serves none.*'photos'"),
        ({"benchmarks": ("set",), "baseline": "alexnet"}, "serves none.*'tiny_imagenet'"),
    ],
)
def test_what_cannot_be_right_is_refused_before_the_data_is_read(place, changes, said):
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){said}"):
        evaluation.check(config(**changes))
    c = config(**changes)
    c.data.name = "not-a-dataset"
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){said.split('.*')[0]}"):
        build(c)


def test_a_route_that_is_none_or_that_nobody_trained_is_refused():
    c = config(routes=("clean", "augmented"))
    c.method = "normal"
    with pytest.raises(ValueError, match="'normal' sends no view over augmented"):
        evaluation.check(c)
    c.method, c.model.norm = "augmax", "bn"
    with pytest.raises(ValueError, match=r"config.model.norm='bn' has one for both"):
        evaluation.check(c)
