"""Importing PyTorch checkpoints: names, prefixes, errors, the command; see test_torch_equality."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.pytorch import importing as torch_import
from augmax_jax.pytorch import keys as torch_keys
from augmax_jax.pytorch.exporting import to_state_dict


def random_variables(name, num_classes, seed=0, **options):
    """Variables of a network drawn from one normal distribution; initialising takes longer."""
    rng = np.random.default_rng(seed)
    shapes = torch_keys.abstract_variables(models.create(name, num_classes, **options))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 234), ("wrn40_2", 436), ("resnext29", 355), ("resnet18_imagenet", 234),
     ("resnet50_imagenet", 611)],
)  # fmt: skip
def test_number_of_keys_is_the_official_one(name, count):
    entries = torch_keys.entries(models.create(name, 10))
    assert len(entries) + len(torch_keys.counter_keys(entries)) == count


# Plain names of torchvision's networks and of AugMix's, a few of each kind.
FOREIGN_KEYS = {
    "resnet50_imagenet": (
        "conv1.weight bn1.running_var layer1.0.conv3.weight layer1.0.bn3.bias "
        "layer1.0.downsample.0.weight layer1.0.downsample.1.running_mean layer3.5.bn2.weight "
        "layer4.2.bn1.num_batches_tracked fc.weight fc.bias"
    ),
    "resnet18_imagenet": "layer2.0.downsample.1.weight layer1.1.bn2.running_mean fc.bias",
    "wrn40_2": (
        "conv1.weight block1.layer.0.conv_shortcut.weight block3.layer.5.bn2.running_var "
        "block2.layer.0.bn1.weight bn1.bias fc.weight"
    ),
    "resnext29": (
        "conv_1_3x3.weight bn_1.weight stage_1.0.bn_reduce.weight stage_1.0.bn.running_mean "
        "stage_2.0.downsample.1.running_var stage_3.2.conv_conv.weight classifier.bias"
    ),
}


@pytest.mark.parametrize("name", FOREIGN_KEYS)
def test_keys_of_torchvision_and_augmix(name):
    variables = random_variables(name, 10, norm="bn")
    state_dict = to_state_dict(variables, name, num_classes=10, norm="bn")
    assert set(FOREIGN_KEYS[name].split()) <= set(state_dict)


@pytest.fixture(scope="module")
def tiny():
    """Variables of a tiny network and their state_dict."""
    variables = random_variables("tiny", 10)
    return variables, to_state_dict(variables, "tiny", num_classes=10)


def test_prefixes_dtypes_and_missing_counters(tiny):
    variables, state_dict = tiny
    for prefix in ("module.", "module._orig_mod.", "module.module."):
        renamed = {prefix + key: value for key, value in state_dict.items()}
        assert_same(torch_import.from_state_dict(renamed, "tiny", num_classes=10), variables)
    wide = {k: v.astype(np.float64) for k, v in state_dict.items() if "tracked" not in k}
    assert_same(torch_import.from_state_dict(wide, "tiny", num_classes=10), variables)
    low = {k: v.astype(jnp.bfloat16) for k, v in wide.items()}
    imported = torch_import.from_state_dict(low, "tiny", num_classes=10)
    rounded = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(np.float32), variables)
    assert_same(imported, rounded)


def test_older_name_of_the_wide_resnet_shortcut():
    variables = random_variables("wrn40_2", 10, norm="bn", depth=10)
    options = {"num_classes": 10, "norm": "bn", "depth": 10}
    state_dict = to_state_dict(variables, "wrn40_2", **options)
    older = {k.replace("conv_shortcut", "convShortcut"): v for k, v in state_dict.items()}
    assert set(older) != set(state_dict)
    assert_same(torch_import.from_state_dict(older, "wrn40_2", **options), variables)
    with pytest.raises(ValueError, match=r"left over \(3\): block1\.layer\.0\.convShortcut"):
        torch_import.from_state_dict({**older, **state_dict}, "wrn40_2", **options)


def test_tensors_are_taken(tiny):
    torch = pytest.importorskip("torch")
    variables, state_dict = tiny
    tensors = {
        key: torch.nn.Parameter(torch.from_numpy(value), requires_grad=value.ndim > 0)
        if value.dtype == np.float32
        else torch.from_numpy(value)
        for key, value in state_dict.items()
    }
    assert_same(torch_import.from_state_dict(tensors, "tiny", num_classes=10), variables)


def test_unfitting_keys_are_all_listed(tiny):
    _, state_dict = tiny
    state_dict = dict(state_dict)
    del state_dict["conv1.weight"], state_dict["layer2.0.bn1.IN.bias"]
    state_dict["stranger.weight"] = np.zeros(3)
    state_dict["stranger.num_batches_tracked"] = np.zeros(())
    state_dict["linear.bias"] = np.zeros(7)
    with pytest.raises(ValueError, match="does not fit the model tiny") as caught:
        torch_import.from_state_dict(state_dict, "tiny", num_classes=10)
    assert str(caught.value).splitlines()[1:] == [
        "  missing (2): conv1.weight, layer2.0.bn1.IN.bias",
        "  left over (2): stranger.weight, stranger.num_batches_tracked",
        "  mis-shaped (1): linear.bias (7,) instead of (10,)",
        "  The keys look like norm=dubin.",
    ]


def test_norm_is_told_from_keys(tiny):
    _, state_dict = tiny
    with pytest.raises(ValueError, match="The keys look like norm=dubin"):
        torch_import.from_state_dict(state_dict, "tiny", num_classes=10, norm="bn")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tiny, value):
    _, state_dict = tiny
    bad = np.full_like(state_dict["conv1.weight"], value)
    with pytest.raises(ValueError, match=r"not finite floats: conv1\.weight$"):
        torch_import.from_state_dict({**state_dict, "conv1.weight": bad}, "tiny", num_classes=10)


def test_integers_are_refused(tiny):
    _, state_dict = tiny
    bad = state_dict["conv1.weight"].astype(np.int64)
    with pytest.raises(ValueError, match=r"not finite floats: conv1\.weight$"):
        torch_import.from_state_dict({**state_dict, "conv1.weight": bad}, "tiny", num_classes=10)


def test_init_from_keeps_or_replaces_the_head(tiny):
    variables, _ = tiny
    same, report = torch_import.init_from(random_variables("tiny", 10, seed=1), variables)
    assert_same(same, variables)
    assert report == ["87 of 87 arrays imported"]

    fresh = random_variables("tiny", 7, seed=1)
    mixed, report = torch_import.init_from(fresh, variables)
    assert_same(mixed["params"]["head"], fresh["params"]["head"])
    del mixed["params"]["head"]
    rest = {**variables, "params": {k: v for k, v in variables["params"].items() if k != "head"}}
    assert_same(mixed, rest)
    assert report == [
        "85 of 87 arrays imported",
        "new head for 7 classes (the imported one has 10)",
    ]


def test_init_from_refuses_another_network(tiny):
    variables, _ = tiny
    with pytest.raises(ValueError, match="of another network") as caught:
        torch_import.init_from(random_variables("tiny", 10, norm="bn"), variables)
    assert "missing params/bn1/scale" in str(caught.value)
    assert "left over batch_stats_clean/bn1/mean" in str(caught.value)
    other = jax.tree.map(np.copy, variables)
    other["params"]["conv1"]["kernel"] = np.zeros((5, 5, 3, 16), np.float32)
    with pytest.raises(ValueError, match=r"kernel has shape \(5, 5, 3, 16\) instead of"):
        torch_import.init_from(variables, other)


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """An .npz checkpoint as data-parallel training would write it."""
    _, state_dict = tiny
    path = tmp_path / "best_SA.npz"
    np.savez(path, **{f"module.{key}": value for key, value in state_dict.items()})
    return path


def test_command(tiny, checkpoint, tmp_path):
    variables, _ = tiny
    out = tmp_path / "imported"
    command = [sys.executable, "-m", "augmax_jax.torch_import", "--checkpoint", checkpoint]
    command += ["--model", "tiny", "--num_classes", "10", "--out", out, "--license", "MIT"]
    command += ["--stem_stride", "2", "--mean", ".5", ".5", ".5", "--std", ".2", ".2", ".2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "tiny (norm dubin, 10 classes, 78,666 parameters)" in done.stderr
    loaded, info = torch_import.load_imported(out)
    assert_same(loaded, variables)
    assert info["options"] == {"stem_stride": 2}
    assert (info["norm"], info["mean"], info["license"]) == ("dubin", [0.5] * 3, "MIT")
    assert info["source"]["file"] == "best_SA.npz"
    assert len(info["source"]["sha256"]) == 64

    module = torch_import.build(info)
    assert module == models.create(
        "tiny", 10, norm="dubin", mean=(0.5,) * 3, std=(0.2,) * 3, stem_stride=2
    )
    assert torch_import.build(info, dtype="bfloat16").dtype == jnp.bfloat16

    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "is not an empty directory" in again.stderr
    assert "Traceback" not in again.stderr


def test_input_normalisation_by_default(tmp_path):
    for name, mean in (("tiny", None), ("resnet18_imagenet", list(models.IMAGENET_MEAN))):
        state_dict = to_state_dict(random_variables(name, 4), name, num_classes=4)
        path = tmp_path / f"{name}.npz"
        np.savez(path, **state_dict)
        _, info = torch_import.import_file(path, name, num_classes=4)
        assert info["mean"] == mean
        assert (info["std"] is None) == (mean is None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tinny"], "unknown model 'tinny'. Did you mean 'tiny'?"),
        (["--model", "wrn40_2"], "does not fit the model wrn40_2"),
        (["--num_classes", "7"], "linear.bias (10,) instead of (7,)"),
        (["--norm", "bin"], "unknown norm 'bin'"),
        (["--widen_factor", "2"], "unknown option of model 'tiny' 'widen_factor'"),
        (["--checkpoint", "nowhere.pth"], "no checkpoint file at nowhere.pth"),
        (["--checkpoint", __file__], "is not a PyTorch checkpoint"),
        (["--mean", "0", "0", "0"], "mean and std go together"),
    ],
)
def test_command_errors(checkpoint, tmp_path, capsys, arguments, message):
    defaults = ["--checkpoint", str(checkpoint), "--model", "tiny", "--num_classes", "10"]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as caught:
        torch_import.main([*defaults, "--out", str(out), *arguments])
    assert message in str(caught.value.code)
    assert not out.exists()


def test_tiny_imagenet_without_stride_warns(tmp_path, caplog):
    state_dict = to_state_dict(random_variables("tiny", 200), "tiny", num_classes=200)
    np.savez(tmp_path / "a.npz", **state_dict)
    arguments = ["--checkpoint", str(tmp_path / "a.npz"), "--model", "tiny"]
    arguments += ["--num_classes", "200", "--out"]
    with caplog.at_level("WARNING", "augmax_jax"):
        torch_import.main([*arguments, str(tmp_path / "a")])
    assert "need --stem_stride 2" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", "augmax_jax"):
        torch_import.main([*arguments, str(tmp_path / "b"), "--stem_stride", "2"])
    assert caplog.text == ""


def test_load_imported_errors(tiny, tmp_path):
    variables, _ = tiny
    with pytest.raises(ValueError, match=r"no imported model .*augmax_jax\.torch_import"):
        torch_import.load_imported(tmp_path)
    info = {"model": "tiny", "num_classes": 10, "norm": "dubin", "options": {}}
    info |= {"mean": None, "std": None}
    torch_import.save_imported(tmp_path / "good", variables, info)
    assert_same(torch_import.load_imported(tmp_path / "good")[0], variables)

    text = (tmp_path / "good" / "model.json").read_text()
    (tmp_path / "good" / "model.json").write_text(json.dumps({**json.loads(text), "model": "x"}))
    with pytest.raises(ValueError, match=r"is damaged .*unknown model 'x'"):
        torch_import.load_imported(tmp_path / "good")
    (tmp_path / "good" / "model.json").write_text(text)
    for file in (tmp_path / "good" / "variables").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is damaged"):
        torch_import.load_imported(tmp_path / "good")
