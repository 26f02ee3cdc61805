"""Robustness sets of npy files, fabricated in their true layouts and sizes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from augmax_jax import data
from augmax_jax.corruption_sets import Source, generate
from augmax_jax.corruptions import BENCHMARK, EXTRA, SEVERITIES
from augmax_jax.data.benchmarks import NAMES, npy_sets, open_benchmark, opening
from tests.data.benchmark_sets import CIFAR10, examples

# CIFAR-C: 150 MB per file when real, so the fabricated ones are sparse.


def write_sparse(path: Path, rows: int, marks: dict[int, int], size: int = 32) -> None:
    """A file of zeros with some rows filled with a value."""
    row_bytes = size * size * 3
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for row, value in marks.items():
            file.seek(start + row * row_bytes)
            file.write(bytes([value]) * row_bytes)
        file.truncate(start + rows * row_bytes)


@pytest.fixture
def cifar10_c(tmp_path) -> Path:
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(np.arange(10_000) % 10, 5))
    for i, name in enumerate((*BENCHMARK, EXTRA[0])):
        write_sparse(folder / f"{name}.npy", 50_000, {10_000 * s + s: 16 * s + i for s in range(5)})
    return folder


@pytest.mark.parametrize("inside", [True, False])
def test_cifar10_c_as_published(cifar10_c, inside):
    root = cifar10_c if inside else cifar10_c.parent
    benchmark = open_benchmark("cifar10_c", root=root, class_names=CIFAR10, image_size=32)
    assert benchmark.kind == "corruptions"
    assert benchmark.source == "published"
    assert benchmark.corruptions == (*BENCHMARK, EXTRA[0])
    assert benchmark.severities == SEVERITIES
    assert benchmark.complete
    assert benchmark.classes is None
    assert (benchmark.location, benchmark.constants) == (str(cifar10_c), "cifar")
    for name, severity in (("gaussian_noise", 1), ("fog", 3), ("jpeg_compression", 5)):
        images, labels = benchmark.load(name, severity).arrays()
        assert images.shape == (10_000, 32, 32, 3)
        mark = 16 * (severity - 1) + BENCHMARK.index(name)
        assert images[severity - 1, 0, 0, 0] == mark
        assert int(images[::499].sum()) == (mark * 3072 if severity == 1 else 0)
        np.testing.assert_array_equal(labels, np.arange(10_000) % 10)


def test_batches_come_from_the_mapped_file(cifar10_c):
    benchmark = open_benchmark("cifar10_c", root=cifar10_c, class_names=CIFAR10, image_size=32)
    batches = list(benchmark.load("snow", 2).eval_batches(4096))
    assert [int(batch["mask"].sum()) for batch in batches] == [4096, 4096, 1808]
    assert batches[0]["image"][1].max() == 16 + BENCHMARK.index("snow")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda f: (f / "fog.npy").unlink(), FileNotFoundError, "lacks 1 of the 15 .*: fog"),
        (lambda f: (f / "labels.npy").unlink(), FileNotFoundError, r"there is no .*labels\.npy"),
        (
            lambda f: write_sparse(f / "fog.npy", 40_000, {}),
            ValueError,
            r"fog\.npy must be uint8 \[50000, 32, 32, 3\], got uint8 \[40000",
        ),
        (
            lambda f: (f / "fog.npy").write_bytes((f / "labels.npy").read_bytes()),
            ValueError,
            r"fog\.npy must be uint8 .* got int64 \[50000\]",
        ),
        (lambda f: (f / "fog.npy").write_bytes(b"x" * 99), ValueError, r"fog\.npy is damaged"),
        (
            lambda f: os.truncate(f / "fog.npy", 9999),
            ValueError,
            r"fog\.npy is damaged",
        ),
        (
            lambda f: np.save(f / "labels.npy", np.arange(10_000) % 10),
            ValueError,
            r"labels\.npy must have 5 x 10000 rows, got 10000",
        ),
        (
            lambda f: np.save(f / "labels.npy", np.zeros(49_999, int)),
            ValueError,
            "as many for each of the 5 severities",
        ),
        (
            lambda f: np.save(f / "labels.npy", np.arange(50_000) // 5000),
            ValueError,
            "the severities have different labels",
        ),
        (
            lambda f: np.save(f / "labels.npy", np.tile(np.arange(10_000) % 11, 5)),
            ValueError,
            r"labels of .*labels\.npy must be in \[0, 10\), got 10",
        ),
        (
            lambda f: np.save(f / "labels.npy", np.zeros(50_000)),
            ValueError,
            "must hold integers.*float64",
        ),
    ],
)
def test_a_damaged_cifar10_c_is_refused_by_name(cifar10_c, change, error, message):
    change(cifar10_c)
    with pytest.raises(error, match=message):
        open_benchmark("cifar10_c", root=cifar10_c, class_names=CIFAR10, image_size=32)


def test_a_model_of_other_classes_or_size_is_refused(cifar10_c):
    with pytest.raises(ValueError, match="'cifar10_c' has 10 classes, but the model has 100"):
        open_benchmark(
            "cifar10_c", root=cifar10_c, class_names=list(map(str, range(100))), image_size=32
        )
    with pytest.raises(ValueError, match=r"must be uint8 \[50000, 64, 64, 3\]"):
        open_benchmark("cifar10_c", root=cifar10_c, class_names=CIFAR10, image_size=64)


def test_parts_that_do_not_exist_are_refused(cifar10_c):
    benchmark = open_benchmark("cifar10_c", root=cifar10_c, class_names=CIFAR10, image_size=32)
    with pytest.raises(ValueError, match=r"unknown corruption of 'cifar10_c' 'fogg'.*mean 'fog'"):
        benchmark.load("fogg", 1)
    with pytest.raises(ValueError, match=r"severity of 'cifar10_c' must be one of .* got 6"):
        benchmark.load("fog", 6)
    with pytest.raises(ValueError, match="unknown corruption of 'cifar10_c' 'None'"):
        benchmark.load()


# Sets of one's own.


def write_npy_set(folder: Path, count: int, severities, names, rng, stamp=True) -> dict:
    folder.mkdir()
    labels = np.arange(count) % 3
    np.save(folder / "labels.npy", np.tile(labels, len(severities)))
    arrays = {
        name: rng.integers(0, 256, (count * len(severities), 16, 16, 3), dtype=np.uint8)
        for name in names
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    if stamp:
        settings = {"severities": list(severities), "classes": 3}
        (folder / "corruptions.json").write_text(json.dumps(settings))
    return arrays


def test_a_generated_set_by_path(tmp_path, rng):
    arrays = write_npy_set(tmp_path / "mine", 11, (1, 3), ("fog", "spatter"), rng)
    benchmark = open_benchmark(str(tmp_path / "mine"), class_names="abc", image_size=16)
    assert (benchmark.name, benchmark.source) == ("mine", "generated")
    assert benchmark.corruptions == ("fog", "spatter")
    assert benchmark.severities == (1, 3)
    assert not benchmark.complete
    images, labels = examples(benchmark.load("spatter", 3))
    np.testing.assert_array_equal(images, arrays["spatter"][11:])
    np.testing.assert_array_equal(labels, np.arange(11) % 3)
    with pytest.raises(ValueError, match="'mine' has 3 classes, but the model has 2"):
        open_benchmark(str(tmp_path / "mine"), class_names="ab", image_size=16)


@pytest.mark.parametrize("layout", ["npy", "folder"])
def test_what_our_generator_writes_is_read(tmp_path, layout):
    source = Source("digits", image_size=16)
    generate(
        source,
        tmp_path / "digits-c",
        corruptions=("contrast", "brightness"),
        severities=(1, 4),
        layout=layout,
        progress=False,
    )
    clean = data.load({"name": "digits", "image_size": 16}, seed=0)
    benchmark = open_benchmark(
        str(tmp_path / "digits-c"), class_names=clean.class_names, image_size=16
    )
    assert (benchmark.name, benchmark.source) == ("digits-c", "generated")
    assert benchmark.corruptions == ("brightness", "contrast")
    assert benchmark.severities == (1, 4)
    images, labels = examples(benchmark.load("brightness", 4))
    expected, expected_labels = clean.test.arrays()
    assert sorted(labels) == sorted(expected_labels)
    assert images.mean() > expected.mean() + 40
    if layout == "npy":
        np.testing.assert_array_equal(labels, expected_labels)


def test_files_of_unknown_origin_by_path(tmp_path, rng):
    write_npy_set(tmp_path / "mine", 6, SEVERITIES, (*BENCHMARK, "zebra"), rng, stamp=False)
    benchmark = open_benchmark(str(tmp_path / "mine"), class_names="abc", image_size=16)
    assert benchmark.source == "files"
    assert benchmark.corruptions == (*BENCHMARK, "zebra")
    assert benchmark.complete
    (tmp_path / "mine/corruptions.json").write_text("{")
    with pytest.raises(ValueError, match=r"corruptions\.json is damaged"):
        open_benchmark(str(tmp_path / "mine"), class_names="abc", image_size=16)


# CIFAR-10.1


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_cifar10_1_files(tmp_path, version):
    counts = npy_sets.CIFAR10_1_COUNTS[version]
    assert sum(counts) == {"v4": 2021, "v6": 2000}[version]
    labels = np.repeat(np.arange(10, dtype=np.int32), counts)
    images = np.broadcast_to(labels[:, None, None, None], (len(labels), 32, 32, 3))
    folder = tmp_path / "CIFAR-10.1"
    folder.mkdir()
    np.save(folder / f"cifar10.1_{version}_data.npy", images.astype(np.uint8))
    np.save(folder / f"cifar10.1_{version}_labels.npy", labels)
    benchmark = open_benchmark(
        f"cifar10_1_{version}", root=tmp_path, class_names=CIFAR10, image_size=32
    )
    assert benchmark.kind == "shift"
    assert benchmark.corruptions == ()
    loaded, loaded_labels = examples(benchmark.load())
    np.testing.assert_array_equal(loaded[:, 0, 0, 0], loaded_labels)
    np.testing.assert_array_equal(loaded_labels, labels)
    with pytest.raises(ValueError, match="has no corruptions, got corruption='fog'"):
        benchmark.load("fog", 1)

    def reopen():
        open_benchmark(f"cifar10_1_{version}", root=folder, class_names=CIFAR10, image_size=32)

    np.save(folder / f"cifar10.1_{version}_labels.npy", np.roll(labels, 1) * 0 + labels[::-1])
    reopen()  # order is free
    np.save(folder / f"cifar10.1_{version}_labels.npy", np.zeros_like(labels))
    with pytest.raises(ValueError, match="images per class, got"):
        reopen()
    np.save(folder / f"cifar10.1_{version}_labels.npy", labels[1:])
    with pytest.raises(ValueError, match=f"must have {len(labels)} labels"):
        reopen()
    np.save(folder / f"cifar10.1_{version}_data.npy", images[1:].astype(np.uint8))
    with pytest.raises(ValueError, match=rf"must be uint8 \[{len(labels)}, 32, 32, 3\]"):
        reopen()


# Names


def test_unknown_names_and_absent_sets(tmp_path):
    with pytest.raises(
        ValueError, match=r"unknown benchmark 'cifar10-c'\. Did you mean 'cifar10_c'"
    ):
        open_benchmark("cifar10-c", class_names=CIFAR10, image_size=32)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_benchmark(str(tmp_path / "nothing"), class_names=CIFAR10, image_size=32)
    with pytest.raises(FileNotFoundError, match="has no corruptions; the layout is"):
        open_benchmark(str(tmp_path), class_names=CIFAR10, image_size=32)
    for name, facts in opening.CORRUPTIONS.items():
        assert name in NAMES
        with pytest.raises(FileNotFoundError, match=f"{name}.*{facts.folder}.*{facts.where}"):
            open_benchmark(name, root=tmp_path, class_names=CIFAR10, image_size=32)
    with pytest.raises(ValueError, match="unknown bad_images 'ignore'"):
        open_benchmark("cifar10_c", class_names=CIFAR10, image_size=32, bad_images="ignore")
