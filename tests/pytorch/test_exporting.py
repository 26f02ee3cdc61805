"""Exported state_dicts: read back bit for bit, and taken by PyTorch."""

import importlib.util
import json
import shutil

import jax
import numpy as np
import pytest

from augmax_jax import config as configs
from augmax_jax import models, torch_export, torch_import
from augmax_jax.pytorch import files as torch_files
from augmax_jax.pytorch import keys as torch_keys
from augmax_jax.training.checkpoints import Checkpoints
from augmax_jax.training.step import TrainState


def random_variables(name, num_classes, seed=0, **options):
    rng = np.random.default_rng(seed)
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


def test_command(tmp_path):
    variables = random_variables("tiny", 10)
    info = {"model": "tiny", "num_classes": 10, "norm": "dubin", "options": {}}
    torch_import.save_imported(tmp_path / "a", variables, {**info, "mean": None, "std": None})
    out = tmp_path / "a.npz"
    arguments = ["--checkpoint", str(tmp_path / "a"), "--out"]
    torch_export.main([*arguments, str(out), "--prefix", "module."])
    with np.load(out) as arrays:
        assert all(key.startswith("module.") for key in arrays)
        assert_same(torch_import.from_state_dict(arrays, "tiny", num_classes=10), variables)
    for option, route in (
        (["--fold"], "clean"),
        (["--fold", "augmented"], "augmented"),
        (["--route", "augmented"], "augmented"),
    ):
        torch_export.main([*arguments, str(out), *option])
        with np.load(out) as arrays:
            single = torch_import.from_state_dict(arrays, "tiny", num_classes=10, norm="ibn")
        assert_same(single, models.single_route(variables, route))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained workdir: best and last variables of a network with options."""
    workdir = tmp_path_factory.mktemp("run")
    config = configs.defaults()
    config.model.name, config.model.norm = "tiny", "dubn"
    config.model.options.stem_stride = 2
    config.model.mean, config.model.std = (0.5,) * 3, (0.25,) * 3
    (workdir / "config.json").write_text(json.dumps(configs.to_dict(config)))
    kept = {}
    checkpoints = Checkpoints(workdir)
    for step, kind in enumerate(("best", "latest"), start=1):
        variables = random_variables("tiny", 7, norm="dubn", seed=step, stem_stride=2)
        statistics = {name: value for name, value in variables.items() if name != "params"}
        state = TrainState(step, variables["params"], statistics, {"momentum": np.zeros(3)}, {})
        checkpoints.save(kind, step, state, {})
        kept[kind] = variables
    checkpoints.close()
    return workdir, kept["best"], kept["latest"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_a_trained_run_is_exported(run, tmp_path, caplog, suffix):
    if suffix == ".pth":
        pytest.importorskip("torch")
    workdir, best, last = run
    out = tmp_path / f"a{suffix}"
    arguments = ["--checkpoint", str(workdir), "--out", str(out)]
    options = {"num_classes": 7, "norm": "dubn", "stem_stride": 2}
    with caplog.at_level("INFO", "augmax_jax"):
        torch_export.main(arguments)
    assert "tiny with norm dubn, 7 classes, stem_stride=2" in caplog.text
    assert "normalised by mean (0.5, 0.5, 0.5), std (0.25, 0.25, 0.25)" in caplog.text
    read = torch_files.read_state_dict(out)
    assert_same(torch_import.from_state_dict(read, "tiny", **options), best)
    torch_export.main([*arguments, "--which", "last"])
    read = torch_files.read_state_dict(out)
    assert_same(torch_import.from_state_dict(read, "tiny", **options), last)
    with caplog.at_level("INFO", "augmax_jax"):
        torch_export.main([*arguments, "--fold"])
    assert "tiny with norm bn, 7 classes" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize(
    ("name", "options", "norm"),
    [
        ("tiny", {}, "dubn"),
        ("tiny", {}, "dubin"),
        ("wrn40_2", {"depth": 10}, "dubin"),
        ("resnext29", {"depth": 11}, "dubin"),
    ],
)
def test_a_folded_network_is_taken_by_a_plain_one(name, options, norm):
    """The folded network's logits in PyTorch and JAX are those of the dual one's clean route."""
    torch = pytest.importorskip("torch")
    from tests.models import torch_networks

    single = models.SINGLE_NORM[norm]
    network = torch_networks.randomise(torch_networks.create(name, 5, norm, **options), 0)
    dual = torch_import.from_state_dict(
        network.state_dict(), name, num_classes=5, norm=norm, **options
    )
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    module = models.create(name, 5, norm=norm, **options)
    expected = jax.jit(module.apply)(dual, images)
    scale = np.abs(expected).max()

    folded = models.single_route(dual)
    plain = models.create(name, 5, norm=single, **options)
    np.testing.assert_allclose(jax.jit(plain.apply)(folded, images), expected, atol=1e-5 * scale)

    arrays = torch_export.to_state_dict(folded, name, num_classes=5, norm=single, **options)
    network = torch_networks.create(name, 5, single, **options)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()}, strict=True)
    network.eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5 * scale)


def broken_run(run, directory, break_it):
    shutil.copytree(run[0], directory)
    break_it(directory)


def damage(directory):
    for file in directory.glob("checkpoints/*/*/state/**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-20])


BROKEN = {
    "config.json that says": lambda d: (d / "config.json").unlink(),
    "config.json is damaged": lambda d: (d / "config.json").write_text("{"),
    "no config.json that": lambda d: (d / "config.json").write_text("[]"),
    "holds neither an imported model": lambda d: [
        shutil.rmtree(p) for p in d.glob("checkpoints/*/*")
    ],
    "no checkpoint can be read": damage,
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_run_that_cannot_be_read(run, tmp_path, message):
    broken_run(run, tmp_path / "run", BROKEN[message])
    with pytest.raises(SystemExit, match=message):
        torch_export.main(
            ["--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "out.npz")]
        )
    assert not (tmp_path / "out.npz").exists()


def test_a_run_without_a_best_checkpoint(run, tmp_path):
    broken_run(run, tmp_path / "run", lambda d: shutil.rmtree(d / "checkpoints" / "best" / "1"))
    out = tmp_path / "out.npz"
    torch_export.main(["--checkpoint", str(tmp_path / "run"), "--out", str(out)])
    read = torch_import.from_state_dict(
        torch_files.read_state_dict(out), "tiny", num_classes=7, norm="dubn", stem_stride=2
    )
    assert_same(read, run[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "a.pt"], "unknown suffix of --out '.pt'.*npz"),
        (["--out", "a"], "unknown suffix of --out ''.*npz"),
        (["--out", f"{__file__}/a.npz"], "cannot be written"),
        (["--out", f"{__file__}/a.safetensors"], "cannot be written"),
        (["--checkpoint", "nowhere"], "there is no directory 'nowhere'"),
        (["--checkpoint", "s3://bucket/run"], "is not a path on this machine"),
    ],
)
def test_command_errors(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        torch_export.main(["--checkpoint", str(run[0]), "--out", "a.npz", *arguments])
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_one_route_is_not_folded(tmp_path):
    variables = random_variables("tiny", 10, norm="bn")
    info = {"model": "tiny", "num_classes": 10, "norm": "bn", "options": {}}
    torch_import.save_imported(tmp_path / "a", variables, {**info, "mean": None, "std": None})
    arguments = ["--checkpoint", str(tmp_path / "a"), "--out", str(tmp_path / "a.npz"), "--fold"]
    with pytest.raises(SystemExit, match="must have two routes"):
        torch_export.main(arguments)


def test_other_variables_are_refused():
    variables = random_variables("tiny", 10)
    with pytest.raises(ValueError, match=r"not of tiny \(norm=bn, 10.*missing .*"):
        torch_export.to_state_dict(variables, "tiny", num_classes=10, norm="bn")
    with pytest.raises(ValueError, match=r"linear\.weight has shape \(10, 64\) instead of \(7, 64"):
        torch_export.to_state_dict(variables, "tiny", num_classes=7)


def test_pth_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"torch is not installed: pip install 'augmax-jax\[torch\]'"
    ):
        torch_export.write_state_dict(tmp_path / "a.pth", {})
    assert not (tmp_path / "a.pth").exists()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_arrays_of_any_layout_are_written(tmp_path, suffix):
    arrays = {"t": np.arange(6, dtype=np.float32).reshape(2, 3).T, "s": np.zeros((), np.int64)}
    arrays["strided"] = np.arange(6, dtype=np.float32)[::2]
    torch_export.write_state_dict(tmp_path / f"a{suffix}", arrays)
    read = torch_files.read_state_dict(tmp_path / f"a{suffix}")
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
