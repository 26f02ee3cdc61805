"""The command that writes copies, on a few tiny images."""

import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from augmax_jax.data import BadImageError
from augmax_jax.deepaugment import distort, distortion, layers, networks, plan
from augmax_jax.deepaugment.__main__ import main

COUNTS = {"cat": 6, "dog": 5, "owl": 3}


@pytest.fixture
def folder(tmp_path, rng):
    """A folder of three classes: PNG, JPEG and a nested one."""
    root = tmp_path / "set"
    for name, count in COUNTS.items():
        below = root / "train" / name / ("images" if name == "owl" else "")
        below.mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(below / (f"{i}.png" if name == "dog" else f"{i}.JPEG"))
        below = root / "test" / name  # so that nothing is held out of the training split
        below.mkdir(parents=True)
        Image.fromarray(pixels).save(below / "0.png")
    return root


@pytest.fixture(scope="session")
def weight_files(all_weights, tmp_path_factory):
    root = tmp_path_factory.mktemp("weights")
    for name, weights in all_weights.items():
        layers.save_file(root / f"{name}.npz", weights)
    return root


@pytest.fixture(autouse=True)
def many_runs(monkeypatch):
    """New weights every third image or so."""
    monkeypatch.setattr(plan, "REDRAW", 0.3)


@pytest.fixture
def stand_in(monkeypatch):
    """Networks that are quick: the result depends on weights, keys and images, and is 4x larger."""

    def forward(params, keys, images):
        salt = np.float32(params["head_0"]["bias"][0]).view(np.uint32) % 251
        salts = (jax.random.key_data(keys)[:, 0] % 251 + salt).astype(np.uint8)
        return np.repeat(np.repeat(images + np.asarray(salts)[:, None, None, None], 4, 1), 4, 2)

    def damage(key, weights):
        return weights | {"head.0.bias": jax.random.uniform(key, (64,))}

    monkeypatch.setattr(distortion, "_program", lambda network: forward)
    entry = networks.NETWORKS["edsr"]._replace(damage=damage)
    monkeypatch.setitem(networks.NETWORKS, "edsr", entry)


@pytest.fixture
def run(folder, weight_files):
    def run(out, *arguments, network="edsr", **options):
        return distort(
            network,
            options.pop("weights", weight_files / f"{network}.npz"),
            options.pop("dataset", str(folder)),
            out,
            progress=False,
            **{"batch_size": 3, **options},
        )

    return run


def contents(folder):
    return {
        os.path.relpath(os.path.join(where, name), folder): open(
            os.path.join(where, name), "rb"
        ).read()
        for where, _, names in os.walk(folder)
        for name in names
    }


@pytest.mark.parametrize("network", ["edsr", pytest.param("cae", marks=pytest.mark.slow)])
def test_layout(network, run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "REDRAW", 0.05)  # damaging all weights takes longer than an image
    out = run(tmp_path / "out", network=network, working_size=16)
    names = set(contents(out)) - {"deepaugment.json"}
    assert names == {
        *(f"cat/{i}.JPEG" for i in range(6)),
        *(f"dog/{i}.jpg" for i in range(5)),  # what was PNG has the extension of what it is
        *(f"owl/images/{i}.JPEG" for i in range(3)),
    }
    for name in names:
        with Image.open(out / name) as image:
            assert image.format == "JPEG"
            assert image.size == (16, 16)  # small images keep their size
    settings = json.loads((out / "deepaugment.json").read_text())
    assert settings["working_size"] == 16
    assert (settings["network"], settings["images"]) == (network, 14)
    assert settings["quality"] == 75


def test_an_interrupted_job_goes_on(stand_in, run, tmp_path, monkeypatch):
    whole = contents(run(tmp_path / "whole"))
    save, calls = distortion._save, []

    def failing(*args):
        calls.append(1)
        if len(calls) == 5:
            raise InterruptedError
        save(*args)

    with monkeypatch.context() as patch:
        patch.setattr(distortion, "_save", failing)
        with pytest.raises(InterruptedError):
            run(tmp_path / "parts")
    there = contents(tmp_path / "parts" / "train")
    assert 1 < len(there) < len(whole)
    assert contents(run(tmp_path / "parts")) == whole
    # Finished: nothing is done again.
    with monkeypatch.context() as patch:
        patch.setattr(distortion, "_save", None)
        run(tmp_path / "parts")


def test_shards_make_the_whole(stand_in, run, tmp_path):
    whole = contents(run(tmp_path / "whole"))
    run(tmp_path / "parts", shard=(1, 2))
    assert 1 < len(contents(tmp_path / "parts" / "train")) < len(whole)
    assert contents(run(tmp_path / "parts", shard=(0, 2))) == whole


