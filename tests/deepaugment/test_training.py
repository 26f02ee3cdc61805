"""Training the two networks on any images."""

import numpy as np
import pytest
from PIL import Image

from augmax_jax.deepaugment import layers, networks, train, training
from augmax_jax.deepaugment.__main__ import main


@pytest.fixture
def folder(tmp_path, rng):
    """Smooth colour images, small ones and one that is not square."""
    for name in ("cat", "dog"):
        (tmp_path / "set" / "train" / name).mkdir(parents=True)
        for i in range(3):
            coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            size = (40, 24) if i == 0 else (24, 24)
            coarse.resize(size, Image.Resampling.BICUBIC).save(
                tmp_path / "set" / "train" / name / f"{i}.png"
            )
    return tmp_path / "set"


@pytest.mark.parametrize("network", ["edsr", pytest.param("cae", marks=pytest.mark.slow)])
def test_the_loss_falls_and_the_file_is_read(network, folder, tmp_path):
    out = tmp_path / "weights.npz"
    options = {"patch": 16, "batch_size": 4, "progress": False}
    losses = train(network, str(folder), out, steps=20, **options)
    assert losses.shape == (20,)
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    entry = networks.get(network)
    entry.check(layers.read_file(out))
    # Goes on from there.
    more = train(network, str(folder), tmp_path / "b.npz", steps=20, weights=out, **options)
    assert more[0] < 0.8 * losses[0]


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(training.LOSSES, "edsr", lambda p, *_: (p["head_0"]["bias"] ** 2).sum())
    arguments = ["train", "--dataset", str(folder), "--patch", "16", "--batch_size", "4"]
    out = str(tmp_path / "w.npz")
    for wrong, message in (
        (["--network", "edrs", "--out", out], "unknown network 'edrs'"),
        (["--network", "edsr", "--out", "w.pt"], "out must end in .npz, got 'w.pt'"),
        (["--network", "edsr", "--out", f"{folder}/train/cat/0.png/w.npz"], "cannot be written"),
        (["--network", "edsr", "--out", out, "--patch", "18"], "patch must be a multiple of 4"),
        (["--network", "edsr", "--out", out, "--steps", "0"], "steps must be at least 1, got 0"),
        (["--network", "edsr", "--out", out, "--learning_rate", "0"], "learning_rate must be"),
    ):
        assert main([*arguments, *wrong]) == 2
        assert message in capsys.readouterr().err
    (folder / "train/cat/0.png").write_bytes(b"x")
    assert main([*arguments, "--network", "edsr", "--out", out, "--steps", "2"]) == 2
    error = capsys.readouterr().err
    assert "cat/0.png" in error
    assert error.rstrip().endswith("--bad_images skip")
    arguments += ["--bad_images", "skip"]
    assert main([*arguments, "--network", "edsr", "--out", out, "--steps", "2"]) == 0
    assert "step 2/2" in capsys.readouterr().err
