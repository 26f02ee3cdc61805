"""Baselines: read from runs or published, and refused for other benchmarks and data sets."""

import json
import logging
import re

import pytest

from augmax_jax import corruptions
from augmax_jax.evaluation import comparison, metrics
from augmax_jax.evaluation.comparison import Target


def table(start):
    """Accuracies of `start` + 0.01 to 0.05 on every corruption."""
    by_severity = {str(s): start + s / 100 for s in range(1, 6)}
    return {"accuracy": dict.fromkeys(corruptions.BENCHMARK, by_severity)}


def write(path, *, start=0.5, clean=0.8, **changes):
    results = {
        "method": "normal",
        "dataset": "digits",
        "selected": "best",
        "clean": {"best": {"accuracy": clean}},
        "benchmarks": {"corrupted": table(start)},
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results))
    return str(path)


CORRUPTED = Target("corrupted", "cifar", "digits")


def test_the_errors_of_several_runs_are_averaged(tmp_path):
    paths = [
        write(tmp_path / "0.json"),
        write(tmp_path / "1.json", start=0.2, clean=0.5),
        write(tmp_path / "2.json", start=0.3, clean=1.0),
    ]
    baseline = comparison.read(", ".join(paths)).fit(CORRUPTED)
    assert baseline.name == "normal"
    assert baseline.clean_error == pytest.approx((0.2 + 0.5 + 0) / 3)
    assert baseline.mean_error("fog") == pytest.approx((0.47 + 0.77 + 0.67) / 3)


def test_a_run_is_named_by_its_results_or_its_directory(tmp_path, caplog):
    path = write(tmp_path / "run" / "results.json")
    expected = comparison.read(path).fit(CORRUPTED)
    assert expected.clean_error == pytest.approx(0.2)
    assert expected.mean_error("fog") == pytest.approx(0.47)
    with caplog.at_level(logging.INFO, "augmax_jax"):
        assert comparison.read(str(tmp_path / "run")).fit(CORRUPTED) == expected
    assert "is a directory: its results.json is read" in caplog.text
    assert comparison.read("") is None


def test_the_benchmark_of_the_same_name_counts(tmp_path):
    path = write(
        tmp_path / "results.json", benchmarks={"cifar10_c": table(0.5), "corrupted": table(0.25)}
    )
    reference = comparison.read(path)
    assert reference.fit(CORRUPTED).mean_error("fog") == pytest.approx(0.72)
    assert reference.fit(Target("cifar10_c", "cifar")).mean_error("fog") == pytest.approx(0.47)
    with pytest.raises(ValueError, match="no errors on 'imagenet_c', but on cifar10_c, corrupted"):
        reference.fit(Target("imagenet_c", "imagenet", "digits"))
    folder = write(tmp_path / "folder.json", benchmarks={"sets/photos-C": table(0.4)})
    assert comparison.read(folder).fit(Target("/data/sets/photos-C", "", "digits"))


@pytest.mark.parametrize(
    ("theirs", "ours", "said"),
    [
        ({"labels": "a"}, {"labels": "b"}, "labels differ"),
        ({"constants": "cifar"}, {"constants": "imagenet"}, "constants differ"),
        ({"count": 5, "labels": "a"}, {"count": 6, "labels": "b"}, "count and labels differ"),
        ({"size": [8, 8], "images": "a"}, {"size": [8, 8], "images": "b"}, "images differ"),
        ({"size": [8, 8], "images": "a"}, {"size": [16, 16], "images": "b"}, ""),
        ({}, {"labels": "b"}, ""),
        ({"seed": 1, "labels": "a"}, {"seed": 2, "labels": "a"}, ""),
    ],
)
def test_another_set_of_the_same_name_is_refused(tmp_path, theirs, ours, said):
    path = write(tmp_path / "r.json", benchmarks={"corrupted": table(0.5) | {"set": theirs}})
    target = Target("corrupted", "cifar", "digits", ours)
    if not said:
        assert comparison.read(path).fit(target)
        return
    with pytest.raises(ValueError, match=said):
        comparison.read(path).fit(target)


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (359, "errs on only 54 of 1,795 images under gaussian_noise"),
        (1000, ""),
        (None, ""),
    ],
)
def test_a_baseline_that_hardly_errs_gives_no_mce(tmp_path, count, reason):
    paths = [write(tmp_path / f"{i}.json", start=start) for i, start in enumerate((0.93, 0.95))]
    identity = {} if count is None else {"count": count}
    baseline, beside = comparison.read(",".join(paths)).against(
        Target("corrupted", "cifar", "digits", identity)
    )
    reference = beside.pop("reference")
    assert reference["name"] == "normal"
    assert reference["sa"] == pytest.approx([0.8, 0.8])
    assert reference["ra"] == pytest.approx([0.96, 0.98])
    if count:
        assert reference["ra_interval"] == pytest.approx(metrics.interval(0.97, count))
    if reason:
        assert baseline is None
        assert reason in beside["no_mce"]
    else:
        assert baseline.mean_error("fog") == pytest.approx(0.03)
        assert beside == {}


