"""An exported network runs on JAX alone, and serves like the run that it comes from."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import augmax_jax
from augmax_jax import (
    export,
    models,
    predict,
    torch_export,
    torch_files,
    torch_import,
    torch_keys,
)
from augmax_jax.inference import Predictor, exporting
from augmax_jax.pytorch import importing

from .conftest import CLASSES, picture

PAGE = Path(__file__).parent.parent.parent / "docs" / "export.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
LOADING, PREPARING, _, TENSORFLOW, _ = EXAMPLES

# JAX, what it needs, and what reading an export needs; not one package more.
ONLY_JAX = ("jax", "jaxlib", "numpy", "ml_dtypes", "scipy", "opt_einsum", "flatbuffers")


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    """The exported run; tests do not change it."""
    path = tmp_path_factory.mktemp("exported") / "digits.zip"
    augmax_jax.export_stablehlo(run, path)
    return path


@pytest.fixture(scope="module")
def network(run):
    return augmax_jax.load(run)


@pytest.fixture(scope="module")
def served(file):
    return augmax_jax.load(file)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)


def unpack(path):
    """`model.json` and the program of an exported file."""
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["model.json", "network.stablehlo"]
        program = jax.export.deserialize(bytearray(archive.read("network.stablehlo")))
        return json.loads(archive.read("model.json")), program


def fails(command, *arguments):
    """The one line with which a command ends."""
    with pytest.raises(SystemExit) as stop:
        command.main([str(argument) for argument in arguments])
    message = stop.value.code
    assert isinstance(message, str)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_a_process_that_has_only_jax_runs_it(file, network, images, tmp_path):
    """With the lines of the documentation."""
    shutil.copy(file, tmp_path / "digits.zip")
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "only").mkdir()
    for name in ONLY_JAX:
        package = Path(importlib.util.find_spec(name).origin).parent
        (tmp_path / "only" / name).symlink_to(package)
    code = (
        "import sys\nsys.path.insert(0, 'only')\nimport numpy as np\n"
        f"images = np.load('images.npy')\n{LOADING}\nnp.save('logits.npy', logits)\nprint(*names)\n"
    )
    command = [sys.executable, "-I", "-S", "-c", code]  # without site-packages
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = network.logits(images)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5, rtol=0)
    assert done.stdout.split() == [CLASSES[i] for i in expected.argmax(-1)]


@pytest.mark.parametrize(("transform", "resize"), [("resize", 16), ("center_crop", 18)])
def test_the_rule_for_photographs_is_that_of_evaluation(network, photos, transform, resize):
    """Also by the lines of the documentation."""
    preparation = {"resize_shorter_side": resize}
    names = {"about": {"image_size": 16, "export": {"preparation": preparation}}}
    exec(PREPARING, names)
    known = Predictor(
        network.model, network.variables, CLASSES, image_size=16, test_transform=transform
    )
    for path in sorted((photos / "test").glob("*/*")):
        np.testing.assert_array_equal(names["prepare"](path), known.preprocess(path)[0])


def test_it_is_loaded_like_the_run(network, served, images):
    assert (served.class_names, served.has_names) == (CLASSES, True)
    assert (served.image_size, served.resize, served.route) == (16, 16, "clean")
    assert repr(served) == "Predictor(exported tiny, 3 classes, 16x16)"
    pictures = [picture(seed, "ant") for seed in range(5)]
    np.testing.assert_array_equal(served.preprocess(pictures), network.preprocess(pictures))
    np.testing.assert_allclose(served.logits(images), network.logits(images), atol=1e-5, rtol=0)
    pairs = zip(served.predict(pictures, top=2), network.predict(pictures, top=2), strict=True)
    for found, expected in pairs:
        assert [name for name, _ in found] == [name for name, _ in expected]
        assert dict(found) == pytest.approx(dict(expected), abs=1e-5)


def test_what_an_exported_network_lacks_is_said(served, images):
    for name in ("model", "variables"):
        with pytest.raises(AttributeError, match=rf"has no {name}: .*augmax_jax\.load\(RUN\)"):
            getattr(served, name)
    with pytest.raises(AttributeError, match="no attribute 'modle'"):
        served.modle  # noqa: B018
    for wrong in (images[:, :8], images.astype(np.float32), images[0]):
        with pytest.raises(ValueError, match=r"uint8 \[N, 16, 16, 3\], as preprocess makes them"):
            served.logits(wrong)


def test_predict_takes_it_and_the_accuracy_is_that_of_the_results(run, file, photos, tmp_path):
    out = tmp_path / "found.json"
    predict.main([str(file), str(photos / "test"), "--out", str(out)])
    results = json.loads((run / "results.json").read_text())["clean"]["best"]
    assert json.loads(out.read_text())["accuracy"] == results["accuracy"]


def test_the_program_is_for_every_platform_and_batch_and_calls_nothing(file, images):
    _, program = unpack(file)
    assert set(program.platforms) == {"cpu", "cuda", "rocm", "tpu"}
    # JAX's own check of the shape, which it removes when it compiles.
    assert set(re.findall(r"custom_call @(\w+)", program.mlir_module())) <= {"shape_assertion"}
    (taken,), (given,) = program.in_avals, program.out_avals
    assert (str(taken.dtype), str(taken.shape)) == ("uint8", "(N, 16, 16, 3)")
    assert (str(given.dtype), str(given.shape)) == ("float32", "(N, 3)")
    for wrong, message in (
        (
            images[:, :8],
            r"Shape mismatch .* expected \(N, 16, 16, 3\) .* called with \(5, 8, 16, 3",
        ),
        (images.astype(np.float32), "Dtype mismatch .* expected uint8 and called with float32"),
        (images[0], r"Rank mismatch .* expected \(N, 16, 16, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            program.call(wrong)


def test_the_json_says_what_a_user_needs(run, file):
    info, _ = unpack(file)
    kept = json.loads((run / "model.json").read_text())
    assert {name: info[name] for name in kept} == kept  # the provenance of the run is in it
    assert info["class_names"] == list(CLASSES)
    facts = info["export"]
    assert facts["input"]["shape"] == ["N", 16, 16, 3]
    assert facts["output"]["shape"] == ["N", 3]
    assert (facts["preparation"]["resize_shorter_side"], facts["preparation"]["center_crop"]) == (
        16,
        16,
    )
    assert facts["versions"]["jax"] == jax.__version__
    assert facts["command"]
    assert facts["end"] >= facts["start"]


def test_fold_gives_the_same_logits(file, run, images, tmp_path):
    export.main([str(run), "--fold", "--checkpoint", "best", "--out", str(tmp_path / "folded.zip")])
    info, program = unpack(tmp_path / "folded.zip")
    assert (info["norm"], info["export"]["folded"]) == ("ibn", "clean")
    _, plain = unpack(file)
    np.testing.assert_allclose(program.call(images), plain.call(images), atol=1e-6)
    # The other one holds one route too.
    assert (tmp_path / "folded.zip").stat().st_size == pytest.approx(file.stat().st_size, rel=0.01)


def test_a_state_dict_is_that_of_torch_export(run, network, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    export.main([str(tmp_path / "run"), "--format", "pytorch"])
    export.main([str(run), "--fold", "--prefix", "module.", "--out", str(tmp_path / "folded.npz")])
    torch_export.main(["--checkpoint", str(run), "--out", str(tmp_path / "old.safetensors")])
    found = torch_files.read_state_dict(tmp_path / "run" / "exported.safetensors")
    old = torch_files.read_state_dict(tmp_path / "old.safetensors")
    assert found.keys() == old.keys()
    variables = network.variables
    again = torch_import.from_state_dict(found, "tiny", num_classes=3)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    folded = torch_files.read_state_dict(tmp_path / "folded.npz")
    assert all(name.startswith("module.") for name in folded)
    again = torch_import.from_state_dict(folded, "tiny", num_classes=3, norm="ibn")
    jax.tree.map(np.testing.assert_array_equal, again, models.single_route(variables))


def test_a_file_that_is_there_is_kept_unless_told(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    export.main([str(tmp_path / "run")])
    first = (tmp_path / "run" / "exported.zip").read_bytes()
    message = fails(export, tmp_path / "run")
    assert "exported.zip exists: choose another, or replace it with --overwrite" in message
    assert (tmp_path / "run" / "exported.zip").read_bytes() == first
    export.main([str(tmp_path / "run"), "--overwrite", "--checkpoint", "last"])
    assert (tmp_path / "run" / "exported.zip").read_bytes() != first


def damaged(run, tmp_path):
    """A run whose checkpoints were cut short."""
    path = tmp_path / "damaged"
    shutil.copytree(run, path)
    for part in (path / "checkpoints").rglob("*"):
        if part.is_file():
            part.write_bytes(part.read_bytes()[:-20])
    return path


@pytest.mark.parametrize("suffix", ["zip", "npz"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{empty}"], "holds neither an imported model (model.json) nor a run"),
        (["{empty}/no"], "there is no directory"),
        (["{file}"], "there is no directory"),
        (["{damaged}"], "no checkpoint can be read"),
        (["{run}", "--format", "stablehol"], "Did you mean 'stablehlo'? Available: stablehlo, pyt"),
        (
            ["{run}", "--out", "{out}/a.onnx"],
            "unknown suffix of --out '.onnx'. Available: .zip, .npz, ",
        ),
        (["{run}", "--out", "{out}"], "unknown suffix of --out ''"),
        (["{run}", "--out", "{out}/there.{suffix}"], "is a directory: name a file"),
        (["{run}", "--out", "{file}/a/b.{suffix}"], "cannot be written (Not a directory): choose"),
        (["{run}", "--checkpoint", "lats"], "Did you mean 'last'?"),
        (["{run}", "--out", "s3://bucket/a.{suffix}"], "is not a path on this machine"),
    ],
)
def test_bad_input_ends_in_one_line(run, file, tmp_path, suffix, arguments, message):
    names = {"run": run, "file": file, "suffix": suffix}
    names |= {"empty": tmp_path / "empty", "out": tmp_path / "out"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "out" / f"there.{suffix}").mkdir(parents=True)
    if "{damaged}" in arguments:
        names["damaged"] = damaged(run, tmp_path)
    given = [argument.format(**names) for argument in arguments]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "out" / "new" / f"a.{suffix}")]
    before = sorted(tmp_path.rglob("*"))
    assert message in fails(export, *given)
    assert sorted(tmp_path.rglob("*")) == before


def test_options_of_the_other_format_are_refused(run, tmp_path):
    message = fails(export, run, "--prefix", "module.", "--out", tmp_path / "a.zip")
    assert "--prefix is for --format pytorch" in message
    message = fails(export, run, "--format", "pytorch", "--out", tmp_path / "a.zip")
    assert "unknown suffix of --out '.zip'" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["zip", "npz"])
def test_a_disk_that_is_full_leaves_nothing(run, tmp_path, monkeypatch, suffix):
    def full(source, target):
        raise OSError(28, "No space left on device")

    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / f"a.{suffix}"
    monkeypatch.setattr("augmax_jax.runtime.files.os.replace", full)
    message = fails(export, run, "--out", out)
    assert f"a.{suffix} cannot be written (No space left on device): choose another" in message
    assert not list((tmp_path / "out").iterdir())


def repack(path, **changes):
    """The file with other contents, and checksums that fit."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents |= {name.replace("_", "."): text for name, text in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            if text is not None:
                archive.writestr(name, text)


