"""Names and settings."""

import itertools
import subprocess
import sys

import ml_collections
import numpy as np
import pytest

from augmax_jax import data


def test_digits_from_a_config_dict():
    config = ml_collections.ConfigDict({"name": "digits", "holdout": 0.1, "image_size": 16})
    loaded = data.load(config, seed=0, batch_size=64)
    assert (len(loaded.train), len(loaded.holdout), len(loaded.test)) == (1295, 143, 359)
    assert loaded.num_classes == 10
    assert loaded.class_names == tuple("0123456789")
    assert loaded.description.startswith("digits: 1,295 training images, 143 held out, 359 test")
    batch = next(itertools.islice(loaded.train.train_batches(64), 1))
    assert batch["image"].shape == (64, 16, 16, 3)


def test_the_seed_decides_the_holdout_and_the_order():
    first, again, other = (data.load({"name": "digits"}, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.train.indices(3, 32), again.train.indices(3, 32))
    assert (first.train.indices(3, 32) != other.train.indices(3, 32)).any()
    assert (first.holdout.arrays()[0] != other.holdout.arrays()[0]).any()
    np.testing.assert_array_equal(first.test.arrays()[0], other.test.arrays()[0])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("train_split", "trian", r"unknown split of digits 'trian'\. Did you mean 'train'"),
        ("test_split", "val", "unknown split of digits 'val'"),
        ("train_transform", "flipcrop", r"data\.train_transform 'flipcrop'\. Did you mean 'flip"),
        ("bad_images", "ignore", r"data\.bad_images 'ignore'"),
        ("resident", "maybe", r"data\.resident must be True, False or 'auto', got 'maybe'"),
        ("holdout", 1.0, r"data\.holdout must be in \[0, 1\), got 1\.0"),
        ("image_size", 4, r"data\.image_size must be in \[8, 8192\], got 4"),
        ("shuffle_buffer", 0, r"data\.shuffle_buffer must be at least 1, got 0"),
        ("max_resident_bytes", -1, r"max_resident_bytes must be at least 0, got -1"),
        ("imagesize", 32, r"field of config\.data 'imagesize'\. Did you mean 'image_size'"),
    ],
)
def test_settings_are_checked(field, value, message):
    with pytest.raises(ValueError, match=message):
        data.load({"name": "digits", field: value}, seed=0)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", ["", None, 3, ("cifar10",), "a\0b", "gs://bucket/photos"]),
        ("data_dir", [None, 3, "a\0b"]),
        ("train_split", ["", None, 3]),
        ("test_split", ["", None, ["test"]]),
        ("holdout", [-0.1, 1, 1.5, None, "0.1", True, float("nan")]),
        ("image_size", [7, 8193, 32.0, "32", None, True]),
        ("train_transform", ["center_crop", "", None, 1, ["crop"]]),
        ("test_transform", ["flip_crop", "", None, 1]),
        ("resident", ["yes", 1, 0, "", [True]]),
        ("max_resident_bytes", [-1, 0.5, "4", None]),
        ("bad_images", ["ignore", None, True]),
        ("shuffle_buffer", [0, 1.5, None, "9"]),
        ("download", ["yes", 1, None]),
        ("extra_train", ["a", [""], [1], ["a", "a"], None, ["gs://bucket/copies"]]),
    ],
)
def test_check_refuses_every_wrong_setting(field, wrong):
    for value in wrong:
        with pytest.raises(ValueError, match=rf"data\.{field}\b") as caught:
            data.check({field: value})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"name": "digits", "holdout": 0},
        {"holdout": 0.95, "image_size": np.int64(64)},
        {"resident": None},
        {"resident": "auto"},
        {"resident": "False"},
        {"resident": True},
        {"extra_train": ["a", "b"], "test_transform": "center_crop"},
        {"name": "~/photos", "train_transform": "random_resized_crop"},
        {"data_dir": "gs://tfds-data/datasets"},
        {"data_dir": "/no/such/folder", "download": True},
    ],
)
def test_check_takes_every_right_setting(settings):
    data.check(settings)
    data.check(ml_collections.ConfigDict(settings))


def test_check_says_that_a_folder_of_prepared_data_is_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data_dir='.*absent' is no folder here"):
        data.check({"data_dir": str(tmp_path / "absent")})
    data.check({"data_dir": str(tmp_path)})


@pytest.mark.parametrize(
    ("given", "kept"), [("true", True), ("False", False), ("Auto", "auto"), (None, "auto")]
)
def test_resident_as_the_command_line_gives_it(given, kept):
    assert data.DataConfig(resident=given).resident == kept


def test_the_shape_of_test_images_is_a_setting_of_its_own():
    assert data.DataConfig(image_size=224).resize == 224
    assert data.DataConfig(image_size=224, train_transform="random_resized_crop").resize == 224
    assert data.DataConfig(image_size=224, test_transform="center_crop").resize == 256


def test_random_resized_crops_cannot_be_kept():
    config = {"name": "digits", "train_transform": "random_resized_crop", "resident": True}
    with pytest.raises(ValueError, match="cuts a new one"):
        data.load(config, seed=0)


def test_digits_are_too_small_to_crop_from():
    config = {"name": "digits", "train_transform": "random_resized_crop"}
    with pytest.raises(ValueError, match="digits are kept in memory"):
        data.load(config, seed=0)


def test_hosts_and_batch_size_are_checked():
    with pytest.raises(ValueError, match=r"batch_size=2000 is larger than .* of 14.. images: set"):
        data.load({"name": "digits"}, seed=0, batch_size=2000)
    with pytest.raises(ValueError, match=r"process_index must be in \[0, process_count=2\), got 2"):
        data.load({"name": "digits"}, seed=0, process_index=2, process_count=2)
    with pytest.raises(ValueError, match=r"multiple of the 2 host process.*got 7"):
        data.load({"name": "digits"}, seed=0, batch_size=7, process_count=2)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        data.load({"name": "digits"}, seed=-1)


def test_a_folder_needs_no_tensorflow(make_folder):
    root = make_folder({"train": {"a": 2, "b": 2}, "test": {"a": 1, "b": 1}})
    code = (
        "import sys; from augmax_jax import data; "
        f"data.load({{'name': {str(root)!r}, 'image_size': 12}}, seed=0); "
        "assert not {'tensorflow', 'tensorflow_datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