def test_a_published_baseline_stands_alone():
    reference = comparison.read("alexnet")
    baseline, beside = reference.against(Target("imagenet_c", "imagenet", "", {"count": 9}))
    assert (baseline.name, beside) == ("alexnet", {})
    baseline, beside = reference.against(Target("cifar10_c", "cifar"))
    assert baseline is None
    assert "severities of 'imagenet'" in beside["no_mce"]


def test_another_data_set_is_refused(tmp_path):
    reference = comparison.read(write(tmp_path / "r.json"))
    with pytest.raises(ValueError, match="are those on 'digits', not on 'photos'"):
        reference.fit(Target("corrupted", "cifar", "photos"))
    moved = comparison.read(write(tmp_path / "r.json", dataset="/old/place/photos"))
    assert moved.fit(Target("corrupted", "cifar", "/new/photos"))


@pytest.mark.parametrize(
    ("name", "constants", "fits"),
    [
        ("alexnet", "imagenet", True),
        ("alexnet", "cifar", False),
        ("alexnet", "", False),
        ("tiny_imagenet_resnet18", "tiny_imagenet", True),
        ("tiny_imagenet_resnet18", "imagenet", False),
    ],
)
def test_published_errors_belong_to_their_severities(name, constants, fits):
    reference = comparison.read(name)
    if fits:
        assert reference.fit(Target("any", constants, "photos")).name == name
        return
    with pytest.raises(ValueError, match=f"errors of '{name}' .* of 'any' are"):
        reference.fit(Target("any", constants))


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("alexnt", ValueError, "Did you mean 'alexnet'"),
        ("alexnet,tiny_imagenet_resnet18", ValueError, "unknown baseline 'alexnet'"),
        ("{0}/other.json", FileNotFoundError, "is not there"),
        ("{0}/empty", FileNotFoundError, "directory without results.json"),
        ("{0}/none.json", ValueError, "no benchmark with all 15"),
        ("{0}/list.json", ValueError, "no benchmark with all 15"),
        ("{0}/half.json", ValueError, "is damaged"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, error, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.json").write_text('{"benchmarks": {}}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "half.json").write_text('{"benchmarks": ')
    with pytest.raises(error, match=said):
        comparison.read(name.format(tmp_path))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (dict.fromkeys("12345", 1.0), "got 0"),
        (dict.fromkeys("12345", float("nan")), "must be fractions"),
        (dict.fromkeys("12345", 1.5), "must be fractions"),
        (dict.fromkeys("1234", 0.5), "each of the five severities"),
        (dict.fromkeys("12345", "much"), "each of the five severities"),
        (dict.fromkeys("12345"), "each of the five severities"),
    ],
)
def test_errors_that_are_no_fractions_are_refused(tmp_path, row, said):
    accuracy = table(0.5)["accuracy"] | {"fog": row}
    path = write(tmp_path / "r.json", benchmarks={"corrupted": {"accuracy": accuracy}})
    with pytest.raises(ValueError, match=re.escape(said)):
        comparison.read(path).fit(CORRUPTED)
