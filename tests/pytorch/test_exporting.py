"""Exported state_dicts: read back bit for bit, and taken by PyTorch."""

import sys

import jax
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.pytorch import exporting as torch_export
from augmax_jax.pytorch import files as torch_files
from augmax_jax.pytorch import importing as torch_import
from augmax_jax.pytorch import keys as torch_keys


def random_variables(name, num_classes, **options):
    rng = np.random.default_rng(0)
    shapes = torch_keys.abstract_variables(models.create(name, num_classes, **options))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y, strict=True), a, b)


NETWORKS = [
    ("resnet18", {"stem_stride": 2}),
    ("wrn40_2", {}),
    ("wrn40_2", {"depth": 16, "widen_factor": 3, "norm": "ibn"}),
    ("resnext29", {"norm": "dubn"}),
    ("resnet18_imagenet", {"norm": "bn"}),
    ("resnet50_imagenet", {}),
    ("tiny", {}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=lambda v: v if v else "")
def test_import_of_export_is_the_identity(name, options):
    variables = random_variables(name, 10, **options)
    state_dict = torch_export.to_state_dict(variables, name, num_classes=10, **options)
    assert all(array.dtype in (np.float32, np.int64) for array in state_dict.values())
    again = torch_import.from_state_dict(state_dict, name, num_classes=10, **options)
    assert_same(again, variables)
    # Each of our arrays is under exactly one key.
    sizes = sum(array.size for array in state_dict.values() if array.dtype == np.float32)
    assert sizes == sum(leaf.size for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_files(tmp_path, suffix):
    variables = random_variables("tiny", 10)
    state_dict = torch_export.to_state_dict(variables, "tiny", num_classes=10)
    path = tmp_path / "new" / f"model{suffix}"
    if suffix == ".pth":
        pytest.importorskip("torch")
    torch_export.write_state_dict(path, state_dict)
    again = torch_files.read_state_dict(path)
    assert set(again) == set(state_dict)
    assert_same(torch_import.from_state_dict(again, "tiny", num_classes=10), variables)
    if suffix == ".safetensors":
        peer = pytest.importorskip("safetensors.numpy").load_file(path)
        for key, array in state_dict.items():
            np.testing.assert_array_equal(peer[key], array, strict=True)


@pytest.mark.parametrize("norm", list(models.NORMS))
def test_pytorch_loads_the_export(tmp_path, norm):
    torch = pytest.importorskip("torch")
    from tests.models import torch_networks

    state_dict = torch_export.to_state_dict(
        random_variables("tiny", 10, norm=norm), "tiny", num_classes=10, norm=norm
    )
    torch_export.write_state_dict(tmp_path / "a.pth", state_dict)
    network = torch_networks.create("tiny", 10, norm)
    network.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True), strict=True)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), state_dict[key])


def test_command(tmp_path, capsys):
    variables = random_variables("tiny", 10)
    info = {"model": "tiny", "num_classes": 10, "norm": "dubin", "options": {}}
    torch_import.save_imported(tmp_path / "a", variables, {**info, "mean": None, "std": None})
    out = tmp_path / "a.npz"
    arguments = ["--checkpoint", str(tmp_path / "a"), "--out"]
    torch_export.main([*arguments, str(out), "--prefix", "module."])
    with np.load(out) as arrays:
        assert all(key.startswith("module.") for key in arrays)
        assert_same(torch_import.from_state_dict(arrays, "tiny", num_classes=10), variables)
    torch_export.main([*arguments, str(out), "--route", "augmented"])
    with np.load(out) as arrays:
        single = torch_import.from_state_dict(arrays, "tiny", num_classes=10, norm="ibn")
    assert_same(single, models.single_route(variables, "augmented"))
    for bad, message in (
        ([*arguments, str(tmp_path / "a.pt")], "unknown suffix of --out '.pt'.*npz"),
        (["--checkpoint", str(tmp_path), "--out", str(out)], "no imported model"),
    ):
        with pytest.raises(SystemExit, match=message):
            torch_export.main(bad)


def test_other_variables_are_refused():
    variables = random_variables("tiny", 10)
    with pytest.raises(ValueError, match=r"not of tiny \(norm=bn, 10.*missing params/bn1/scale"):
        torch_export.to_state_dict(variables, "tiny", num_classes=10, norm="bn")
    with pytest.raises(ValueError, match=r"linear\.weight has shape \(10, 64\) instead of \(7, 64"):
        torch_export.to_state_dict(variables, "tiny", num_classes=7)


def test_pth_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"needs PyTorch \(requirements-torch.txt\)"):
        torch_export.write_state_dict(tmp_path / "a.pth", {})
    assert not (tmp_path / "a.pth").exists()
