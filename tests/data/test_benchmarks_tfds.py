"""Robustness sets that tfds prepared; ImageNet-A, which it has too, as a folder."""

import contextlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from augmax_jax.corruptions import BENCHMARK, EXTRA, SEVERITIES
from augmax_jax.data.benchmarks import open_benchmark, opening
from tests.data.benchmark_sets import CIFAR10, examples


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
    if name == "cifar10_corrupted":
        with pytest.raises(ValueError, match="has 3 classes, but the model has 4"):
            open_benchmark(name, data_dir=str(folder), class_names="abcd", image_size=size)
    else:  # of ImageNet's classes a model may have some
        other = open_benchmark(name, data_dir=str(folder), class_names="xcya", image_size=size)
        assert other.classes.tolist() == [1, 3]
        assert (other.source, "2 of its 3 classes" in other.note) == ("files", True)
        assert "2 of 3 images take part" in other.note
        images, labels = examples(other.load("fog", 1))
        for image, label in zip(images, labels, strict=True):
            np.testing.assert_array_equal(image, written["fog", 1]["abc".index("xcya"[label])])
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
    with pytest.raises(ValueError, match=r"does not know 1: 'n04'\..* At least two"):
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
