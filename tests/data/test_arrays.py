"""Resident splits: exact streams on any number of hosts, exact evaluation."""

import itertools

import numpy as np
import pytest
import scipy.ndimage
import sklearn.datasets
from hypothesis import given
from hypothesis import strategies as st

from augmax_jax.data import ArraySplit
from augmax_jax.data.arrays import hold_out, load_digits


def numbered(count: int, **kwargs) -> ArraySplit:
    """A split whose image `i` is filled with `i` and has label `i % 7`."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 3)
    )
    return ArraySplit(images.copy(), np.arange(count) % 7, **kwargs)


def take(batches, count: int) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches, count))


def test_train_batches_hold_every_example_once_per_epoch():
    batches = take(numbered(10, seed=3).train_batches(4), 10)
    shown = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    for epoch in range(4):
        assert sorted(shown[10 * epoch : 10 * (epoch + 1)]) == list(range(10))
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches]), shown % 7)
    assert batches[0]["image"].dtype == np.uint8
    assert batches[0]["label"].dtype == np.int32


@pytest.mark.parametrize("start", [0, 1, 7, 1000])
def test_a_resumed_stream_goes_on_where_it_was(start):
    split = numbered(10, seed=3)
    whole = take(split.train_batches(4), start + 3)[start:]
    resumed = take(split.train_batches(4, start), 3)
    for i, (a, b) in enumerate(zip(whole, resumed, strict=True)):
        np.testing.assert_array_equal(a["image"], b["image"])
        images, labels = split.arrays()
        rows = split.indices(start + i, 4)
        assert rows.dtype == np.int32
        np.testing.assert_array_equal(images[rows], b["image"])
        np.testing.assert_array_equal(labels[rows], b["label"])


@pytest.mark.parametrize("kind", ["train", "eval"])
def test_hosts_share_the_global_batch(kind):
    def batches(**place):
        split = numbered(10, seed=3, **place)
        return take(split.train_batches(6) if kind == "train" else split.eval_batches(6), 5)

    hosts = [batches(process_index=i, process_count=3) for i in range(3)]
    for whole, *parts in zip(batches(), *hosts, strict=True):
        for name in whole:
            np.testing.assert_array_equal(whole[name], np.concatenate([p[name] for p in parts]))


@given(count=st.integers(1, 30), batch=st.integers(1, 12))
def test_eval_batches_hold_every_example_once(count, batch):
    batches = list(numbered(count).eval_batches(batch))
    assert all(b["image"].shape == (batch, 8, 8, 3) for b in batches)
    mask = np.concatenate([b["mask"] for b in batches])
    images = np.concatenate([b["image"] for b in batches])
    assert mask.dtype == bool
    np.testing.assert_array_equal(images[mask][:, 0, 0, 0], np.arange(count))
    assert not images[~mask].any()
    labels = np.concatenate([b["label"] for b in batches])
    np.testing.assert_array_equal(labels[mask], np.arange(count) % 7)


@pytest.mark.parametrize("batch_size", [0, -4, 5])
def test_batch_size_is_checked_at_once(batch_size):
    split = numbered(10, process_count=2)
    with pytest.raises(ValueError, match=r"batch_size must be a positive multiple of the 2"):
        split.train_batches(batch_size)
    with pytest.raises(ValueError, match=r"batch_size must be a positive multiple of the 2"):
        split.eval_batches(batch_size)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 8, 8, 3), np.float32), np.zeros(3, int), "uint8"),
        (np.zeros((3, 8, 8), np.uint8), np.zeros(3, int), r"\[3, 8, 8\]"),
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, int), "at least one"),
        (np.zeros((3, 8, 8, 3), np.uint8), np.zeros(4, int), "one per image"),
    ],
)
def test_arrays_are_checked(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ArraySplit(images, labels)


def test_hold_out_divides_the_split():
    split = numbered(70)
    place = {"seed": 0, "process_index": 0, "process_count": 1}
    train, held = hold_out(*split.arrays(), 0.2, place)
    assert np.bincount(held.labels).tolist() == [2] * 7
    shown = np.concatenate([train.images, held.images])[:, 0, 0, 0]
    assert sorted(shown) == list(range(70))
    assert hold_out(*split.arrays(), 0.0, place)[1] is None


def digit_rows() -> tuple[np.ndarray, np.ndarray]:
    """Rows of scikit-learn's digits that make up our training and test images."""
    grey = np.rint(sklearn.datasets.load_digits().images * (255 / 16)).astype(np.uint8)
    row = {image.tobytes(): i for i, image in enumerate(grey)}
    assert len(row) == len(grey)
    train, test = (
        np.array([row[np.ascontiguousarray(image[..., 0]).tobytes()] for image in images])
        for images, _ in load_digits(8)
    )
    return train, test


def test_digits_are_those_of_scikit_learn_enlarged_bilinearly():
    reference = sklearn.datasets.load_digits()
    for (images, labels), rows in zip(load_digits(32), digit_rows(), strict=True):
        np.testing.assert_array_equal(labels, reference.target[rows])
        assert images.shape == (len(rows), 32, 32, 3)
        assert (images == images[..., :1]).all()
        for image, row in zip(images[:20], rows, strict=False):
            grey = reference.images[row] * (255 / 16)
            large = scipy.ndimage.zoom(grey, 4, order=1, mode="nearest", grid_mode=True)
            # Rounded three times: at the source and after each of Pillow's two passes.
            assert np.abs(image[..., 0] - large).max() <= 1.5


def test_the_split_of_the_digits_is_stratified_and_never_changes():
    train, test = digit_rows()
    assert sorted([*train, *test]) == list(range(1797))
    target = sklearn.datasets.load_digits().target
    assert np.abs(np.bincount(target[test]) - np.bincount(target) / 5).max() <= 0.5
    assert test[:6].tolist() == [3, 10, 13, 15, 21, 29]
    assert (len(train), len(test)) == (1438, 359)
