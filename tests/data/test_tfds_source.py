"""tfds: prepared data on disk, mocked data, streams, and what to do when it is not there."""

import itertools
import logging

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from augmax_jax import data
from augmax_jax.data.records import Records
from augmax_jax.data.square import fit


def take(batches, count):
    return list(itertools.islice(batches, count))


def identify(images: np.ndarray, among: np.ndarray) -> list[int]:
    """Rows of `among` that the images are equal to."""
    where = {image.tobytes(): i for i, image in enumerate(among)}
    return [where[image.tobytes()] for image in images]


@pytest.fixture
def small(prepare_tfds, rng):
    """A set like CIFAR-10, in several files; returns its folder and the images by split."""
    images = {
        split: rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
        for split, count in (("train", 53), ("test", 11))
    }
    folder = prepare_tfds(
        "cifar10",
        {split: (list(x), [i % 4 for i in range(len(x))]) for split, x in images.items()},
        names=["plane", "car", "bird", "cat"],
        shape=(16, 16, 3),
        shards=4,
    )
    assert len(list(folder.glob("cifar10/*/*train.tfrecord*"))) == 4
    return folder, images


def settings(folder, **kwargs):
    return {"name": "cifar10", "data_dir": str(folder), "image_size": 16, "holdout": 0.0, **kwargs}


def test_prepared_data_is_read_into_memory(small):
    folder, written = small
    loaded = data.load(settings(folder), seed=0)
    assert loaded.class_names == ("plane", "car", "bird", "cat")
    for split, expected in ((loaded.train, written["train"]), (loaded.test, written["test"])):
        images, labels = split.arrays()
        rows = identify(images, expected)
        assert sorted(rows) == list(range(len(expected)))
        np.testing.assert_array_equal(labels, np.array(rows) % 4)


@pytest.mark.parametrize("resident", [True, False])
def test_examples_are_had_by_their_place(small, resident):
    folder, written = small
    loaded = data.load(settings(folder, resident=resident), seed=0)
    assert loaded.test_location == f"{folder}/cifar10/1.0.0, split test"
    rows = np.array([0, 4, 10])
    images, labels = loaded.test.examples(rows)
    found = identify(images, written["test"])
    assert len(set(found)) == 3
    np.testing.assert_array_equal(labels, np.array(found) % 4)
    again = loaded.test.examples(rows)
    np.testing.assert_array_equal(images, again[0])
    whole, _ = loaded.test.examples(np.arange(11))
    assert sorted(identify(whole, written["test"])) == list(range(11))
    assert (loaded.test.labels is None) == (not resident)


def test_resident_holdout_is_stratified(small):
    folder, _ = small
    loaded = data.load(settings(folder, holdout=0.3), seed=0)
    assert np.bincount(loaded.holdout.arrays()[1]).tolist() == [4, 4, 4, 4]
    assert len(loaded.train) == 37


def test_tfds_slices_are_accepted(small):
    folder, _ = small
    config = settings(folder, train_split="train[:50%]", test_split="train[50%:]+test")
    for resident in (True, False):
        loaded = data.load({**config, "resident": resident}, seed=0)
        assert (len(loaded.train), len(loaded.test)) == (26, 38)
        shown = sum(int(b["mask"].sum()) for b in loaded.test.eval_batches(16))
        assert shown == 38


@pytest.mark.parametrize("hosts", [1, 2])
def test_streams_show_every_example_once_per_epoch(small, hosts):
    folder, written = small
    config = settings(folder, resident=False, holdout=0.1, shuffle_buffer=20)
    seen_held, seen_test, epochs = [], [], []
    for host in range(hosts):
        loaded = data.load(config, seed=0, process_index=host, process_count=hosts)
        assert not loaded.train.resident
        assert (len(loaded.train), len(loaded.holdout)) == (48, 5)
        part = 48 // hosts
        batches = take(loaded.train.train_batches(10 * hosts), 2 * part // 10 + 1)
        rows = identify(np.concatenate([b["image"] for b in batches]), written["train"])
        labels = np.concatenate([b["label"] for b in batches])
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, np.array(rows) % 4)
        first, second = rows[:part], rows[part : 2 * part]
        assert sorted(first) == sorted(second)
        assert first != second
        epochs += first
        for split, seen, name in (
            (loaded.holdout, seen_held, "train"),
            (loaded.test, seen_test, "test"),
        ):
            for batch in split.eval_batches(4 * hosts):
                assert batch["image"].shape == (4, 16, 16, 3)
                seen += identify(batch["image"][batch["mask"]], written[name])
                assert not batch["image"][~batch["mask"]].any()
    assert len(set(epochs)) == 48
    assert sorted(epochs + seen_held) == list(range(53))
    assert sorted(seen_test) == list(range(11))


