"""Image folders: layouts, order, damaged files, streaming equal to memory."""

import itertools
import logging
import time

import numpy as np
import pytest
from PIL import Image

from augmax_jax import data
from augmax_jax.data.folder import list_split
from augmax_jax.data.folder_split import report_bad

CLASSES = {"cat": 9, "dog": 7, "emu": 5}
SPLITS = {"train": CLASSES, "test": {"cat": 2, "dog": 3, "emu": 2}}


def settings(root, **kwargs):
    return {"name": str(root), "image_size": 12, "holdout": 0.0, **kwargs}


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_batches_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_folder_is_read_in_order_of_class_and_name(make_folder):
    root = make_folder(SPLITS)
    loaded = data.load(settings(root), seed=0)
    assert loaded.class_names == ("cat", "dog", "emu")
    assert loaded.num_classes == 3
    assert loaded.holdout is None
    images, labels = loaded.train.arrays()
    expected = [
        pixels(root / f"train/{c}/{i:03}.png") for c, n in CLASSES.items() for i in range(n)
    ]
    np.testing.assert_array_equal(images, np.stack(expected))
    np.testing.assert_array_equal(labels, np.repeat([0, 1, 2], list(CLASSES.values())))
    assert len(loaded.test) == 7
    assert "21 training images" in loaded.description


