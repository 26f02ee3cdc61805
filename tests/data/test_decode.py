"""tf.data decoding against the Pillow implementation of the same things."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from augmax_jax.data import decode, images


def encoded(pixels: np.ndarray, fmt: str = "PNG", **kwargs) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, fmt, **kwargs)
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height"), [(300, 200), (64, 640), (17, 900), (8, 8)])
def test_the_same_uniforms_choose_the_same_window(rng, width, height):
    choose = tf.function(decode.choose_crop)
    different = 0
    for _ in range(100):
        uniform = rng.random((10, 4)).astype(np.float32)
        left, top, w, h = images.choose_crop(uniform.astype(np.float64), width, height)
        ours = choose(uniform, width, height).numpy()
        # float32 may round a side that lies halfway the other way.
        assert np.abs(ours - [top, left, h, w]).max() <= 1
        different += (ours != [top, left, h, w]).any()
    assert different <= 2


@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
@pytest.mark.parametrize(("width", "height", "resize"), [(90, 60, 37), (61, 80, 32), (32, 32, 32)])
def test_central_equals_pillow_up_to_rounding(rng, fmt, width, height, resize):
    low = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))
    contents = encoded(smooth, fmt)
    with Image.open(io.BytesIO(contents)) as reference:
        expected = images.fit(reference.convert("RGB"), 32, resize=resize)
    ours = decode.central(tf.constant(contents), 32, resize).numpy()
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - expected).max() <= (1 if fmt == "PNG" else 3)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "BMP"])
def test_random_resized_crop_cuts_resizes_and_flips(fmt):
    y, x = np.mgrid[:96, :96]
    ramp = np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8)
    options = {"quality": 100, "subsampling": 0} if fmt == "JPEG" else {}
    contents = tf.constant(encoded(ramp, fmt, **options))
    crop = tf.function(lambda seed: decode.random_resized_crop(contents, 16, (7, seed)))
    flipped = 0
    for seed in range(60):
        out = crop(tf.constant(seed, tf.int64)).numpy().astype(int)
        assert out.shape == (16, 16, 3)
        assert out.dtype.kind == "i"
        np.testing.assert_array_equal(out, crop(tf.constant(seed, tf.int64)).numpy())
        # A window of a ramp is a ramp: its slope tells the window's size, its sign the flip.
        horizontal, vertical = np.diff(out[8, :, 0]).mean(), np.diff(out[:, 8, 1]).mean()
        assert vertical > 0
        width, height = abs(horizontal) * 16 / 2, vertical * 16 / 2
        assert 0.05 < width * height / 96**2 < 1.05
        assert 0.6 < width / height < 1.67
        flipped += horizontal < 0
    assert 15 < flipped < 45
