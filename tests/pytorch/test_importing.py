"""Importing PyTorch checkpoints: names, wrappers, errors, the command; see test_equality."""

import json
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax import models, torch_import
from augmax_jax.pytorch import keys as torch_keys
from augmax_jax.pytorch.state_dict import to_state_dict
from tests.pytorch import pickles


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


def test_dtypes_and_missing_counters(tiny):
    variables, state_dict = tiny
    wide = {k: v.astype(np.float64) for k, v in state_dict.items() if "tracked" not in k}
    assert_same(torch_import.from_state_dict(wide, "tiny", num_classes=10), variables)
    low = {k: v.astype(jnp.bfloat16) for k, v in wide.items()}
    imported = torch_import.from_state_dict(low, "tiny", num_classes=10)
    rounded = jax.tree.map(lambda a: a.astype(jnp.bfloat16).astype(np.float32), variables)
    assert_same(imported, rounded)


def under(prefix, state_dict):
    return {prefix + key: value for key, value in state_dict.items()}


CHANNELS = np.full((1, 3, 1, 1), 0.25, np.float32)

# A state_dict as a wrapper has it, from the network's own; and what the log says of it.
WRAPPINGS = {
    "itself": (lambda d: d, ""),
    "DataParallel": (lambda d: under("module.", d), "begin with 'module.'"),
    "DataParallel twice": (lambda d: under("module.module.", d), "begin with 'module.module.'"),
    "torch.compile": (lambda d: under("_orig_mod.", d), "begin with '_orig_mod.'"),
    "compiled and parallel": (lambda d: under("module._orig_mod.", d), "'module._orig_mod.'"),
    "Lightning": (lambda d: under("model.", d), "begin with 'model.'"),
    "Lightning with a metric": (
        lambda d: under("net.", d) | {"auroc.confmat": np.zeros((2, 2), np.float32)},
        "not under 'net.': auroc.confmat",
    ),
    "backbone": (lambda d: under("encoder.backbone.", d), "begin with 'encoder.backbone.'"),
    "AveragedModel": (
        lambda d: {"n_averaged": np.array(7)} | under("module.", d),
        "a wrapper's own: n_averaged",
    ),
    "LitEma beside": (
        lambda d: d | {"decay": np.array(0.99), "num_updates": np.array(3)},
        "a wrapper's own: decay, num_updates",
    ),
    "thop": (
        lambda d: d | {"total_ops": np.zeros(1), "conv1.total_params": np.zeros(1)},
        "a wrapper's own: total_ops, conv1.total_params",
    ),
    "MadryLab robustness": (
        lambda d: (
            under("module.model.", d)
            | under("module.attacker.model.", d)
            | {"module.normalizer.new_mean": CHANNELS, "module.normalizer.new_std": CHANNELS}
        ),
        "a wrapper's own: module.normalizer.new_mean, module.normalizer.new_std",
    ),
    "normalising wrapper": (
        lambda d: under("model.", d) | {"mu": CHANNELS, "sigma": CHANNELS},
        "a wrapper's own: mu, sigma",
    ),
    "normalising layer within": (
        lambda d: d | {"normalize.mean": CHANNELS, "normalize.std": CHANNELS},
        "a wrapper's own: normalize.mean, normalize.std",
    ),
    "Sequential(normalise, net)": (
        lambda d: under("1.", d) | {"0.mean": CHANNELS.ravel(), "0.std": CHANNELS.ravel()},
        "a wrapper's own: 0.mean, 0.std",
    ),
    "entries that are no tensors": (
        lambda d: (
            under("module.", d)
            | {"epoch": 3, "arch": "tiny", "best": np.float64(0.9), "none": None}
        ),
        "no tensors: epoch, arch, best, none",
    ),
    "the same twice": (
        lambda d: under("student.", d) | under("teacher.", d),
        "several times with the same values, under 'student.', 'teacher.'",
    ),
}


