"""Paths as users write them."""

from pathlib import Path

import pytest

from augmax_jax.runtime import paths


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("~/run", "/home/ann/run"),
        ("$DATA/cifar", "/data/cifar"),
        ("${DATA}/cifar", "/data/cifar"),
        ("run", "run"),
        ("./a~b", "a~b"),
        ("/x/$UNKNOWN", "/x/$UNKNOWN"),
        (Path("~/run"), "/home/ann/run"),
    ],
)
def test_home_and_variables_are_replaced(given, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("UNKNOWN", raising=False)
    assert paths.expand(given) == Path(expected)


@pytest.mark.parametrize("given", ["gs://bucket/run", "s3://bucket", "GS://b", "https://host/x"])
def test_a_bucket_is_refused_by_name(given):
    assert paths.is_remote(given)
    with pytest.raises(ValueError, match=r"is not a path on this machine: mount or copy"):
        paths.expand(given)
