"""Published robustness sets, fabricated in their true layouts and sizes."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from augmax_jax import data
from augmax_jax.corruptions import BENCHMARK, EXTRA, SEVERITIES, Source, generate
from augmax_jax.data.benchmarks import NAMES, open_benchmark, opening

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def examples(split) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of a split, through its batches."""
    batches = list(split.eval_batches(7))
    images, labels, mask = (
        np.concatenate([batch[name] for batch in batches]) for name in ("image", "label", "mask")
    )
    assert mask.sum() == len(split)
    return images[mask], labels[mask]


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
    with pytest.raises(ValueError, match=r"corruptions\.json is not JSON"):
        open_benchmark(str(tmp_path / "mine"), class_names="abc", image_size=16)


# Image folders.


def write_folders(root: Path, corruptions, classes, *, size=16, count=2, severities=SEVERITIES):
    """`<corruption>/<severity>/<class>/*`, each image of one colour that tells where it is."""
    for i, corruption in enumerate(corruptions):
        for severity in severities:
            for label, name in enumerate(classes):
                folder = root / corruption / str(severity) / name
                folder.mkdir(parents=True)
                for k in range(count):
                    color = (10 * i, 40 * severity, 20 * label)
                    Image.new("RGB", (size, size), color).save(folder / f"{k}.JPEG", "PNG")


@pytest.fixture
def small_published(monkeypatch):
    """Tiny ImageNet-C and ImageNet-C with 3 classes and 6 images, in their true layouts."""
    for name, folder, images in (
        ("tiny_imagenet_c", "Tiny-ImageNet-C", 0),
        ("imagenet_c", "ImageNet-C", 6),
    ):
        facts = opening.Published(folder, "folder", 3, images, "nowhere")
        monkeypatch.setitem(opening.CORRUPTIONS, name, facts)


WNIDS = ("n01", "n02", "n03")


def test_tiny_imagenet_c_folders(tmp_path, small_published):
    write_folders(tmp_path / "Tiny-ImageNet-C", BENCHMARK, WNIDS)
    # The model's classes may come in another order.
    names = ("n03", "n01", "n02")
    benchmark = open_benchmark("tiny_imagenet_c", root=tmp_path, class_names=names, image_size=16)
    assert benchmark.corruptions == BENCHMARK
    assert benchmark.complete
    images, labels = examples(benchmark.load("fog", 4))
    assert labels.tolist() == [1, 1, 2, 2, 0, 0]
    np.testing.assert_array_equal(images[:, 3, 3, 0], 10 * BENCHMARK.index("fog"))
    np.testing.assert_array_equal(images[:, 3, 3, 1], 160)
    np.testing.assert_array_equal(images[:, 3, 3, 2], [0, 0, 20, 20, 40, 40])


def test_imagenet_c_in_the_folders_of_its_archives(tmp_path, small_published):
    root = tmp_path / "ImageNet-C"
    for archive, names in (
        ("noise", BENCHMARK[:3]),
        ("blur", BENCHMARK[3:7]),
        ("weather", BENCHMARK[7:11]),
        ("digital", BENCHMARK[11:]),
    ):
        write_folders(root / archive, names, WNIDS)
    benchmark = open_benchmark("imagenet_c", root=tmp_path, class_names=WNIDS, image_size=16)
    assert benchmark.corruptions == BENCHMARK
    assert len(benchmark.load("snow", 1)) == 6
    (root / "weather/snow/2/n02/0.JPEG").unlink()
    with pytest.raises(ValueError, match=r"snow/2 must have 6 images, found 5"):
        benchmark.load("snow", 2)


def test_files_of_the_models_size_are_not_resized(tmp_path, small_published, rng):
    root = tmp_path / "ImageNet-C"
    write_folders(root, BENCHMARK, WNIDS)
    pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "fog/1/n01/0.JPEG", "PNG")
    benchmark = open_benchmark("imagenet_c", root=root, class_names=WNIDS, image_size=16)
    images, _ = examples(benchmark.load("fog", 1))
    np.testing.assert_array_equal(images[0], pixels)


def test_wrong_folders_are_refused_by_name(tmp_path, small_published):
    root = tmp_path / "Tiny-ImageNet-C"
    write_folders(root, [name for name in BENCHMARK if name not in ("frost", "fog")], WNIDS)
    with pytest.raises(FileNotFoundError, match="lacks 2 of the 15 corruptions: frost, fog"):
        open_benchmark("tiny_imagenet_c", root=root, class_names=WNIDS, image_size=16)
    write_folders(root, ["fog"], WNIDS)
    write_folders(root, ["frost"], WNIDS, severities=(1, 2, 4, 5))
    with pytest.raises(FileNotFoundError, match="frost lacks severity 3"):
        open_benchmark("tiny_imagenet_c", root=root, class_names=WNIDS, image_size=16)
    write_folders(root, ["frost"], [*WNIDS[:2], "n09"], severities=(3,))
    benchmark = open_benchmark("tiny_imagenet_c", root=root, class_names=WNIDS, image_size=16)
    with pytest.raises(ValueError, match=r"frost/3 has 3 classes, .* does not know 1: n09"):
        benchmark.load("frost", 3)
    with pytest.raises(ValueError, match="'tiny_imagenet_c' has 3 classes, but the model has 2"):
        open_benchmark("tiny_imagenet_c", root=root, class_names=WNIDS[:2], image_size=16)


