"""Resizing and cropping to squares."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from augmax_jax.data.square import choose_crop, fit, random_resized_crop


@pytest.fixture
def gradient() -> Image.Image:
    """24x16 RGB, with a different ramp in each channel."""
    y, x = np.mgrid[:16, :24]
    return Image.fromarray(np.stack([10 * x, 15 * y, 5 * (x + y)], -1).astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(40, 40), (60, 40), (33, 71), (32, 100)])
@pytest.mark.parametrize("resize", [None, 37])
def test_fit_resizes_the_shorter_side_and_cuts_the_centre(rng, width, height, resize):
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    out = fit(image, 32, resize=resize)
    short = resize or 32
    w, h = (int(short * s / min(width, height)) for s in (width, height))
    whole = np.asarray(image.resize((w, h), Image.Resampling.BILINEAR))
    top, left = round((h - 32) / 2), round((w - 32) / 2)
    np.testing.assert_array_equal(out, whole[top : top + 32, left : left + 32])


def test_fit_keeps_the_pixels_of_an_image_of_the_right_size(rng):
    pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit(Image.fromarray(pixels), 32), pixels)


def test_crop_windows_are_distributed_as_specified(rng):
    width = height = 1000
    windows = np.array([choose_crop(rng.random((10, 4)), width, height) for _ in range(4000)])
    left, top, w, h = windows.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + w <= width).all()
    assert (top + h <= height).all()
    area, aspect = w * h / width / height, np.log(w / h)
    # The first attempt fits unless the area is near 1: below, nothing is rejected.
    low = 0.7
    assert stats.kstest(area[area < low], stats.uniform(0.08, low - 0.08).cdf).pvalue > 1e-3
    limit = math.log(4 / 3)
    small = aspect[area < low]
    assert stats.kstest(small, stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3
    room = (width - w) > 100
    place = (left[room] + 0.5) / (width - w[room] + 1)
    assert stats.kstest(place, stats.uniform().cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(100, 1000, (0, 433, 100, 133)), (1000, 100, (433, 0, 133, 100))],
)
def test_an_extreme_image_falls_back_to_the_largest_centred_window(width, height, expected):
    whole = np.tile([1.0 - 1e-9, 0.5, 0.5, 0.5], (10, 1))  # ten square windows of full area
    assert choose_crop(whole, width, height) == expected


def test_random_resized_crop_is_a_function_of_its_generator(gradient):
    def crops(seed):
        rng = np.random.default_rng(seed)
        return np.stack([random_resized_crop(gradient, 8, rng) for _ in range(20)])

    np.testing.assert_array_equal(crops(0), crops(0))
    assert crops(0).dtype == np.uint8
    assert (crops(0) != crops(1)).any()
    # Red grows to the right in the picture and in about half of the crops.
    rising = (crops(2)[:, 4, 7, 0].astype(int) > crops(2)[:, 4, 0, 0]).mean()
    assert 0.1 < rising < 0.9
