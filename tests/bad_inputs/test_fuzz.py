"""Every reader of a stranger's file, given damaged ones: the documented errors, and little memory.

A sound file is changed at random: bytes, or values within JSON. The fast test tries a few changes
of each kind of file, the slow one many.
"""

import contextlib
import hashlib
import json
import shutil
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import export
from PIL import Image
from safetensors.numpy import save_file

from augmax_jax import config, report
from augmax_jax.corruptions import BENCHMARK
from augmax_jax.data import images, labels
from augmax_jax.data.folder import list_split
from augmax_jax.evaluation import comparison, metrics
from augmax_jax.evaluation.spatial import Worst
from augmax_jax.evaluation.store import Store
from augmax_jax.inference import exported
from augmax_jax.pytorch.files import read_state_dict
from augmax_jax.pytorch.importing import build
from augmax_jax.report.embedding import Pictures
from augmax_jax.runtime import files, lock, model_file, untrusted
from augmax_jax.training import nonfinite, workdir
from augmax_jax.training.checkpoints import Checkpoints, read_variables
from experiments.accelerator import pieces
from tests.pytorch import pickles

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3)}
SCORES = {"accuracy": 0.5, "loss": 1.0, "ece": 0.1, "count": 4}
SEVERITIES = {str(s): 0.5 for s in range(1, 6)}
RESULTS = {
    "method": "augmax", "model": "tiny", "norm": "dubin", "dataset": "digits", "seed": 0,
    "epochs": 1, "selected": "best", "seconds": 3.5, "steps": 10,
    "clean": {"best": {"split": "test", "step": 10, **SCORES, "by_class": [0.5, None],
                       "confusions": {"0": {"1": 3}}}},
    "class_names": ["a", "b"],
    "test_set": {"place": "x", "count": 4, "size": 8, "labels": "ab", "images": "cd"},
    "benchmarks": {"corrupted": {
        "source": "generated", "ra": 0.5, "mce": 1.0, "by_class": [0.5, 0.5],
        "accuracy": dict.fromkeys(BENCHMARK, SEVERITIES),
        "by_corruption": dict.fromkeys(BENCHMARK, 0.5), "by_severity": SEVERITIES,
        "by_family": {"noise": 0.5}, "set": {"count": 4, "constants": "cifar"}}},
    "not_measured": {"x": "missing"},
    "provenance": {"trained": {"seed": 0, "sessions": []}, "evaluated": {"device": "cpu"}},
}  # fmt: skip
HISTORY = [
    {"step": 1, "epoch": 0.5, "kind": "train", "time": 1.7e9, "loss": 2.0, "ascent_steps/0": 1.0},
    {"step": 2, "epoch": 1.0, "kind": "eval", "time": 1.7e9, "holdout_accuracy": 0.5},
]
MODEL = {
    "model": "tiny", "num_classes": 3, "norm": "bn", "options": {}, "mean": [0, 0, 0],
    "std": [1, 1, 1], "dtype": "float32", "image_size": 32, "test_transform": "resize",
    "route": "clean", "class_names": ["a", "b", "c"], "format": 2,
}  # fmt: skip