def test_the_seed_decides(stand_in, run, tmp_path):
    first, other = (contents(run(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    assert first.keys() == other.keys()
    assert first["cat/0.JPEG"] != other["cat/0.JPEG"]


def test_size_and_format(stand_in, run, tmp_path):
    out = run(tmp_path / "a", size=0, image_format="png", limit=2)
    images = [name for name in contents(out) if name.endswith("png")]
    assert len(images) == 2
    with Image.open(out / images[0]) as image:
        # Published: 128 in, 512 out.
        assert image.size == (512, 512)
    run(tmp_path / "b", size=24, working_size=16, limit=1)
    (name,) = set(contents(tmp_path / "b" / "train")) - {"deepaugment.json"}
    with Image.open(tmp_path / "b" / "train" / name) as image:
        assert image.size == (24, 24)


def test_digits(stand_in, run, tmp_path):
    out = run(tmp_path / "out", dataset="digits", limit=4)
    names = sorted(set(contents(out)) - {"deepaugment.json"})
    assert len(names) == 4
    label, index = names[0].split("/")
    assert label in "0123456789"
    assert len(index) == len("00000000.jpg")


@pytest.mark.parametrize(
    ("size", "grid", "wanted"),
    [
        ((16, 16), 8, (128, 128)),
        ((500, 375), 1, (170, 128)),
        ((500, 375), 8, (168, 128)),
        ((375, 500), 8, (128, 168)),
        ((130, 128), 8, (128, 128)),
        ((1000, 100), 8, (512, 128)),
    ],
)
def test_what_goes_into_the_network(size, grid, wanted):
    sizes = distortion.Sizes(working=128, written=0, grid=grid)
    assert distortion.scale(Image.new("RGB", size), sizes).shape == (*wanted[::-1], 3)


def test_plan(key):
    work = plan.make(key, 1000)
    order = np.concatenate([run.indices for run in work.runs])
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (np.diff(order) != 1).any()
    assert len(work.runs) == pytest.approx(300, abs=60)
    other = plan.make(key, 1000, network=1)
    np.testing.assert_array_equal(np.concatenate([run.indices for run in other.runs]), order)
    assert [run.indices[0] for run in other.runs] != [run.indices[0] for run in work.runs]
    straight = plan.make(key, 1000, shuffle=False, limit=10)
    np.testing.assert_array_equal(np.concatenate([r.indices for r in straight.runs]), range(10))
    keys = [jax.random.key_data(work.run_key(run)).tolist() for run in work.runs[:20]]
    assert len(set(map(tuple, keys))) == 20
    # An image's key is its own, wherever it comes.
    alone = work.image_keys(np.array([7]))
    assert alone[0] == work.image_keys(np.array([3, 7]))[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": -1}, "size must be at least 0, got -1"),
        ({"working_size": 8}, "working_size must be at least 16, got 8"),
        ({"batch_size": -1}, "batch_size must be at least 0, got -1"),
    ],
)
def test_arguments_are_checked(run, tmp_path, weight_files, options, message):
    options = {"weights": weight_files / "edsr.npz", **options}
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "out", **options)


def test_other_settings_are_refused(stand_in, run, tmp_path):
    run(tmp_path / "out", limit=1)
    with pytest.raises(ValueError, match="a copy made with other settings: seed was 0, now 1"):
        run(tmp_path / "out", limit=1, seed=1)
    (tmp_path / "foreign" / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds 'cat' but no deepaugment\.json"):
        run(tmp_path / "foreign")


def test_two_originals_of_one_name_are_refused(run, folder, tmp_path):
    Image.new("RGB", (16, 16)).save(folder / "train" / "cat" / "0.png")
    with pytest.raises(ValueError, match="two images are called 'cat/0'"):
        run(tmp_path / "out")


@pytest.fixture
def damaged(folder):
    """The folder with two originals cut short."""
    for name in ("cat/1.JPEG", "dog/0.png"):
        path = folder / "train" / name
        path.write_bytes(path.read_bytes()[:60])
    return folder


def test_damaged_originals_are_refused_or_skipped(stand_in, run, damaged, tmp_path, caplog):
    out = tmp_path / "out"
    with pytest.raises(BadImageError, match=r"(cat/1\.JPEG|dog/0\.png): "):
        run(out)
    before = contents(out / "train")
    folder = run(out, bad_images="skip")
    assert before.items() <= contents(folder).items()  # what was written stays
    names = [name for name in contents(folder) if not name.endswith("json")]
    assert len(names) == sum(COUNTS.values()) - 2
    assert not {"cat/1.JPEG", "dog/0.jpg"} & set(names)
    assert {"cat/1.JPEG", "dog/0.png"} <= {w for line in caplog.messages for w in paths_in(line)}
    skipped = json.loads((folder / "deepaugment.skipped.0-of-1.json").read_text())
    assert skipped == ["cat/1", "dog/0"]
    # Nothing is left to do, and others get what they get without the damaged ones' company.
    after = contents(folder)
    assert contents(run(out, bad_images="skip")) == after


def paths_in(line: str) -> list[str]:
    """The last two parts of every path to an image in a line of the log."""
    return ["/".join(w.rstrip(":").split("/")[-2:]) for w in line.split() if "/train/" in w]


def test_a_copy_without_the_damaged_originals_is_trained_on(
    stand_in, run, damaged, tmp_path, folder
):
    out = tmp_path / "out"
    shutil.rmtree(folder / "test")
    (folder / "test").symlink_to(folder / "train")
    run(out, bad_images="skip", shard=(0, 2))
    config = {"name": str(folder), "image_size": 16, "holdout": 0, "bad_images": "skip"}
    config |= {"extra_train": (str(out),)}
    with pytest.raises(ValueError, match="is not complete"):
        data.load(config, seed=0)
    run(out, bad_images="skip", shard=(1, 2))
    assert len(data.load(config, seed=0).train) == 2 * (sum(COUNTS.values()) - 2)


def test_errors_of_files_and_images_are_said_by_the_command(
    stand_in, damaged, weight_files, tmp_path, capsys
):
    arguments = ["distort", "--network", "edsr", "--dataset", str(damaged)]
    arguments += ["--weights", str(weight_files / "edsr.npz"), "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.rstrip().endswith("--bad_images skip")
    assert main([*arguments, str(tmp_path / "out"), "--bad_images", "skip"]) == 0
    (tmp_path / "file").write_text("x")
    capsys.readouterr()
    assert main([*arguments, str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert "cannot be made" in error
    assert error.count("\n") == 1


def test_the_command(folder, weight_files, tmp_path, capsys):
    arguments = ["--network", "cae", "--dataset", str(folder), "--out", str(tmp_path / "out")]
    weights = str(weight_files / "cae.npz")
    settings = ["--limit", "2", "--batch_size", "3", "--shard", "0/1", "--working_size", "16"]
    assert main(["distort", *arguments, "--weights", weights, *settings]) == 0
    assert len(contents(tmp_path / "out" / "train")) == 3
    assert main(["distort", *arguments, "--weights", str(tmp_path / "none.pt")]) == 2
    assert "error: no checkpoint file" in capsys.readouterr().err
    assert main(["distort", *arguments, "--weights", weights, "--split", "trian"]) == 2
    assert "has no split 'trian'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["distort", *arguments, "--weights", weights, "--shard", "half"])


def test_copies_of_a_table_of_labels(stand_in, run, tmp_path, rng):
    """Copies lie below their class, and neither they nor training have the held-out images."""
    root = tmp_path / "photos"
    rows = [(f"{day}/{i}.png", name) for day in "ab" for i, name in enumerate(["x/y", "z"] * 4)]
    for file, _ in rows:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / file)
    table = "\n".join(["file,label", *map(",".join, rows)])
    (root / "names.csv").write_text(table)
    options = {"dataset": str(root), "labels": "names.csv", "test_fraction": 0.25}
    out = run(tmp_path / "out", **options)
    there = {name for name in contents(out) if name.endswith(".jpg")}
    assert len(there) == 12
    assert there < {f"{name.replace('/', '_')}/{file[:-4]}.jpg" for file, name in rows}
    settings = json.loads((out / "deepaugment.json").read_text())
    assert (settings["labels"], settings["held_out"]) == ("names.csv", "25% held out, seed 0")
    config = {"name": str(root), "labels": "names.csv", "test_fraction": 0.25, "image_size": 16}
    loaded = data.load(config | {"holdout": 0, "extra_train": (str(out.parent),)}, seed=0)
    assert (len(loaded.train), len(loaded.test)) == (24, 4)
    assert np.bincount(loaded.train.arrays()[1]).tolist() == [12, 12]
    absent = config | {"holdout": 0, "extra_train": (str(tmp_path / "absent"),)}
    with pytest.raises(FileNotFoundError, match=r"--labels names\.csv --test_fraction 0\.25"):
        data.load(absent, seed=0)
