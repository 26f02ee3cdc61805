"""Decoding and cropping: every pixel format, every kind of damage."""

import io
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from augmax_jax.data.images import (
    BadImageError,
    choose_crop,
    fit,
    random_resized_crop,
    read,
    to_rgb,
)


@pytest.fixture
def gradient() -> Image.Image:
    """24x16 RGB, with a different ramp in each channel."""
    y, x = np.mgrid[:16, :24]
    return Image.fromarray(np.stack([10 * x, 15 * y, 5 * (x + y)], -1).astype(np.uint8))


def saved(path, image: Image.Image, **kwargs):
    image.save(path, **kwargs)
    return path


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "RGB", "CMYK"])
def test_any_8_bit_format_becomes_rgb(tmp_path, gradient, mode):
    image = gradient.convert("L").convert(mode) if mode == "LA" else gradient.convert(mode)
    out = read(saved(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), image))
    assert out.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(out), np.asarray(image.convert("RGB")))


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
    out = np.asarray(read(saved(tmp_path / "a.png", Image.fromarray(values))))
    expected = np.rint(values / 65535 * 255)
    assert out.shape == (16, 16, 3)
    np.testing.assert_array_equal(out, np.repeat(expected[..., None], 3, -1))


def test_exif_rotation_is_applied(tmp_path, gradient):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to view
    out = read(saved(tmp_path / "a.png", gradient, exif=exif))
    np.testing.assert_array_equal(np.asarray(out), np.rot90(np.asarray(gradient), -1))


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("P", (10, 10), color) for color in (3, 200)]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as reference:
        expected = np.asarray(reference.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(read(path)), expected)


def test_32_bit_formats_are_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((9, 9), np.float32)))
    with pytest.raises(BadImageError, match=r"a\.tif.*no defined range"):
        read(path)


@pytest.mark.parametrize("shape", [(7, 20), (20, 7)])
def test_tiny_images_are_refused(tmp_path, shape):
    path = saved(tmp_path / "a.png", Image.new("RGB", shape))
    with pytest.raises(BadImageError, match=rf"a.png: {shape[0]}x{shape[1]} pixels.*at least 8"):
        read(path)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(50)]
)
def test_no_image_at_all(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=r"broken\.jpg"):
        read(path)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
def test_a_truncated_file_is_refused(tmp_path, rng, fmt):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, fmt)
    path = tmp_path / "half.img"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(BadImageError, match=r"half\.img"):
        read(path)


@given(data=st.data(), fmt=st.sampled_from(["JPEG", "PNG", "GIF", "BMP"]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_bytes_give_an_image_or_a_named_error(tmp_path, gradient, data, fmt):
    buffer = io.BytesIO()
    gradient.save(buffer, fmt)
    content = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    message = ""
    try:
        image = read(path)
    except BadImageError as error:
        message = str(error)
    assert "damaged" in message or image.mode == "RGB"


def test_to_rgb_leaves_rgb_alone(gradient):
    np.testing.assert_array_equal(np.asarray(to_rgb(gradient)), np.asarray(gradient))


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
