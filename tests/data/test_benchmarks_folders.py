"""Robustness sets of image folders, fabricated in their true layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmax_jax.corruptions import BENCHMARK, SEVERITIES
from augmax_jax.data.benchmarks import open_benchmark, opening
from tests.data.benchmark_sets import examples


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
        facts = opening.Published(folder, "folder", 3, images, "nowhere", "imagenet")
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