def test_the_faulty_frost_of_tiny_imagenet_c_is_recognised(tmp_path, small_published):
    root = tmp_path / "Tiny-ImageNet-C"
    write_folders(root, [name for name in BENCHMARK if name != "frost"], WNIDS, count=1)
    many = [f"n{i:04}" for i in range(1000)]
    write_folders(root, ["frost"], many, count=1, severities=(1,))
    for severity in SEVERITIES[1:]:
        (root / "frost" / str(severity)).mkdir()
    benchmark = open_benchmark("tiny_imagenet_c", root=root, class_names=WNIDS, image_size=16)
    with pytest.raises(ValueError, match=r"frost/1 has 1000 classes, .*Zenodo record 8206060"):
        benchmark.load("frost", 1)


def test_a_generated_folder_by_path(tmp_path):
    write_folders(tmp_path / "mine", ["snow", "fog"], ["a_b", "c"], severities=(2, 5))
    benchmark = open_benchmark(str(tmp_path / "mine"), class_names=["a/b", "c"], image_size=16)
    assert benchmark.corruptions == ("snow", "fog")
    assert benchmark.severities == (2, 5)
    assert examples(benchmark.load("fog", 5))[1].tolist() == [0, 0, 1, 1]


def test_damaged_images_are_refused_or_skipped(tmp_path):
    write_folders(tmp_path / "mine", ["fog"], ["a", "b"])
    (tmp_path / "mine/fog/1/a/0.JPEG").write_bytes(b"")
    path = str(tmp_path / "mine")
    refusing = open_benchmark(path, class_names="ab", image_size=16)
    with pytest.raises(ValueError, match=r"fog/1/a/0\.JPEG"):
        list(refusing.load("fog", 1).eval_batches(4))
    skipping = open_benchmark(path, class_names="ab", image_size=16, bad_images="skip")
    (batch,) = skipping.load("fog", 1).eval_batches(4)
    assert batch["mask"].tolist() == [False, True, True, True]


# CIFAR-10.1


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_cifar10_1_files(tmp_path, version):
    counts = opening.arrays.CIFAR10_1_COUNTS[version]
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


# tfds


def test_cifar10_1_through_tfds(prepare_tfds, rng, tmp_path):
    images = list(rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8))
    folder = prepare_tfds(
        "cifar10_1",
        {"test": (images, [i % 10 for i in range(20)])},
        names=list(CIFAR10),
        shape=(32, 32, 3),
        config="v4",
    )
    benchmark = open_benchmark(
        "cifar10_1_v4",
        root=tmp_path,
        data_dir=str(folder),
        class_names=CIFAR10[::-1],
        image_size=32,
    )
    assert benchmark.source == "tfds"
    loaded, labels = examples(benchmark.load())
    by_bytes = {image.tobytes(): i % 10 for i, image in enumerate(images)}
    assert labels.tolist() == [9 - by_bytes[image.tobytes()] for image in loaded]


def prepare_corrupted(prepare_tfds, name, rename, size, split, class_names):
    rng = np.random.default_rng(0)
    written = {}
    for corruption in BENCHMARK:
        for severity in SEVERITIES:
            images = list(rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8))
            written[corruption, severity] = images
            folder = prepare_tfds(
                name,
                {split: (images, [0, 1, 2])},
                names=list(class_names),
                shape=(size, size, 3),
                config=f"{rename.get(corruption, corruption)}_{severity}",
            )
    return folder, written