@pytest.mark.parametrize("tensors", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("name", WRAPPINGS)
def test_wrappings(tiny, caplog, name, tensors):
    variables, state_dict = tiny
    wrap, said = WRAPPINGS[name]
    wrapped = wrap(state_dict)
    if tensors:
        torch = pytest.importorskip("torch")
        wrapped = {
            key: torch.from_numpy(np.copy(value)) if isinstance(value, np.ndarray) else value
            for key, value in wrapped.items()
        }
    with caplog.at_level("INFO", "augmax_jax"):
        assert_same(torch_import.from_state_dict(wrapped, "tiny", num_classes=10), variables)
    assert said in caplog.text
    if name == "itself":
        assert caplog.text == ""


def test_two_networks_are_told_apart_by_the_prefix(tiny):
    variables, state_dict = tiny
    other = {key: value + 1 for key, value in state_dict.items()}
    both = under("student.", other) | under("teacher.", state_dict)
    with pytest.raises(ValueError, match=r"under the prefixes 'student\.', 'teacher\.': choose"):
        torch_import.from_state_dict(both, "tiny", num_classes=10)
    chosen = torch_import.from_state_dict(both, "tiny", num_classes=10, prefix="teacher.")
    assert_same(chosen, variables)
    # The network itself and an average inside it.
    both = state_dict | under("ema.", other)
    assert_same(torch_import.from_state_dict(both, "tiny", num_classes=10, prefix=""), variables)
    with pytest.raises(ValueError, match=r"missing \(87\)"):
        torch_import.from_state_dict(both, "tiny", num_classes=10, prefix="emma.")


def test_a_training_checkpoint_is_no_state_dict(tiny):
    with pytest.raises(ValueError, match=r"pass one of its dictionaries, model, ema$"):
        torch_import.from_state_dict({"model": tiny[1], "ema": tiny[1]}, "tiny", num_classes=10)


# What a file holds, from a state_dict and another of the same network; which key is taken.
FILES = {
    "state_dict": lambda d, other: {"state_dict": d, "epoch": 3},
    "model beside an accuracy": lambda d, other: {"model": d, "accuracy": np.float32(0.9)},
    "EMA of timm": lambda d, other: {"state_dict": d, "state_dict_ema": other, "arch": "tiny"},
    "EMA alone": lambda d, other: {"ema": under("module.", d), "optimizer": {"lr": np.ones(1)}},
    "params": lambda d, other: {"params": d},
    "net": lambda d, other: {"net": under("module.", d), "acc": 95.1, "epoch": 199},
    "nested": lambda d, other: {"state": {"model": under("module.", d)}, "version": "1"},
    "of another network beside": lambda d, other: {"teacher": d, "projector": {"w": np.ones(3)}},
    "itself, an average within": lambda d, other: {**d, "ema": other},
    "usual name, another network": lambda d, other: {"model": {"w": np.ones(3)}, "ema": d},
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("writer", ["hand", "torch"])
def test_files(tiny, tmp_path, name, writer):
    variables, state_dict = tiny
    other = {key: value + 1 for key, value in state_dict.items()}
    tree = FILES[name](state_dict, other)
    path = tmp_path / "a.pth"
    if writer == "hand":
        pickles.save(path, tree)
    else:
        torch = pytest.importorskip("torch")
        is_array = lambda value: isinstance(value, np.ndarray)  # noqa: E731
        torch.save(
            jax.tree.map(lambda v: torch.from_numpy(np.copy(v)) if is_array(v) else v, tree), path
        )
    imported, info = torch_import.import_file(path, "tiny", num_classes=10)
    assert_same(imported, variables)
    assert info["norm"] == "dubin"


def test_several_state_dicts_that_fit(tiny, tmp_path, caplog):
    variables, state_dict = tiny
    other = {key: value + 1 for key, value in state_dict.items()}
    path = pickles.save(tmp_path / "a.pth", {"student": other, "teacher": state_dict})
    with pytest.raises(ValueError, match=r"under student, teacher: choose one with --key"):
        torch_import.import_file(path, "tiny", num_classes=10)
    assert_same(torch_import.import_file(path, "tiny", num_classes=10, key="teacher")[0], variables)
    path = pickles.save(tmp_path / "b.pth", {"model": state_dict, "model_ema": other})
    with caplog.at_level("INFO", "augmax_jax"):
        torch_import.import_file(path, "tiny", num_classes=10)
    assert "taken: 'model'; model_ema would fit too (--key)" in caplog.text


QUARTER, HALF = (0.25,) * 3, (0.5,) * 3


@pytest.mark.parametrize(
    ("entries", "given", "expected", "said"),
    [
        ({}, None, (0.0, 1.0), ""),
        ({"mu": CHANNELS, "sigma": 2 * CHANNELS}, None, (0.25, 0.5), "INFO.*which is used"),
        ({"n.mean": CHANNELS, "n.std": 2 * CHANNELS}, (0.25, 0.5), (0.25, 0.5), ""),
        ({"mean": CHANNELS, "std": CHANNELS}, (0.5, 0.5), (0.5, 0.5), "WARNING.*unlike --mean"),
        ({"mean": 400 * CHANNELS, "std": CHANNELS}, None, (0.0, 1.0), "WARNING.*scale from 0"),
        ({"mu": CHANNELS}, None, (0.0, 1.0), ""),
        (
            {"a.mean": CHANNELS, "a.std": CHANNELS, "b.mean": CHANNELS, "b.std": 2 * CHANNELS},
            None,
            (0.0, 1.0),
            "WARNING.*others differ",
        ),
    ],
)
def test_input_normalisation_in_the_file(tiny, tmp_path, caplog, entries, given, expected, said):
    path = tmp_path / "a.npz"
    np.savez(path, **under("model.", tiny[1]), **entries)
    mean, std = (None, None) if given is None else ([value] * 3 for value in given)
    with caplog.at_level("INFO", "augmax_jax.pytorch.importing"):
        info = torch_import.import_file(path, "tiny", num_classes=10, mean=mean, std=std)[1]
    assert (info["mean"], info["std"]) == tuple([value] * 3 for value in expected)
    if said:
        assert re.search(said, caplog.text)
    else:
        assert "normalising layer" not in caplog.text


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


def test_unfitting_keys_are_listed(tiny):
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
        "  The checkpoint has 7 classes.",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 7}, "The checkpoint has 10 classes."),
        ({"norm": "bn"}, "The keys look like norm=dubin."),
        ({"norm": "ibn"}, "The keys look like norm=dubin."),
        ({"model_name": "wrn40_2"}, "The keys look like model=tiny."),
        ({"model_name": "resnet50_imagenet"}, "The keys look like model=tiny."),
        ({"prefix": "model."}, "missing (87)"),
    ],
)
def test_a_refusal_is_short_and_says_what_the_file_is(tiny, arguments, message):
    arguments = {"model_name": "tiny", "num_classes": 10, **arguments}
    with pytest.raises(ValueError, match="does not fit the model") as caught:
        torch_import.from_state_dict(under("module.", tiny[1]), **arguments)
    lines = str(caught.value).splitlines()
    assert message in str(caught.value)
    assert len(lines) <= 15
    assert max(map(len, lines)) < 500


