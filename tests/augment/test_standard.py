"""Flip and crop."""

import jax
import numpy as np
from scipy import stats

from augmax_jax.augment.standard import flip_and_crop
from augmax_jax.runtime.keys import example_keys


def find(image, result, padding):
    """(flipped, y, x) of the crop that gave `result`."""
    margin = ((padding, padding), (padding, padding), (0, 0))
    height, width, _ = image.shape
    found = []
    for flipped, source in enumerate((image, image[:, ::-1])):
        padded = np.pad(source, margin)
        for y in range(2 * padding + 1):
            for x in range(2 * padding + 1):
                if np.array_equal(padded[y : y + height, x : x + width], result):
                    found.append((flipped, y, x))
    assert len(found) == 1
    return found[0]


def test_flips_and_offsets_are_uniform(rng):
    image = rng.integers(1, 256, (7, 10, 3), dtype=np.uint8)
    images = np.repeat(image[None], 1500, axis=0)
    results = np.asarray(
        jax.jit(flip_and_crop, static_argnames="padding")(jax.random.key(0), images, padding=2)
    )
    assert results.dtype == np.uint8
    flips, ys, xs = np.array([find(image, r, 2) for r in results]).T
    assert stats.binomtest(int(flips.sum()), len(flips), 0.5).pvalue > 1e-4
    assert stats.chisquare(np.bincount(ys * 5 + xs, minlength=25)).pvalue > 1e-4
    table = np.zeros((2, 25))
    np.add.at(table, (flips, ys * 5 + xs), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_default_padding_is_four(rng):
    images = rng.integers(1, 256, (200, 6, 6, 3), dtype=np.uint8)
    results = np.asarray(flip_and_crop(jax.random.key(1), images))
    offsets = np.array([find(i, r, 4)[1:] for i, r in zip(images, results, strict=True)])
    assert offsets.min() == 0
    assert offsets.max() == 8


def test_parts_can_be_left_out(rng):
    images = rng.integers(0, 256, (40, 5, 5, 3), dtype=np.uint8)
    key = jax.random.key(2)
    np.testing.assert_array_equal(flip_and_crop(key, images, padding=0, flip=False), images)
    flipped = np.asarray(flip_and_crop(key, images, padding=0))
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert np.all(same | mirrored)
    assert 5 < mirrored.sum() < 35
    cropped = np.asarray(flip_and_crop(key, images, padding=1, flip=False))
    assert all(find(i, r, 1)[0] == 0 for i, r in zip(images, cropped, strict=True))


def test_an_example_depends_on_its_own_key_only(rng):
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    key = jax.random.key(3)
    whole = flip_and_crop(key, images)
    part = flip_and_crop(example_keys(key, 6)[3:5], images[3:5])
    np.testing.assert_array_equal(part, whole[3:5])
