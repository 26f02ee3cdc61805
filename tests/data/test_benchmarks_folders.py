"""Robustness sets of image folders, fabricated in their true layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmax_jax.corruptions import BENCHMARK, SEVERITIES
from augmax_jax.data.benchmarks import open_benchmark, opening
from tests.data.benchmark_sets import examples


def write_folders(root: Path, corruptions, classes, *, size=16, count=2, severities=SEVERITIES):
    """`<corruption>/<severity>/<class>/*`, each image has one colour, which encodes its path."""
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
    with pytest.raises(ValueError, match=r"frost/3 has 3 classes, .*: 'n03', 'n09'"):
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


# ImageNet-V2, -A, -R and -C as their archives extract, and networks of other classes.

IMAGENET = tuple(f"n{10 * i:08}" for i in range(1000))


def color_of(label: int) -> tuple[int, int, int]:
    return label // 16, label % 16 * 16, 9


def write_classes(folder: Path, names, labels, *, count=1):
    """`<folder>/<name>/*`, of the colour of the label."""
    for name, label in zip(names, labels, strict=True):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (20, 18), color_of(label)).save(folder / name / f"{k}.png")


def colors(split, class_names):
    """The image's true class by its colour, and the class that the label names."""
    images, labels = examples(split)
    true = images[:, 8, 8, 0].astype(int) * 16 + images[:, 8, 8, 1] // 16
    return [IMAGENET[i] for i in true], [class_names[i] for i in labels]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The four sets with all their classes: V2 numbered, A and R of 200 classes, a README."""
    root = tmp_path_factory.mktemp("archives")
    v2 = root / "imagenetv2-matched-frequency-format-val"
    write_classes(v2, map(str, range(1000)), range(1000))
    for name, labels in (("imagenet-a", range(0, 1000, 5)), ("imagenet-r", range(200))):
        write_classes(root / name, [IMAGENET[i] for i in labels], labels, count=2)
        (root / name / "README.txt").write_text("licence")
        (root / name / ".DS_Store").write_bytes(b"x")
    return root


@pytest.fixture
def known(monkeypatch):
    """The table of identifiers, without tfds."""
    monkeypatch.setattr(
        "augmax_jax.data.benchmarks.wnids.imagenet_classes", lambda *arguments: IMAGENET
    )


MODELS = {
    "in order": IMAGENET,
    "in another order": IMAGENET[::-1],
    "20 of the classes": IMAGENET[100:200:5],
    "20 and others": ("cat", *IMAGENET[100:200:5][::-1], "dog"),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["imagenet_v2", "imagenet_a", "imagenet_r"])
def test_archives_match_by_wnid_or_number(archives, known, name, model, caplog):
    class_names = MODELS[model]
    benchmark = open_benchmark(name, root=archives, class_names=class_names, image_size=16)
    true, labelled = colors(benchmark.load(), class_names)
    assert true == labelled
    shared = 20 if len(class_names) < 1000 else {"imagenet_v2": 1000}.get(name, 200)
    assert len(set(true)) == shared
    everything = shared == len(class_names)
    assert (benchmark.classes is None) == everything
    assert everything or {class_names[i] for i in benchmark.classes} == set(true)
    total = 1000 if name == "imagenet_v2" else 200
    if len(class_names) == 1000:
        assert (benchmark.note, benchmark.source) == ("", "published")
    else:
        assert f"20 of its {total} classes" in benchmark.note
        assert f"so {len(true)} of " in benchmark.note
        assert benchmark.note in caplog.text
        assert benchmark.source == "files"  # figures of a part are no published ones


def test_numbers_are_labels_of_a_model_whose_classes_have_other_names(archives):
    names = [f"thing {i}" for i in range(1000)]
    benchmark = open_benchmark("imagenet_v2", root=archives, class_names=names, image_size=16)
    true, labelled = colors(benchmark.load(), names)
    assert [IMAGENET.index(name) for name in true] == [names.index(name) for name in labelled]


@pytest.mark.parametrize("name", ["imagenet_v2", "imagenet_a"])
def test_a_model_that_shares_no_class_is_refused(archives, known, name):
    for class_names in (("cat", "dog"), ("cat", IMAGENET[0], "dog")):
        with pytest.raises(ValueError, match=r"At least two classes must have the same names"):
            open_benchmark(name, root=archives, class_names=class_names, image_size=16)


def test_numbers_of_a_small_model_need_the_table(archives, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"by number, and the model has 20 classes, not 1000"):
        open_benchmark("imagenet_v2", root=archives, class_names=IMAGENET[:20], image_size=16)


def test_the_table_of_tfds_is_found():
    from augmax_jax.data.benchmarks import wnids

    found = wnids.of_numbers(["999", "0"] + ["1"] * 998, ["a", "b"], "x")
    assert found[:2] == ["n15075141", "n01440764"]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("imagenet_v2/threshold-0.7", "imagenetv2-threshold0.7-format-val"),
        ("imagenet_v2/topimages", "imagenetv2-top-images-format-val"),
        ("imagenet_r", "imagenet-r"),
    ],
)
def test_an_absent_archive_is_asked_for_by_its_folder(tmp_path, name, folder):
    with pytest.raises(FileNotFoundError) as caught:
        open_benchmark(
            name, root=tmp_path, data_dir=tmp_path, class_names=IMAGENET[:3], image_size=16
        )
    assert str(tmp_path / folder) in str(caught.value)
    assert "download_and_prepare()" in str(caught.value)


@pytest.mark.parametrize("below", ["ImageNet-C", ""])
def test_imagenet_c_on_a_model_of_some_classes(tmp_path, small_published, below, caplog):
    root = tmp_path / below
    write_folders(root / "noise", BENCHMARK[:3], WNIDS)
    write_folders(root, BENCHMARK[3:], WNIDS)
    names = ("n03", "cat", "n01")
    benchmark = open_benchmark("imagenet_c", root=tmp_path, class_names=names, image_size=16)
    assert benchmark.complete
    assert benchmark.classes.tolist() == [0, 2]
    assert benchmark.source == "files"
    assert "2 of its 3 classes are among the model's 3, so 4 of 6 images" in benchmark.note
    assert benchmark.note in caplog.text
    images, labels = examples(benchmark.load("fog", 2))
    assert labels.tolist() == [2, 2, 0, 0]
    np.testing.assert_array_equal(images[:, 3, 3, 2], [0, 0, 40, 40])
    with pytest.raises(ValueError, match="At least two classes"):
        open_benchmark("imagenet_c", root=tmp_path, class_names=("cat", "n01"), image_size=16)


def test_sets_that_are_not_imagenets_need_all_classes(tmp_path):
    """A wrong class name raises an error and does not leave figures of the other classes."""
    write_folders(tmp_path / "mine", ["fog"], ["cat", "dog", "owl"])
    with pytest.raises(ValueError, match=r"does not know 1: 'owl'\. The model's: 'cat', 'dog', 'o"):
        open_benchmark(str(tmp_path / "mine"), class_names=("cat", "dog", "olw"), image_size=16)