@pytest.mark.parametrize("name", list(models.MODELS))
@pytest.mark.parametrize("norm", ["bn", "dubin"])
def test_networks_are_told_from_keys(name, norm):
    keys = torch_keys.entries(models.create(name, 10, norm=norm))
    assert torch_keys.guess_model({f"module.{key}": None for key in keys}) == name
    assert torch_keys.guess_norm(keys) == norm


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
    assert "missing (36): " in str(caught.value)
    assert "left over (76): " in str(caught.value)
    assert len(str(caught.value)) < 1500
    other = jax.tree.map(np.copy, variables)
    other["params"]["conv1"]["kernel"] = np.zeros((5, 5, 3, 16), np.float32)
    with pytest.raises(ValueError, match=r"of another shape \(1\): params/conv1/kernel"):
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
    for name, own in (
        ("tiny", ([0.0] * 3, [1.0] * 3)),
        ("resnet18_imagenet", (list(models.IMAGENET_MEAN), list(models.IMAGENET_STD))),
    ):
        state_dict = to_state_dict(random_variables(name, 4), name, num_classes=4)
        path = tmp_path / f"{name}.npz"
        np.savez(path, **state_dict)
        _, info = torch_import.import_file(path, name, num_classes=4)
        assert (info["mean"], info["std"]) == own
        assert torch_import.build(info) == models.create(name, 4)
        none = {"mean": (0, 0, 0), "std": (1, 1, 1)}
        _, info = torch_import.import_file(path, name, num_classes=4, **none)
        assert torch_import.build(info) == models.create(name, 4, **none)
        assert torch_import.build(info).mean is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tinny"], "unknown model 'tinny'. Did you mean 'tiny'?"),
        (["--model", "wrn40_2"], "does not fit the model wrn40_2"),
        (["--num_classes", "7"], "The checkpoint has 10 classes."),
        (["--num_classes", "0"], "num_classes must be at least 1, got 0"),
        (["--norm", "bin"], "unknown norm 'bin'"),
        (["--norm", "ibn"], "The keys look like norm=dubin."),
        (["--widen_factor", "2"], "unknown option of model 'tiny' 'widen_factor'"),
        (["--checkpoint", "nowhere.pth"], "no checkpoint file at nowhere.pth"),
        (["--checkpoint", "."], ". is a directory: name the checkpoint file in it"),
        (["--checkpoint", "gs://bucket/a.pth"], "is not a path on this machine"),
        (["--checkpoint", __file__], "is a text file, which begins with"),
        (["--key", "ema"], "no key 'ema'; the file has 'module."),
        (["--prefix", "net."], "missing (87)"),
        (["--mean", "0", "0", "0"], "mean and std go together"),
        (["--mean", "0", "0", "0", "--std", "0", "1", "1"], "std must be positive"),
        (["--out", __file__], "is not an empty directory; choose another --out"),
        (["--out", f"{__file__}/a"], "cannot be written"),
        (["--out", "runs[1]/a"], "holds [ ], and checkpoints below such a path cannot be read"),
        (["--out", "gs://bucket/a"], "is not a path on this machine"),
    ],
)
def test_command_errors(checkpoint, tmp_path, arguments, message):
    defaults = ["--checkpoint", str(checkpoint), "--model", "tiny", "--num_classes", "10"]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as caught:
        torch_import.main([*defaults, "--out", str(out), *arguments])
    assert message in str(caught.value.code)
    assert len(str(caught.value.code).splitlines()) <= 15
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