def flip(path, name):
    """Changes one bit in a member of the file."""
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(name).header_offset
    contents = bytearray(path.read_bytes())
    contents[start + 200] ^= 1
    path.write_bytes(contents)


def change(path, **facts):
    """Changes what the file says under "export"."""
    with zipfile.ZipFile(path) as archive:
        info = json.loads(archive.read("model.json"))
    repack(path, model_json=json.dumps({**info, "export": {**info["export"], **facts}}))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "is damaged or is not whole"),
        (lambda p: p.write_bytes(p.read_bytes()[:9000]), "is damaged or is not whole"),
        (lambda p: flip(p, "network.stablehlo"), "is damaged or is not whole"),
        (lambda p: flip(p, "model.json"), "is damaged or is not whole"),
        (lambda p: p.write_bytes(b""), "is no exported network: give a run's --workdir"),
        (lambda p: p.write_text("text"), "is no exported network"),
        (lambda p: repack(p, network_stablehlo=None), "is no exported network"),
        (lambda p: repack(p, model_json="{"), "is no exported network"),
        (lambda p: repack(p, model_json="[]"), "is damaged (it is no JSON object)"),
        (lambda p: repack(p, network_stablehlo=b"x" * 99), "use that version, or export the run"),
        (lambda p: change(p, format=2), "has format 2, and this version of augmax_jax reads 1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(file, photos, tmp_path, break_it, message):
    path = tmp_path / "broken.zip"
    shutil.copy(file, path)
    break_it(path)
    found = fails(predict, path, photos / "test" / "ant" / "0.png")
    assert message in found
    assert "broken.zip" in found


def test_a_pytorch_file_is_to_be_imported_first(run, tmp_path):
    export.main([str(run), "--out", str(tmp_path / "a.npz")])
    with pytest.raises(ValueError, match=r"a\.npz is no exported network: .*torch_import$"):
        augmax_jax.load(tmp_path / "a.npz")


def test_an_import_without_names_is_exported(tmp_path, caplog):
    shapes = torch_keys.abstract_variables(models.create("tiny", 3, norm="bn"))
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    info = {"model": "tiny", "num_classes": 3, "norm": "bn", "options": {}}
    info |= {"mean": [0.5] * 3, "std": [0.25] * 3, "test_transform": "center_crop"}
    importing.save_imported(tmp_path / "import", variables, info)
    message = fails(export, tmp_path / "import", "--fold", "--out", tmp_path / "a.zip")
    assert "must have two routes" in message
    export.main([str(tmp_path / "import"), "--out", str(tmp_path / "a.zip")])
    caplog.clear()
    served = augmax_jax.load(tmp_path / "a.zip")
    assert "a.zip does not say the names of its classes" in caplog.text
    assert (served.class_names, served.has_names) == (("0", "1", "2"), False)
    assert (served.image_size, served.resize) == (32, 37)


def test_a_core_installation_loads_it(file, photos):
    """Without the packages of the extra [train]."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["orbax", "ml_collections", "tqdm", "sklearn", "tensorflow"]))
import augmax_jax
network = augmax_jax.load({str(file)!r})
print(network.preprocess({str(photos / "test" / "bee" / "0.png")!r}).shape, *network.class_names)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 16, 16, 3) ant bee cat\n"


NETWORKS = [
    *(("tiny", {"norm": norm, "mean": (0.5,) * 3, "std": (0.25,) * 3}) for norm in models.NORMS),
    ("tiny", {"dtype": jnp.bfloat16}),
    ("resnet18", {"stem_stride": 2}),
    ("wrn40_2", {"depth": 10}),
    ("resnext29", {"depth": 11, "base_width": 4}),
    ("resnet18_imagenet", {}),
    ("resnet50_imagenet", {"norm": "dubn"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_every_network_is_exported(name, options):
    model = models.create(name, 5, **options)
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x.astype(np.float32))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(  # positive, for the variances
        lambda leaf: rng.uniform(0.01, 0.2, leaf.shape).astype(np.float32), shapes
    )
    program = exporting.lower(model, variables, image_size=32)
    program = jax.export.deserialize(program.serialize())
    expected = jax.jit(model.apply)(variables, x.astype(np.float32) / np.float32(255))
    scale = np.abs(expected).max() * (1e4 if "dtype" in options else 1)
    np.testing.assert_allclose(jax.jit(program.call)(x), expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.slow
def test_tensorflow_takes_it(file, served, images, tmp_path):
    """With the lines of the documentation; a process without JAX runs what they write."""
    pytest.importorskip("tensorflow")
    shutil.copy(file, tmp_path / "digits.zip")
    np.save(tmp_path / "images.npy", images)
    read = "import numpy as np\nimages = np.load('images.npy')\n"
    run_there = (
        "import sys\nfor name in ('jax', 'jaxlib', 'augmax_jax'): sys.modules[name] = None\n"
        f"import tensorflow as tf\n{read}"
        "logits = tf.saved_model.load('digits_saved_model').logits(images)\n"
        "np.save('logits.npy', logits.numpy())\n"
    )
    for code in (f"{read}{LOADING}\n{TENSORFLOW}", run_there):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    expected = served.logits(images)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-5, rtol=0)