def test_hosts_yield_the_same_number_of_evaluation_batches(small):
    folder, _ = small
    counts = []
    for host in range(3):
        loaded = data.load(
            settings(folder, resident=False), seed=0, process_index=host, process_count=3
        )
        batches = list(loaded.test.eval_batches(3))
        counts.append((len(batches), sum(int(b["mask"].sum()) for b in batches)))
    assert counts == [(4, 3), (4, 4), (4, 4)]


@pytest.mark.parametrize("transform", ["flip_crop", "random_resized_crop"])
def test_a_resumed_stream_goes_on_where_it_was(small, transform):
    folder, _ = small
    config = settings(folder, resident=False, train_transform=transform, shuffle_buffer=20)
    split = data.load(config, seed=3).train
    whole = take(split.train_batches(8), 16)
    for start in (6, 13):  # 53 examples: step 6 straddles two epochs
        for a, b in zip(whole[start:], take(split.train_batches(8, start), 3), strict=False):
            np.testing.assert_array_equal(a["image"], b["image"])
            np.testing.assert_array_equal(a["label"], b["label"])
    other = data.load(config, seed=4).train
    assert (whole[0]["image"] != next(other.train_batches(8))["image"]).any()


def test_images_of_any_size_are_fitted(prepare_tfds, rng):
    shapes = [(20, 30), (40, 17), (16, 16), (50, 50)]
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    folder = prepare_tfds(
        "my_photos",
        {"train": (images, [0, 1, 0, 1]), "validation": (images, [0, 1, 0, 1])},
        num_classes=2,
    )
    config = settings(folder, name="my_photos")
    expected = np.stack([fit(Image.fromarray(image), 16) for image in images])
    loaded = data.load(config, seed=0)
    assert loaded.class_names == ("0", "1")
    identify(loaded.train.arrays()[0], expected)
    streamed = data.load({**config, "resident": False}, seed=0).test
    (batch,) = streamed.eval_batches(4)
    assert sorted(identify(batch["image"], expected)) == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_and_16_bit_images_become_rgb(prepare_tfds, rng, dtype):
    top = np.iinfo(dtype).max
    images = list(rng.integers(0, top, (6, 16, 16, 1), dtype=dtype, endpoint=True))
    folder = prepare_tfds(
        "grey",
        {"train": (images, [0, 1] * 3), "test": (images, [0, 1] * 3)},
        num_classes=2,
        shape=(16, 16, 1),
        dtype=dtype,
    )
    expected = np.rint(np.repeat(np.stack(images) / top * 255, 3, -1)).astype(np.uint8)
    loaded = data.load(settings(folder, name="grey"), seed=0)
    assert sorted(identify(loaded.train.arrays()[0], expected)) == list(range(6))
    streamed = data.load(settings(folder, name="grey", resident=False), seed=0)
    (batch,) = streamed.test.eval_batches(6)
    assert sorted(identify(batch["image"], expected)) == list(range(6))