@pytest.mark.parametrize(
    ("name", "rename", "size", "split"),
    [
        (
            "cifar10_corrupted",
            {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"},
            32,
            "test",
        ),
        ("imagenet2012_corrupted", {}, 24, "validation"),
    ],
)
def test_corrupted_sets_of_tfds(prepare_tfds, name, rename, size, split):
    # The names are those that tfds itself registers.
    registered = {config.name for config in tfds.builder_cls(name).BUILDER_CONFIGS}
    assert {f"{rename.get(c, c)}_{s}" for c in BENCHMARK + EXTRA for s in SEVERITIES} <= registered
    with contextlib.redirect_stdout(None):
        folder, written = prepare_corrupted(prepare_tfds, name, rename, size, split, "abc")
    benchmark = open_benchmark(name, data_dir=str(folder), class_names="abc", image_size=size)
    assert benchmark.corruptions == BENCHMARK
    assert benchmark.complete
    for part in (("glass_blur", 2), ("elastic_transform", 5), ("fog", 1)):
        images, labels = examples(benchmark.load(*part))
        for image, label in zip(images, labels, strict=True):
            np.testing.assert_array_equal(image, written[part][label])
    with pytest.raises(ValueError, match="has 3 classes, but the model has 4"):
        open_benchmark(name, data_dir=str(folder), class_names="abcd", image_size=size)
    for path in folder.glob(f"{name}/fog_3/*/features.json"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of the 15 corruptions: fog"):
        open_benchmark(name, data_dir=str(folder), class_names="abc", image_size=size)


@pytest.mark.parametrize("name", ["cifar10_corrupted", "imagenet_v2", "imagenet_a", "cifar10_1"])
def test_tfds_sets_that_are_not_prepared(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"download_and_prepare\(\)"):
        open_benchmark(name, data_dir=str(tmp_path), class_names=CIFAR10, image_size=32)


@pytest.fixture
def few_classes(monkeypatch):
    monkeypatch.setattr(opening, "SUBSET_CLASSES", 2)


def test_imagenet_r_through_tfds_keeps_to_its_classes(prepare_tfds, rng, few_classes):
    names = [f"n{i:02}" for i in range(6)]
    images = [rng.integers(0, 256, (40, 30 + i, 3), dtype=np.uint8) for i in range(8)]
    folder = prepare_tfds("imagenet_r", {"test": (images, [1, 4] * 4)}, names=names)
    model = [*names[3:], *names[:3]]  # another order: n01 is class 4, n04 is class 1
    benchmark = open_benchmark("imagenet_r", data_dir=str(folder), class_names=model, image_size=16)
    assert benchmark.classes.tolist() == [1, 4]
    loaded, labels = examples(benchmark.load())
    assert sorted(labels) == [1] * 4 + [4] * 4
    assert loaded.shape == (8, 16, 16, 3)
    hosts = [
        open_benchmark(
            "imagenet_r",
            data_dir=str(folder),
            class_names=model,
            image_size=16,
            process_index=host,
            process_count=2,
        ).load()
        for host in (0, 1)
    ]
    shown = [sum(int(b["mask"].sum()) for b in host.eval_batches(4)) for host in hosts]
    assert shown == [4, 4]


def test_imagenet_a_as_a_folder_keeps_to_its_classes(tmp_path, rng, few_classes):
    for name in ("n04", "n01"):
        folder = tmp_path / "imagenet-a" / name
        folder.mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg")
    (tmp_path / "imagenet-a/README.txt").write_text("x")
    names = [f"n{i:02}" for i in range(6)]
    benchmark = open_benchmark("imagenet_a", root=tmp_path, class_names=names, image_size=16)
    assert benchmark.classes.tolist() == [1, 4]
    assert benchmark.source == "published"
    images, labels = examples(benchmark.load())
    assert labels.tolist() == [1, 1, 1, 4, 4, 4]
    # Natural images: shorter side to 256/224 of the size, then the centre.
    with Image.open(tmp_path / "imagenet-a/n01/0.jpg") as image:
        whole = np.asarray(image.resize((24, 18), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images[0], whole[1:17, 4:20])
    with pytest.raises(ValueError, match="does not know 1: n04"):
        open_benchmark("imagenet_a", root=tmp_path, class_names=names[:3], image_size=16)
    (tmp_path / "imagenet-a/n05").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "imagenet-a/n05/0.png")
    with pytest.raises(ValueError, match="must have 2 class folders, found 3"):
        open_benchmark("imagenet_a", root=tmp_path, class_names=names, image_size=16)


def test_imagenet_v2_configurations(prepare_tfds, rng, monkeypatch):
    images = [rng.integers(0, 256, (20, 20, 3), dtype=np.uint8) for _ in range(4)]
    for config in ("matched-frequency", "topimages"):
        folder = prepare_tfds(
            "imagenet_v2",
            {"test": (images, [0, 1, 2, 1])},
            names=["a", "b", "c"],
            config=config,
            version="3.0.0",
        )
    monkeypatch.setattr(opening, "IMAGENET_CLASSES", 3)

    def opened(name):
        return open_benchmark(name, data_dir=str(folder), class_names="abc", image_size=16)

    assert opened("imagenet_v2").name == "imagenet_v2/matched-frequency"
    assert opened("imagenet_v2/topimages").classes is None
    assert sorted(examples(opened("imagenet_v2").load())[1]) == [0, 1, 1, 2]
    with pytest.raises(FileNotFoundError, match=r"threshold-0\.7"):
        opened("imagenet_v2/threshold-0.7")


def test_numbered_classes_of_tfds_match_by_place(prepare_tfds, rng):
    images = list(rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8))
    folder = prepare_tfds(
        "cifar10_1",
        {"test": (images, list(range(10)))},
        num_classes=10,
        shape=(32, 32, 3),
        config="v6",
    )
    arguments = {"data_dir": str(folder), "image_size": 32}
    benchmark = open_benchmark("cifar10_1_v6", class_names=CIFAR10, **arguments)
    assert sorted(examples(benchmark.load())[1]) == list(range(10))


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
