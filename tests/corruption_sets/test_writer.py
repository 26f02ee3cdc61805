"""The command that writes a -C benchmark, and the tfds builder."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from augmax_jax import corruption_sets, corruptions
from augmax_jax.corruption_sets import writer as benchmark_writer
from augmax_jax.corruption_sets.command import corruption_names, main
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.evaluation import corrupted as generated

SIZE = 32
COUNTS = {"cat": 5, "dog": 4, "owl": 2}


@pytest.fixture
def folder(tmp_path, natural):
    """An image folder of three classes, stored without loss."""
    images = natural(sum(COUNTS.values()), SIZE, SIZE)
    rows = iter(images)
    for name, count in COUNTS.items():
        (tmp_path / "set" / "test" / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(next(rows)).save(tmp_path / "set" / "test" / name / f"{i}.png")
    return tmp_path / "set", images, np.repeat(np.arange(3), list(COUNTS.values()))


def run(folder, out, *arguments) -> int:
    return main(
        ["--dataset", str(folder), "--out", str(out), "--batch_size", "8", *map(str, arguments)]
    )


def test_npy_layout(folder, tmp_path, capsys):
    root, images, labels = folder
    out = tmp_path / "out"
    assert run(root, out, "--corruptions", "contrast,impulse_noise", "--seed", 3) == 0
    assert f"2 corruptions of {len(images)} images -> {out}\n" in capsys.readouterr().err
    np.testing.assert_array_equal(np.load(out / "labels.npy"), np.tile(labels, 5))
    for name in ("contrast", "impulse_noise"):
        rows = np.load(out / f"{name}.npy")
        assert rows.dtype == np.uint8
        assert rows.shape == (5 * len(images), SIZE, SIZE, 3)
        for severity in (1, 5):
            key = corruptions.benchmark_key(3, name, severity)
            wanted = corruptions.corrupt(key, images, name, severity)
            start = (severity - 1) * len(images)
            np.testing.assert_array_equal(rows[start : start + len(images)], wanted)
    assert sorted(p.name for p in out.iterdir()) == [
        "contrast.npy",
        "corruptions.json",
        "impulse_noise.npy",
        "labels.npy",
    ]


def test_a_written_set_is_what_evaluation_makes_on_the_fly(folder, tmp_path):
    root, images, labels = folder
    out = tmp_path / "out"
    assert run(root, out, "--corruptions", "shot_noise", "--seed", 7) == 0
    split = ArraySplit(images, labels.astype(np.int32), seed=0, process_index=0, process_count=1)
    benchmark = generated.corrupted(split, names=("shot_noise",), seed=7)
    for severity in (1, 4):
        # Another batch size than the command's, and a last batch that is not full.
        batches = benchmark.load("shot_noise", severity).eval_batches(3)
        fly = np.concatenate([batch["image"][batch["mask"]] for batch in batches])
        rows = np.load(out / "shot_noise.npy")[(severity - 1) * len(images) :][: len(images)]
        np.testing.assert_array_equal(fly, rows)


def test_folder_layout(folder, tmp_path):
    root, images, _ = folder
    out = tmp_path / "out"
    arguments = ("--corruptions", "contrast", "--severities", "2,4", "--format", "folder")
    assert run(root, out, *arguments) == 0
    assert json.loads((out / "classes.json").read_text()) == list(COUNTS)
    wanted = np.asarray(
        corruptions.corrupt(corruptions.benchmark_key(0, "contrast", 4), images, "contrast", 4)
    )
    first = 0
    for name, count in COUNTS.items():
        files = sorted((out / "contrast" / "4" / name).iterdir())
        assert [f.name for f in files] == [f"{i:08}.JPEG" for i in range(first, first + count)]
        for file in files:
            difference = np.asarray(Image.open(file)).astype(int) - wanted[int(file.stem)]
            assert np.abs(difference).mean() < 4  # JPEG
        first += count
    assert sorted(p.name for p in (out / "contrast").iterdir()) == ["2", "4"]


def test_an_interrupted_run_goes_on(folder, tmp_path, monkeypatch):
    root, _, _ = folder
    out, whole = tmp_path / "out", tmp_path / "whole"
    names = ["contrast", "brightness", "impulse_noise"]
    assert run(root, whole, "--corruptions", ",".join(names)) == 0

    calls = []
    corrupt = benchmark_writer.corrupt

    def interrupted(key, images, name, severity, **options):
        calls.append(name)
        if calls == ["contrast"] * 10 + ["brightness"] * 3:
            raise KeyboardInterrupt
        return corrupt(key, images, name, severity, **options)

    monkeypatch.setattr(benchmark_writer, "corrupt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(root, out, "--corruptions", ",".join(names))
    assert (out / "contrast.npy").exists()
    assert not (out / "brightness.npy").exists()
    before = (out / "contrast.npy").stat().st_mtime_ns

    calls.clear()
    assert run(root, out, "--corruptions", ",".join(names)) == 0
    assert "contrast" not in calls
    assert (out / "contrast.npy").stat().st_mtime_ns == before
    for name in [*names, "labels"]:
        assert (out / f"{name}.npy").read_bytes() == (whole / f"{name}.npy").read_bytes()
    assert not list(out.glob(".*"))


def test_an_interrupted_folder_goes_on(folder, tmp_path, monkeypatch):
    root, images, _ = folder
    out = tmp_path / "out"
    partial = out / ".contrast.partial" / "1" / "cat"
    arguments = ("--corruptions", "contrast", "--format", "folder")
    assert run(root, out, *arguments) == 0
    (out / "contrast").rename(out / ".contrast.partial")
    (partial / "99999999.JPEG").write_bytes(b"left by a broken run")
    assert run(root, out, *arguments) == 0
    assert len(list((out / "contrast").rglob("*.JPEG"))) == 5 * len(images)
    assert not partial.exists()


def test_batch_size_changes_nothing(folder, tmp_path):
    root, _, _ = folder
    for size in (4, 16):
        source = corruption_sets.Source(str(root))
        corruption_sets.generate(
            source,
            tmp_path / str(size),
            corruptions=["impulse_noise"],
            severities=[5],
            batch_size=size,
            progress=False,
        )
    one, other = (np.load(tmp_path / str(size) / "impulse_noise.npy") for size in (4, 16))
    np.testing.assert_array_equal(one, other)


def test_other_settings_are_refused(folder, tmp_path, capsys):
    root, _, _ = folder
    out = tmp_path / "out"
    assert run(root, out, "--corruptions", "contrast", "--severities", "1") == 0
    assert run(root, out, "--corruptions", "contrast", "--severities", "1", "--seed", 1) == 2
    assert "seed was 0, now 1" in capsys.readouterr().err
    assert run(root, out, "--corruptions", "contrast", "--severities", "1,2") == 2
    assert "severities was [1], now [1, 2]" in capsys.readouterr().err
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    np.save(foreign / "fog.npy", np.zeros(3))
    assert run(root, foreign) == 2
    assert "'fog.npy' but no corruptions.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--corruptions", "fogg"), "unknown corruption 'fogg'. Did you mean 'fog'"),
        (("--severities", "0,1"), "severity must be in [1, 5], got 0"),
        (("--severities", "2,1"), "severities must ascend from 1 to 5, got [2, 1]"),
        (("--format", "zip"), "unknown layout 'zip'"),
        (("--benchmark", "cifar10"), "unknown benchmark 'cifar10'"),
        (("--split", "tset"), "tset"),
        (("--image_size", "-1"), "image_size must be at least 0, got -1"),
        (("--image_size", "5"), "image_size must be at least 8, got 5"),
        (("--bad_images", "ignore"), "unknown bad_images 'ignore'"),
        (("--dataset", "/no/such/folder"), "no folder '/no/such/folder'"),
        (("--dataset", "gs://bucket/photos"), "'gs://bucket/photos' is not a path on this machine"),
    ],
)
def test_bad_arguments_are_named(folder, tmp_path, capsys, arguments, message):
    assert run(folder[0], tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "fog.npy").exists()


@pytest.fixture
def damaged(folder):
    """The folder with two images cut short."""
    root, images, labels = folder
    for name in ("cat/1.png", "dog/0.png"):
        path = root / "test" / name
        path.write_bytes(path.read_bytes()[:60])
    good = np.delete(np.arange(len(labels)), [1, COUNTS["cat"]])
    return root, images[good], labels[good]


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("layout", ["npy", "folder"])
def test_damaged_images_are_refused_before_the_work_or_skipped(
    damaged, tmp_path, capsys, caplog, monkeypatch, keeps, layout
):
    if not keeps:
        monkeypatch.setattr("augmax_jax.corruption_sets.clean_images._KEEP_BYTES", 0)
    root, images, labels = damaged
    out = tmp_path / "out"
    arguments = ("--corruptions", "impulse_noise", "--severities", "2", "--format", layout)
    assert run(root, out, *arguments) == 2
    error = capsys.readouterr().err
    assert "2 of 11 images cannot be used" in error
    assert "cat/1.png" in error
    assert "dog/0.png" in error
    assert error.rstrip().endswith("--bad_images skip")
    assert not list(out.iterdir())
    assert run(root, out, *arguments, "--bad_images", "skip") == 0
    assert caplog.text.count("skipping") == 2
    key = corruptions.benchmark_key(0, "impulse_noise", 2)
    wanted = np.asarray(corruptions.corrupt(key, images, "impulse_noise", 2))
    if layout == "npy":
        np.testing.assert_array_equal(np.load(out / "impulse_noise.npy"), wanted)
        np.testing.assert_array_equal(np.load(out / "labels.npy"), labels)
    else:
        names = [path.parent.name for path in sorted(out.rglob("*.JPEG"), key=lambda p: p.name)]
        assert names == [list(COUNTS)[label] for label in labels]
    # Which of the two was said changes nothing once the images are the same.
    for name in ("cat/1.png", "dog/0.png"):
        (root / "test" / name).unlink()
    assert run(root, out, *arguments) == 0


def test_nothing_readable_is_said(folder, tmp_path, capsys):
    for path in (folder[0] / "test").glob("*/*"):
        path.write_bytes(b"x")
    assert run(folder[0], tmp_path / "out", "--bad_images", "skip") == 2
    assert "11 of 11 images cannot be used" in capsys.readouterr().err


def test_one_class_can_be_corrupted(folder, tmp_path, caplog):
    root, _, _ = folder
    for name in ("dog", "owl"):
        shutil.rmtree(root / "test" / name)
    arguments = ("--corruptions", "contrast", "--severities", "1")
    assert run(root, tmp_path / "out", *arguments) == 0
    assert len(np.load(tmp_path / "out" / "contrast.npy")) == COUNTS["cat"]
    assert "has one class ('cat'): a network's accuracy on it would mean nothing" in caplog.text


def test_errors_of_files_are_one_line(folder, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert run(folder[0], out, "--corruptions", "contrast") == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: out {str(out)!r} cannot be made")
        assert error.count("\n") == 1
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "corruptions.json").write_text("[1")
    assert run(folder[0], tmp_path / "out", "--corruptions", "contrast") == 2
    assert "corruptions.json is damaged" in capsys.readouterr().err


def test_paths_are_written_as_anywhere(folder, tmp_path, monkeypatch):
    root, _, _ = folder
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHERE", str(root.parent))
    arguments = ("--corruptions", "contrast", "--severities", "1")
    assert run(f"$WHERE/{root.name}", "~/out", *arguments) == 0
    before = (tmp_path / "out" / "corruptions.json").read_text()
    monkeypatch.chdir(root.parent)
    assert run(root.name, tmp_path / "out", *arguments) == 0  # the same set in other words
    assert (tmp_path / "out" / "corruptions.json").read_text() == before


def test_groups_of_names():
    assert corruption_names("extra, contrast,digital") == [
        *corruptions.EXTRA,
        *corruptions.FAMILIES["digital"],
    ]
    assert corruption_names("benchmark") == list(corruptions.BENCHMARK)
    assert len(corruption_names("all")) == 19


def test_digits_at_another_size(tmp_path):
    arguments = ("--corruptions", "contrast", "--severities", "1", "--image_size", 8)
    assert run("digits", tmp_path, *arguments) == 0
    assert np.load(tmp_path / "contrast.npy").shape == (359, 8, 8, 3)


def test_tfds_builder(folder, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    from augmax_jax.corruption_sets import tfds_builder

    root, images, labels = folder
    source = corruption_sets.Source(str(root))
    config = tfds_builder.Config(
        name="mine", source=source, corruption="impulse_noise", severity=5, seed=7
    )
    builder = tfds_builder.AugmaxCorrupted(config=config, data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    loaded, info = tfds.load(
        "augmax_corrupted/mine", data_dir=tmp_path / "tfds", split="test", with_info=True
    )
    assert info.features["label"].names == list(COUNTS)
    key = corruptions.benchmark_key(7, "impulse_noise", 5)
    wanted = np.asarray(corruptions.corrupt(key, images, "impulse_noise", 5))
    got = {(e["image"].tobytes(), int(e["label"])) for e in tfds.as_numpy(loaded)}
    assert got == {(i.tobytes(), int(y)) for i, y in zip(wanted, labels, strict=True)}


def test_tfds_builder_with_beam(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("apache_beam")
    from augmax_jax.corruption_sets import tfds_builder

    arrays = {}
    for shards in (0, 2):
        config = tfds_builder.Config(
            source=corruption_sets.Source("digits", image_size=8),
            corruption="impulse_noise",
            severity=5,
            shards=shards,
        )
        builder = tfds_builder.AugmaxCorrupted(config=config, data_dir=tmp_path / str(shards))
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(beam_runner="DirectRunner")
        )
        loaded = tfds.as_numpy(builder.as_dataset(split="test"))
        arrays[shards] = sorted((e["image"].tobytes(), int(e["label"])) for e in loaded)
    assert len(arrays[0]) == 359
    assert arrays[0] == arrays[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corruption": "fogg"}, "unknown corruption 'fogg'. Did you mean 'fog'"),
        ({"severity": 6}, "severity must be one of 1, 2, 3, 4, 5, got 6"),
        ({"shards": -1}, "shards must not be negative, got -1"),
    ],
)
def test_tfds_config_refuses(change, message):
    pytest.importorskip("tensorflow_datasets")
    from augmax_jax.corruption_sets import tfds_builder

    with pytest.raises(ValueError, match=message):
        tfds_builder.Config(**change)


def test_tfds_builder_says_what_it_needs(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    from augmax_jax.corruption_sets import tfds_builder

    with pytest.raises(ValueError, match=r"pass config=augmax_jax\.corruption_sets\.tfds_builder"):
        tfds_builder.AugmaxCorrupted(data_dir=tmp_path)