def test_an_older_prepared_version_is_found(prepare_tfds, rng):
    images = list(rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    folder = prepare_tfds(
        "cifar100",
        {"train": (images, [0, 1, 0, 1]), "test": (images, [0, 1, 0, 1])},
        num_classes=2,
        version="1.4.2",
    )
    assert len(data.load(settings(folder, name="cifar100"), seed=0).train) == 4
    assert len(data.load(settings(folder, name="cifar100:1.4.2"), seed=0).train) == 4


def test_unlabelled_splits_are_refused(prepare_tfds, rng):
    images = list(rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    folder = prepare_tfds(
        "imagenet2012",
        {"train": (images, [0, 1, 0, 1]), "test": (images, [-1] * 4)},
        num_classes=2,
        version="5.1.0",
    )
    message = r"labels of split 'test' of dataset 'imagenet2012' must be in \[0, 2\), found -1;"
    with pytest.raises(ValueError, match=message):
        data.load(settings(folder, name="imagenet2012"), seed=0)
    loaded = data.load(settings(folder, name="imagenet2012", resident=False), seed=0)
    with pytest.raises(ValueError, match=message):
        next(loaded.test.eval_batches(2))


def test_a_missing_test_split_falls_back_to_validation(prepare_tfds, rng, caplog):
    images = list(rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    folder = prepare_tfds(
        "imagenet2012",
        {"train": (images, [0, 1, 0, 1]), "validation": (images[:2], [0, 1])},
        num_classes=2,
        version="5.1.0",
    )
    with caplog.at_level(logging.WARNING):
        loaded = data.load(settings(folder, name="imagenet2012"), seed=0)
    assert len(loaded.test) == 2
    assert "evaluating on 'validation'" in caplog.text


def test_what_is_not_prepared_is_refused_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        data.load(settings(tmp_path), seed=0)
    message = str(caught.value)
    command = f"tfds.builder('cifar10', data_dir={str(tmp_path)!r}).download_and_prepare()"
    assert command in message
    assert "config.data.download=True" in message
    with pytest.raises(FileNotFoundError, match=r"First, by hand: .*ILSVRC2012_img_train"):
        data.load(settings(tmp_path, name="imagenet2012"), seed=0)


class AugmaxTestShapes(tfds.core.GeneratorBasedBuilder):
    """A registered dataset that needs no download to be prepared."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(16, 16, 3)),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples() for split in ("train", "test")}

    def _generate_examples(self):
        for i in range(6):
            yield i, {"image": np.full((16, 16, 3), 40 * i, np.uint8), "label": i % 2}


def test_data_is_prepared_only_if_asked_for(tmp_path):
    config = settings(tmp_path, name="augmax_test_shapes")
    with pytest.raises(FileNotFoundError, match="download=True"):
        data.load(config, seed=0)
    assert not any(tmp_path.iterdir())
    loaded = data.load({**config, "download": True}, seed=0)
    images, labels = loaded.train.arrays()
    np.testing.assert_array_equal(labels, images[:, 0, 0, 0] // 40 % 2)
    assert sorted(images[:, 0, 0, 0]) == [0, 40, 80, 120, 160, 200]
    assert len(data.load(config, seed=0).train) == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifr10", r"unknown dataset 'cifr10'\. Did you mean 'cifar10'"),
        ("digit", "unknown dataset 'digit'.*Did you mean 'digits'"),
        ("no/such/folder", "there is none at 'no/such/folder'"),
        ("imagenet_resized", "4 configurations; choose one as 'imagenet_resized/.*32x32"),
        ("imagenet_resized/65x64", "unknown configuration .*Did you mean '64x64'"),
        ("cifar10:9.9.9", "cannot be loaded at version 9.9.9"),
    ],
)
def test_unknown_names_are_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        data.load(settings(tmp_path, name=name), seed=0)


@pytest.mark.parametrize("split", ["trian", "train[:50", "test+trian"])
def test_unknown_splits_are_refused(small, split):
    with pytest.raises(ValueError, match=r"has no split .*Available: test, train|train, test"):
        data.load(settings(small[0], train_split=split), seed=0)
    with pytest.raises(ValueError, match=r"split 'train\[:0\]' .* is empty"):
        data.load(settings(small[0], train_split="train[:0]"), seed=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lfw", r"must have features image .* and label .ClassLabel.; it has: .*label .Text"),
        ("titanic", "must have features image"),
    ],
)
def test_sets_without_image_and_label_are_refused(name, message):
    with tfds.testing.mock_data(num_examples=4), pytest.raises(ValueError, match=message):
        data.load({"name": name}, seed=0)


def test_mocked_data_loads():
    with tfds.testing.mock_data(num_examples=24):
        loaded = data.load({"name": "cifar10", "holdout": 0.25}, seed=0)
        assert loaded.num_classes == 10
        images, _ = loaded.train.arrays()
        assert images.shape[1:] == (32, 32, 3)
        config = {
            "name": "imagenet2012",
            "train_transform": "random_resized_crop",
            "image_size": 24,
            "holdout": 0.25,
        }
        loaded = data.load(config, seed=0)
        assert loaded.num_classes == 1000
        assert (len(loaded.train), len(loaded.holdout), len(loaded.test)) == (18, 6, 24)
        assert next(loaded.train.train_batches(16))["image"].shape == (16, 24, 24, 3)
        shown = sum(int(batch["mask"].sum()) for batch in loaded.holdout.eval_batches(4))
        assert shown == 6


def test_slices_of_records_compose(small):
    builder = tfds.core.read_only_builder.builder_from_files("cifar10", data_dir=small[0])
    records = Records.open(builder, "train[10:20]+test[5:]")
    whole = [contents for contents, _, _ in records.dataset().as_numpy_iterator()]
    assert len(whole) == len(records) == 16
    for start, stop in ((0, 16), (3, 12), (0, 4), (11, 15)):
        part = records.slice(start, stop)
        assert len(part) == stop - start
        images = [contents for contents, _, _ in part.dataset().as_numpy_iterator()]
        assert images == whole[start:stop]


def test_more_hosts_than_examples_are_refused(small):
    config = settings(small[0], resident=False, test_split="test[:2]")
    with pytest.raises(ValueError, match="has 2 examples for 3 hosts"):
        data.load(config, seed=0, process_count=3)


def test_tensorflow_is_kept_off_the_accelerators(monkeypatch, small):
    hidden = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: hidden.append((devices, kind))
    )
    data.load(settings(small[0]), seed=0)
    assert ([], "GPU") in hidden
    assert ([], "TPU") in hidden


@pytest.fixture
def damaged(prepare_tfds, rng, monkeypatch):
    """A set of 12 training and 6 test images, two and one of which are cut in half."""
    images = {
        split: list(rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))
        for split, count in (("train", 12), ("test", 6))
    }
    folder = prepare_tfds(
        "cifar10",
        {split: (x, [i % 2 for i in range(len(x))]) for split, x in images.items()},
        names=["a", "b"],
        shape=(16, 16, 3),
    )
    bad = {images["train"][i].tobytes() for i in (3, 4)} | {images["test"][2].tobytes()}
    decode = Records.decode

    def cut(self, contents, name):
        image = decode(self, contents, name)
        return decode(self, contents[:100], name) if image.tobytes() in bad else image

    monkeypatch.setattr(Records, "decode", cut)
    return folder, images, bad


@pytest.mark.parametrize("resident", [True, False])
def test_damaged_records_are_refused_or_skipped(damaged, resident, caplog):
    folder, images, bad = damaged
    config = settings(folder, resident=resident, shuffle_buffer=5)
    with pytest.raises(data.BadImageError, match=r"record .*__\d+ of split"):  # noqa: PT012
        loaded = data.load(config, seed=0)
        list(loaded.test.eval_batches(4))
    config["bad_images"] = "skip"
    with caplog.at_level(logging.WARNING):
        loaded = data.load(config, seed=0)
        batches = list(loaded.test.eval_batches(4))
        trained = take(loaded.train.train_batches(4, 1), 8)
    assert sum(int(batch["mask"].sum()) for batch in batches) == 5
    shown = [image for batch in trained for image in batch["image"]]
    assert {image.tobytes() for image in shown} <= {i.tobytes() for i in images["train"]} - bad
    assert "skipping record" in caplog.text
    if not resident:  # each is named once, over epochs; and a resumed stream is the same
        assert caplog.text.count("skipping record") == 3
        again = take(loaded.train.train_batches(4, 5), 4)
        for a, b in zip(trained[4:], again, strict=True):
            np.testing.assert_array_equal(a["image"], b["image"])