class Reader(NamedTuple):
    """How to write a sound file into a folder, which returns it, and how it is read."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]


def wrote(path: Path, contents: bytes | str) -> Path:
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return path


def array(folder: Path) -> Path:
    np.save(folder / "a.npy", ARRAYS["w"])
    return folder / "a.npy"


def arrays(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", **ARRAYS)  # type: ignore[arg-type]
    return folder / "a.npz"


def safetensors(folder: Path) -> Path:
    save_file(ARRAYS, folder / "a.safetensors")
    return folder / "a.safetensors"


def picture(kind: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        Image.fromarray(PIXELS).save(folder / f"a.{kind}")
        return folder / f"a.{kind}"

    return write


def table(folder: Path, separator: str = ",") -> Path:
    for name in ("0.png", "1.png"):
        Image.fromarray(PIXELS).save(folder / name)
    rows = [("file", "label", "split"), ("0.png", "a", "train"), ("1.png", "b", "train")]
    return wrote(folder / "labels", "".join(f"{separator.join(row)}\n" for row in rows))


def worst(folder: Path) -> Path:
    outcomes = Worst(folder / "a.npz", owner="me")
    outcomes.add(np.eye(3), np.arange(3))
    return folder / "a.npz"


def exported_network(folder: Path) -> Path:
    @jax.jit
    def count(images: jax.Array) -> jax.Array:
        return images.astype(jnp.float32).sum((1, 2))

    program = export.export(count)(jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8))
    exported.write(folder / "a.zip", program, {**MODEL, "export": {"versions": {"jax": "0"}}})
    return folder / "a.zip"


def batch(folder: Path) -> Path:
    images = np.zeros((2, 8, 8, 3), np.uint8)
    np.savez(folder / "a.npz", image=images, label=np.zeros(2, np.int32))
    return folder / "a.npz"


def annotations(folder: Path) -> Path:
    for name in ("0.png", "1.png"):
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(folder / "images" / name)
    return wrote(folder / "val_annotations.txt", "0.png\ta\t0\t0\n1.png\tb\t0\t0\n")


def packed(folder: Path) -> Path:
    (folder / "runs").mkdir()
    (folder / "runs" / "weights").write_bytes(PIXELS.tobytes())
    return pieces.pack(folder / "runs", folder)[0]


def unpacked(path: Path) -> Any:
    """Unpacks a piece whose index has its checksum, as the index comes from the same stranger."""
    shutil.rmtree(path.parent / "runs", ignore_errors=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    index = {"pieces": [{"name": path.name, "sha256": digest}]}
    (path.parent / "runs.pieces.json").write_text(json.dumps(index))
    return pieces.unpack("runs", path.parent)


def locked(path: Path) -> Any:
    with lock.held(path):
        pass


def go_on(path: Path) -> Any:
    outcomes = Worst(path, owner="me")
    if outcomes.restore():
        with contextlib.suppress(ValueError):  # of another set: the caller sees other shapes
            outcomes.add(np.eye(3), np.arange(3))


def fit(path: Path) -> Any:
    reference = comparison.read(str(path))
    assert reference is not None
    baseline = reference.fit(comparison.Target("corrupted", "cifar", "digits", {"count": 4}))
    return metrics.mean_corruption_error({name: [0.5] * 5 for name in BENCHMARK}, baseline)


def show(path: Path) -> Any:
    return report.render(path.parent, against=())


def mistakes(path: Path) -> Any:
    return Pictures(10**6).mistakes(path, "title")


def network(path: Path) -> Any:
    info = model_file.read(path.parent)
    return info and build(info, dtype=info["dtype"])


STORED = {
    "network": {"a": 1},
    "set": {"b": 2},
    "rows": {"fog": {"1": SCORES}},
    "parts": {"fog": {"1": {}}},
}
MISTAKES = [{"image": "aGVsbG8=", "label": "a", "prediction": "b", "confidence": 0.5, "where": ""}]
TREE = {"state_dict": {"w": pickles.tensor(), "v": pickles.tensor(1, (3,))}, "epoch": 3}

BYTES = {
    "npy": Reader(array, lambda p: untrusted.map_npy(p).tobytes()),
    "npz": Reader(arrays, read_state_dict),
    "safetensors": Reader(safetensors, read_state_dict),
    "pth": Reader(lambda f: pickles.write(f / "a.pth", TREE), read_state_dict),
    "legacy pth": Reader(lambda f: pickles.write_legacy(f / "a.pth", TREE), read_state_dict),
    "png": Reader(picture("png"), images.read),
    "jpg": Reader(picture("jpg"), images.read),
    "gif": Reader(picture("gif"), images.read),
    "tiff": Reader(picture("tiff"), images.read),
    "webp": Reader(picture("webp"), images.read),
    "labels.csv": Reader(table, lambda p: labels.read(p, p.parent)),
    "labels.tsv": Reader(lambda f: table(f, "\t"), lambda p: labels.read(p, p.parent)),
    "annotations": Reader(annotations, lambda p: list_split(p.parent.parent, p.parent.name)),
    "class names": Reader(lambda f: wrote(f / "names", "a\né\nc\n"), files.read_lines),
    "exported": Reader(exported_network, exported.read),
    "batch": Reader(batch, nonfinite.read_batch),
    "pieces": Reader(packed, unpacked),
    ".lock": Reader(lambda f: wrote(f / ".lock", '{"process": 1, "host": "a"}'), locked),
    "worst.npz": Reader(worst, go_on),
    "results.json": Reader(lambda f: wrote(f / "results.json", json.dumps(RESULTS)), fit),
}
VALUES = {
    "config.json": (config.to_dict(config.defaults()), lambda p: workdir.read_config(p.parent)),
    "model.json": (MODEL, network),
    "results.json": (RESULTS, show),
    "baseline.json": (RESULTS, fit),
    "history.jsonl": (HISTORY, show),
    "evaluation.json": (STORED, lambda p: Store(p, network={"a": 1})),
    "mistakes_a.json": (MISTAKES, mistakes),
    "deepaugment.json": ({"seed": 0}, lambda p: files.check_settings(p, {"seed": 0}, "a copy")),
}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 10**18, 10**400, 0.5, -0.0, 1e308, float("nan")]),
    st.sampled_from(["", "nan", "inf", "a", "é", "../../x", "<script>", "\0", "x" * 1000]),
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "drop", "double", "large"]),
        st.integers(0, 2**16),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def damaged(contents: bytes, edits: Any) -> bytes:
    data = bytearray(contents)
    for what, place, value in edits:
        at = place % max(len(data), 1)
        if what == "cut":
            del data[at:]
        elif what == "drop":
            del data[at : at + 1 + value % 16]
        elif what == "double":
            data[at:at] = data[at : at + 1 + value % 64]
        elif what == "large":
            data[at : at + 4] = b"\xff\xff\xff\x7f"
        elif data:
            data[at] = value
    return bytes(data)


def changed(value: Any, path: int, new: Any) -> Any:
    """The value with `new` at a place within it."""
    if not isinstance(value, dict | list) or not value or path % 5 == 0:
        return new
    if isinstance(value, dict):
        names = list(value)
        name = names[path // 5 % len(names)]
        return value | {name: changed(value[name], path // 5 // len(names), new)}
    at = path // 5 % len(value)
    return [*value[:at], changed(value[at], path // 5 // len(value), new), *value[at + 1 :]]


def refuses_or_reads(read: Callable[[Path], Any], path: Path, *, measure: bool) -> None:
    """Reads; only the documented errors may come, with the file's or its folder's name."""
    refusal, size = None, path.stat().st_size
    if measure:
        tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except (ValueError, OSError) as error:
        refusal = error
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < untrusted.allowed(size) + 2**24
    assert refusal is None or 0 < len(str(refusal)) < 5000
    assert type(refusal) is not UnicodeDecodeError


def of(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 100,
        suppress_health_check=list(HealthCheck),
    )


def fuzz_bytes(name: str, folder: Path, examples: int) -> None:
    reader = BYTES[name]
    path = reader.write(folder)
    contents = path.read_bytes()
    reader.read(path)  # sound, and what it imports is there

    @of(examples)
    @given(EDITS)
    def run(edits: Any) -> None:
        path.write_bytes(damaged(contents, edits))
        refuses_or_reads(reader.read, path, measure=examples > 100)

    run()


def fuzz_values(name: str, folder: Path, examples: int) -> None:
    sound, read = VALUES[name]
    path = folder / name

    def put(value: Any) -> None:
        rows = value if name.endswith("jsonl") and isinstance(value, list) else [value]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    put(sound)
    read(path)

    @of(examples)
    @given(st.integers(0, 2**40), ANYTHING)
    def run(place: int, new: Any) -> None:
        put(changed(sound, place, new))
        refuses_or_reads(read, path, measure=examples > 100)

    run()


def fuzz_checkpoint(folder: Path, examples: int) -> None:
    state = {"params": {"head": {"kernel": np.ones((4, 3), np.float32)}}, "statistics": {}}
    with contextlib.closing(Checkpoints(folder / "run")) as checkpoints:
        checkpoints.save("best", 1, state, {"a": 1})
    kept = {p: p.read_bytes() for p in sorted((folder / "run").rglob("*")) if p.is_file()}

    @of(examples)
    @given(st.integers(0, len(kept) - 1), EDITS)
    def run(which: int, edits: Any) -> None:
        path = list(kept)[which]
        path.write_bytes(damaged(kept[path], edits))
        refuses_or_reads(lambda p: read_variables(folder / "run"), path, measure=False)
        path.write_bytes(kept[path])

    run()


@pytest.fixture
def folder(tmp_path):
    """A folder without neighbours, which a report would look at."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize("name", BYTES)
def test_damaged_bytes(name, folder):
    fuzz_bytes(name, folder, 12)


@pytest.mark.parametrize("name", VALUES)
def test_damaged_values(name, folder):
    fuzz_values(name, folder, 12)


def test_damaged_checkpoints(folder):
    fuzz_checkpoint(folder, 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", BYTES)
def test_much_damage_to_bytes(name, folder):
    fuzz_bytes(name, folder, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", VALUES)
def test_much_damage_to_values(name, folder):
    fuzz_values(name, folder, 400)


@pytest.mark.slow
def test_much_damage_to_checkpoints(folder):
    fuzz_checkpoint(folder, 200)