def test_nothing_is_left_where_writing_fails(tiny, tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", fail)
    with pytest.raises(OSError, match=r"No space left on device.*choose another --out"):
        torch_import.save_imported(tmp_path / "a", tiny[0], {})
    assert list(tmp_path.iterdir()) == []


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


def test_the_command_notes_how_images_are_prepared(checkpoint, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"class {i}\n" for i in range(10)))
    arguments = ["--checkpoint", str(checkpoint), "--model", "tiny", "--num_classes", "10"]
    torch_import.main([*arguments, "--out", str(tmp_path / "usual")])
    info = torch_import.load_imported(tmp_path / "usual")[1]
    serving = ("image_size", "test_transform", "class_names", "route", "dtype")
    assert [info[name] for name in serving] == [32, "resize", None, "clean", "float32"]
    flags = ["--class_names", str(names), "--image_size", "24", "--test_transform", "center_crop"]
    torch_import.main([*arguments, "--out", str(tmp_path / "own"), *flags])
    info = torch_import.load_imported(tmp_path / "own")[1]
    assert [info[name] for name in serving[:2]] == [24, "center_crop"]
    assert info["class_names"] == [f"class {i}" for i in range(10)]
    names.write_text("one\ntwo\n")
    for wrong, message in (
        (["--class_names", str(names)], "has 2 names, but --num_classes is 10"),
        (["--class_names", str(tmp_path / "none")], "No such file"),
        (["--image_size", "4"], "--image_size must be at least 8"),
        (["--test_transform", "crop"], "Did you mean 'center_crop'"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            torch_import.main([*arguments, "--out", str(tmp_path / "wrong"), *wrong])
        assert not (tmp_path / "wrong").exists()
