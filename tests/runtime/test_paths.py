"""Paths as users write them."""

from pathlib import Path

import pytest

from augmax_jax.runtime import extras, paths


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


@pytest.mark.parametrize("given", [Path("gs://bucket/run"), "gs:/bucket"])
def test_a_bucket_is_known_without_its_second_slash(given):
    with pytest.raises(ValueError, match="is not a path on this machine"):
        paths.expand(given)


def test_a_home_that_nobody_knows_is_refused(monkeypatch):
    monkeypatch.setattr(paths.os.path, "expanduser", lambda path: path)
    with pytest.raises(ValueError, match="home directory, which is not set"):
        paths.expand("~/run")
    assert paths.expand("~x") == Path("~x")


@pytest.mark.parametrize("name", ["run", "a b", "é", "a,b;c", "new\nline", "e\u0301", "-x"])
def test_directories_that_hold_checkpoints(tmp_path, name):
    paths.check_output(tmp_path / "new" / name, "--workdir")
    assert not list(tmp_path.iterdir())  # nothing is left behind


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run [1]", r"--workdir '.*run \[1\]' holds \[ \], and checkpoints"),
        ("run*", r"holds \*"),
        ("run?", r"holds \?"),
        ("back\\slash", r"holds \\"),
        ("gs:/bucket", "bucket's address"),
        ("caf\udce9", "is not UTF-8"),
        ("n" * 256, r"cannot be made or written \(File name too long\)"),
        ("/".join(["n" * 250] * 17), "a path of [0-9]+ bytes: choose a shorter one"),
        ("file", "cannot be made or written"),
        ("file/run", r"cannot be made or written \(Not a directory\)"),
    ],
)
def test_directories_that_do_not(tmp_path, name, message):
    (tmp_path / "file").write_text("kept")
    with pytest.raises((ValueError, OSError), match=message) as caught:
        paths.check_output(tmp_path / name, "--workdir")
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_of_the_system_is_not_written():
    with pytest.raises(OSError, match="--workdir /proc/nope/run cannot be made or written"):
        paths.check_output("/proc/nope/run", "--workdir")


@pytest.mark.parametrize("missing", ["google.cloud.storage", "gcsfs"])
def test_without_a_client_the_extra_is_named(monkeypatch, missing):
    def find(name):
        return None if name == missing else object()

    monkeypatch.setattr(extras.importlib.util, "find_spec", find)
    with pytest.raises(extras.MissingExtraError, match=rf"{missing} is not .* 'augmax-jax\[gcs\]'"):
        paths.expand_workdir("gs://bucket/run")