def test_images_of_other_sizes_are_resized(make_folder):
    root = make_folder(SPLITS, size=20)
    images, _ = data.load(settings(root), seed=0).train.arrays()
    whole = Image.open(root / "train/cat/000.png").resize((12, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(images[0], np.asarray(whole))


def test_holdout_is_stratified_and_kept_out_of_training(make_folder):
    root = make_folder(SPLITS)
    loaded = data.load(settings(root, holdout=0.2), seed=0)
    held, held_labels = loaded.holdout.arrays()
    assert np.bincount(held_labels).tolist() == [2, 1, 1]
    kept = {image.tobytes() for image in loaded.train.arrays()[0]}
    assert len(kept) == 17
    assert not kept & {image.tobytes() for image in held}


@pytest.mark.parametrize("hosts", [1, 2])
def test_streaming_equals_memory(make_folder, hosts):
    root = make_folder(SPLITS)
    for host in range(hosts):
        place = {"seed": 5, "process_index": host, "process_count": hosts}
        memory, stream = (
            data.load(settings(root, resident=resident, holdout=0.2), **place)
            for resident in (True, False)
        )
        assert memory.train.resident
        assert not stream.train.resident
        assert "streamed" in stream.description
        for start in (0, 9):
            assert_batches_equal(
                take(memory.train.train_batches(8, start), 6),
                take(stream.train.train_batches(8, start), 6),
            )
        for split in ("train", "holdout", "test"):
            assert_batches_equal(
                list(getattr(memory, split).eval_batches(4)),
                list(getattr(stream, split).eval_batches(4)),
            )


def test_examples_are_had_by_their_place(make_folder):
    root = make_folder(SPLITS)
    memory, stream = (
        data.load(settings(root, resident=resident), seed=0) for resident in (True, False)
    )
    assert memory.test_location == stream.test_location == str(root / "test")
    images, labels = memory.test.arrays()
    rows = np.array([0, 3, 6])
    for split in (memory.test, stream.test):
        found = split.examples(rows)
        np.testing.assert_array_equal(found[0], images[rows])
        np.testing.assert_array_equal(found[1], labels[rows])
        np.testing.assert_array_equal(split.labels, labels)


def test_auto_streams_what_does_not_fit(make_folder):
    root = make_folder(SPLITS)
    size = 28 * 12 * 12 * 3
    assert data.load(settings(root, max_resident_bytes=size), seed=0).train.resident
    assert not data.load(settings(root, max_resident_bytes=size - 1), seed=0).train.resident


def test_random_resized_crops_are_tied_to_the_stream_position(make_folder):
    root = make_folder(SPLITS, size=30)
    config = settings(root, train_transform="random_resized_crop", test_transform="center_crop")
    whole = data.load(config, seed=0)
    assert not whole.train.resident
    batches = take(whole.train.train_batches(8), 8)
    assert_batches_equal(batches[5:], take(whole.train.train_batches(8, 5), 3))
    for host in (0, 1):
        part = data.load(config, seed=0, process_index=host, process_count=2)
        for a, b in zip(batches, take(part.train.train_batches(8), 8), strict=True):
            np.testing.assert_array_equal(a["image"][4 * host : 4 * host + 4], b["image"])
    # An example looks different in every epoch, but not in evaluation.
    row = whole.train.order.permutation(0)[0]
    again = 21 + int(np.flatnonzero(whole.train.order.permutation(1) == row)[0])
    assert (batches[0]["image"][0] != batches[again // 8]["image"][again % 8]).any()
    first = next(whole.test.eval_batches(8))["image"][0]
    large = Image.open(root / "test/cat/000.png").resize((14, 14), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(first, np.asarray(large)[1:13, 1:13])


@pytest.mark.parametrize(("asked", "there"), [("validation", "val"), ("val", "validation")])
def test_both_names_of_the_validation_split_are_found(make_folder, caplog, asked, there):
    root = make_folder({"train": {"a": 4, "b": 4}, there: {"a": 1, "b": 1}})
    with caplog.at_level(logging.WARNING):
        loaded = data.load(settings(root, test_split=asked), seed=0)
    assert len(loaded.test) == 2
    assert f"no labelled split {asked!r}; evaluating on {there!r}" in caplog.text
    with pytest.raises(FileNotFoundError, match="no split 'valid'"):
        data.load(settings(root, test_split="valid"), seed=0)


def test_tiny_imagenet_as_published(make_folder, rng, caplog):
    root = make_folder({"train": {"n01/images": 4, "n02/images": 4}, "val/images": {"": 4}})
    (root / "train/n01/n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t62\t62\n")
    table = "".join(f"00{i}.png\t{'n02' if i < 3 else 'n01'}\t0\t0\t9\t9\n" for i in range(4))
    (root / "val/val_annotations.txt").write_text(table)
    (root / "test/images").mkdir(parents=True)
    Image.new("RGB", (12, 12)).save(root / "test/images/test_0.png")
    with caplog.at_level(logging.WARNING):
        loaded = data.load(settings(root), seed=0)
    assert "evaluating on 'val'" in caplog.text
    assert loaded.class_names == ("n01", "n02")
    images, labels = loaded.test.arrays()
    assert labels.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(images[0], pixels(root / "val/images/003.png"))


def test_tiny_imagenet_sorted_into_class_folders(make_folder):
    classes = {"n01": 2, "n02": 3}
    root = make_folder({"train": {"n01/images": 4, "n02/images": 4}, "val/images": classes})
    (root / "val/val_annotations.txt").write_text("000.png\tn01\t0\t0\t9\t9\n")
    assert data.load(settings(root), seed=0).test.arrays()[1].tolist() == [0, 0, 1, 1, 1]


def test_annotations_that_name_absent_files_are_refused(make_folder):
    root = make_folder({"val": {"images": 2}})
    (root / "val/val_annotations.txt").write_text("000.png\tn01\n007.png\tn02\n")
    with pytest.raises(ValueError, match=r"names 1 files that are not in .*: '007\.png'"):
        list_split(root, "val")
    (root / "val/val_annotations.txt").write_text("000.png n01\n")
    with pytest.raises(ValueError, match="file name, tab, class"):
        list_split(root, "val")


def test_hidden_and_other_files_are_ignored(make_folder):
    root = make_folder(SPLITS)
    (root / "train/cat/notes.txt").write_text("no image")
    (root / "train/cat/.DS_Store").write_bytes(b"x")
    (root / "train/cat/._000.png").write_bytes(b"x")
    (root / "train/.cache").mkdir()
    assert len(data.load(settings(root), seed=0).train) == 21


@pytest.mark.parametrize(
    ("splits", "error", "message"),
    [
        ({"training": CLASSES}, FileNotFoundError, "no split 'train' .*Did you mean 'training'"),
        (
            {"train": CLASSES, "other": CLASSES},
            FileNotFoundError,
            "no split 'test' .it has 'other', 'train'.*move 'other' elsewhere, or set",
        ),
        ({"train": {"cat": 3}, "test": {"cat": 3}}, ValueError, "has one class"),
        ({"train": {"cat": 3, "dog": 0}}, ValueError, r"1 of 2 class folders hold no image .'dog'"),
        (
            {"train": CLASSES, "test": {"cat": 1, "cow": 1}},
            ValueError,
            r"Only in training: 'dog', 'emu'\. Only in 'test': 'cow'",
        ),
    ],
)
def test_unusable_folders_are_refused(make_folder, splits, error, message):
    with pytest.raises(error, match=message):
        data.load(settings(make_folder(splits)), seed=0)


def test_empty_flat_and_absent_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*layout <dir>/<split>/<class>"):
        data.load(settings(tmp_path / "absent"), seed=0)
    with pytest.raises(FileNotFoundError, match="it has no subfolders"):
        data.load(settings(tmp_path), seed=0)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"train' has no class folders.*layout"):
        data.load(settings(tmp_path), seed=0)
    Image.new("RGB", (12, 12)).save(tmp_path / "train/1.png")
    with pytest.raises(ValueError, match="images but no class folders"):
        data.load(settings(tmp_path), seed=0)


@pytest.fixture
def damaged(make_folder):
    """A folder with an empty file, a truncated one and a tiny image."""
    root = make_folder(SPLITS)
    (root / "train/cat/001.png").write_bytes(b"")
    path = root / "train/dog/000.png"
    path.write_bytes(path.read_bytes()[:-100])
    Image.new("RGB", (4, 4)).save(root / "train/emu/002.png")
    path = root / "test/dog/001.png"
    path.write_bytes(path.read_bytes()[:60])
    return root


def test_damaged_images_are_refused_by_name(damaged):
    with pytest.raises(data.BadImageError, match="3 of 21 images") as caught:
        data.load(settings(damaged), seed=0)
    for name in ("cat/001.png", "dog/000.png", "emu/002.png: 4x4 pixels", "data.bad_images='skip'"):
        assert name in str(caught.value)


def test_damaged_images_are_skipped_with_a_count(damaged, caplog):
    with caplog.at_level(logging.WARNING):
        loaded = data.load(settings(damaged, bad_images="skip"), seed=0)
    assert np.bincount(loaded.train.arrays()[1]).tolist() == [8, 6, 4]
    assert "skipped 3 of 21 images" in caplog.text
    assert "cat/001.png" in caplog.text
    assert len(loaded.test) == 6
    assert len(list(loaded.test.eval_batches(4))) == 2


def test_a_class_without_readable_images_is_refused(make_folder):
    root = make_folder({"train": {"cat": 2, "dog": 1}, "test": {"cat": 1, "dog": 1}})
    (root / "train/dog/000.png").write_bytes(b"")
    with pytest.raises(ValueError, match="no readable image is left of 'dog'"):
        data.load(settings(root, bad_images="skip"), seed=0)


def test_streams_refuse_or_replace_damaged_images(damaged, caplog):
    refusing = data.load(settings(damaged, resident=False), seed=0)
    with pytest.raises(data.BadImageError, match=r"\.png"):
        take(refusing.train.train_batches(7), 3)
    with pytest.raises(data.BadImageError, match=r"dog/001\.png"):
        list(refusing.test.eval_batches(4))
    skipping = data.load(settings(damaged, resident=False, bad_images="skip"), seed=0)
    with caplog.at_level(logging.WARNING):
        batches = take(skipping.train.train_batches(7), 6)
    assert caplog.text.count("skipping") == 3  # each file once, over two epochs
    labels = np.concatenate([batch["label"] for batch in batches])
    assert np.bincount(labels).tolist() == [18, 14, 10]  # replaced by neighbours of the class
    assert all(batch["image"].any((1, 2, 3)).all() for batch in batches)
    mask = np.concatenate([batch["mask"] for batch in skipping.test.eval_batches(4)])
    assert mask.sum() == 6


def test_threads_name_a_damaged_image_once(damaged, caplog, monkeypatch):
    def slowly(*arguments):
        time.sleep(0.05)  # until other threads have met the image too
        report_bad(*arguments)

    monkeypatch.setattr("augmax_jax.data.folder_split.report_bad", slowly)
    split = data.load(settings(damaged, resident=False, bad_images="skip"), seed=0).train
    with caplog.at_level(logging.WARNING):
        take(split.train_batches(7), 12)
    assert caplog.text.count("skipping") == 3


def test_a_stream_of_nothing_readable_stops(make_folder):
    root = make_folder({"train": {"a": 1, "b": 1}, "test": {"a": 1, "b": 1}})
    for path in root.glob("train/*/*"):
        path.write_bytes(b"")
    loaded = data.load(settings(root, resident=False, bad_images="skip"), seed=0)
    with pytest.raises(ValueError, match="none of the images can be read"):
        next(loaded.train.train_batches(2))


def test_streamed_splits_have_no_arrays(make_folder):
    split = data.load(settings(make_folder(SPLITS), resident=False), seed=0).train
    with pytest.raises(ValueError, match="streamed, not resident"):
        split.arrays()
    with pytest.raises(ValueError, match="streamed, not resident"):
        split.indices(0, 4)
    with pytest.raises(ValueError, match="batch_size must be a positive multiple"):
        split.train_batches(0)
