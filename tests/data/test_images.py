"""Decoding: every pixel format, every kind of damage."""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from augmax_jax.data.formats import extensions, is_system
from augmax_jax.data.images import BadImageError, decode, read, to_rgb


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


RAMP = np.linspace(0, 65535, 256).reshape(16, 16)


def pgm(top: int) -> bytes:
    values = np.rint(RAMP / 65535 * top).astype(">u2")
    return f"P5 16 16 {top}\n".encode() + values.tobytes()


def stored(image: Image.Image, fmt: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(stored(Image.fromarray(RAMP.astype(np.uint16)), "PNG"), id="png"),
        pytest.param(stored(Image.fromarray(RAMP.astype("<u2")), "TIFF"), id="tiff"),
        pytest.param(stored(Image.fromarray(RAMP.astype(">u2")), "TIFF"), id="tiff-big-endian"),
        pytest.param(stored(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), id="tiff-in-32"),
        pytest.param(pgm(65535), id="pgm"),
        pytest.param(pgm(4095), id="pgm-12"),
    ],
)
def test_16_bits_are_scaled_alike_in_every_format(contents):
    out = np.asarray(decode(contents, "x")).astype(int)
    assert out.shape == (16, 16, 3)
    tolerance = 1 if b"4095" in contents[:16] else 0
    np.testing.assert_allclose(out[..., 0], np.rint(RAMP.astype(int) / 257), atol=tolerance)
    assert (out == out[..., :1]).all()


def test_16_bit_colour_is_within_a_level(rng):
    values = rng.integers(0, 65536, (16, 16, 3))
    ppm = b"P6 16 16 65535\n" + values.astype(">u2").tobytes()
    out = np.asarray(decode(ppm, "x")).astype(int)
    assert np.abs(out - values / 257).max() <= 1


def test_transparency_leaves_the_colours_below_it(gradient):
    pixels = np.asarray(gradient)
    alpha = np.zeros(pixels.shape[:2], np.uint8)
    rgba = Image.fromarray(np.dstack([pixels, alpha]))
    np.testing.assert_array_equal(np.asarray(decode(stored(rgba, "PNG"), "x")), pixels)
    palette = gradient.quantize(16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = decode(stored(palette, "PNG", transparency=bytes(range(16))), "x")
    np.testing.assert_array_equal(np.asarray(out), np.asarray(palette.convert("RGB")))


def with_exif(jpeg: bytes, tiff: bytes) -> bytes:
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def orientation(value: int, more: bytes = b"", count: int = 1) -> bytes:
    entry = struct.pack("<HHIHH", 0x112, 3, 1, value, 0)
    return b"II*\0" + struct.pack("<IH", 8, count) + more + entry + struct.pack("<I", 0)


def with_chunk(png: bytes, kind: bytes, data: bytes, *, broken: bool = False) -> bytes:
    """A PNG file with one more chunk after its header."""
    check = zlib.crc32(kind + data) ^ broken
    return (
        png[:33] + struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check) + png[33:]
    )


def jpeg(image):
    return stored(image, "JPEG", quality=95)


def png(image):
    return stored(image, "PNG")


@pytest.mark.parametrize(
    ("sound", "damage"),
    [
        pytest.param(jpeg, lambda b: with_exif(b, b"garbage"), id="exif-garbage"),
        pytest.param(jpeg, lambda b: with_exif(b, orientation(6)[:16]), id="exif-cut"),
        pytest.param(jpeg, lambda b: with_exif(b, orientation(99)), id="exif-orientation-99"),
        pytest.param(jpeg, lambda b: b[:-2], id="jpeg-without-end"),
        pytest.param(jpeg, lambda b: b[:-1], id="jpeg-half-an-end"),
        pytest.param(jpeg, lambda b: b + bytes(5000), id="jpeg-bytes-behind"),
        pytest.param(
            jpeg,
            lambda b: b[:2] + b"\xff\xe2\x00\x10ICC_PROFILE\0\x01\x05" + b[2:],
            id="jpeg-part-of-a-profile",
        ),
        pytest.param(png, lambda b: with_chunk(b, b"tEXt", b"a\0b", broken=True), id="png-crc"),
        pytest.param(png, lambda b: with_chunk(b, b"iCCP", b"x\0\0garbage"), id="png-profile"),
        pytest.param(png, lambda b: with_chunk(b, b"eXIf", b"garbage"), id="png-exif"),
        pytest.param(png, lambda b: with_chunk(b, b"pHYs", b"x"), id="png-short"),
        pytest.param(
            png,
            lambda b: with_chunk(b, b"zTXt", b"x\0\0" + zlib.compress(bytes(2 * 10**6))),
            id="png-large-text",
        ),
        pytest.param(png, lambda b: b[:-12], id="png-without-end"),
    ],
)
def test_damage_beside_the_pixels_does_not_matter(gradient, sound, damage):
    contents = sound(gradient)
    damaged = damage(contents)
    assert damaged != contents
    out = np.asarray(decode(damaged, "x"))
    np.testing.assert_array_equal(out, np.asarray(decode(contents, "x")))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "optimize": True}])
def test_a_jpeg_that_lacks_pixels_is_not_taken_for_one_without_its_end(rng, options):
    noise = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    contents = stored(noise, "JPEG", **options)
    for cut in (4, 7, 20, 100, len(contents) // 2):
        for end in (b"", b"\xff"):
            with pytest.raises(BadImageError, match="half"):
                decode(contents[:-cut] + end, "half")


def test_a_png_that_lacks_pixels_is_refused_whatever_is_beside_them(rng):
    noise = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    contents = with_chunk(png(noise), b"tEXt", b"a\0b", broken=True)
    with pytest.raises(BadImageError, match="half"):
        decode(contents[: len(contents) // 2], "half")


def test_warnings_of_pillow_name_the_file(gradient, tmp_path, caplog):
    path = tmp_path / "cut.jpg"
    path.write_bytes(with_exif(jpeg(gradient), orientation(6)[:16]))
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        read(path)
        read(path)  # and every time, where Python would show the text once
    lines = [record.getMessage() for record in caplog.records]
    assert lines
    assert len(lines) % 2 == 0
    assert all(str(path) in line for line in lines)


@pytest.mark.parametrize("name", ["a.jpg", "absent.png", "dangling.png"])
def test_files_that_cannot_be_opened_are_named(tmp_path, name):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(BadImageError, match=name):
        read(tmp_path / name)


def test_extensions_are_those_of_photographs():
    there = {".jpg", ".jfif", ".jpe", ".png", ".tif", ".pgm", ".ppm", ".webp", ".mpo", ".bmp"}
    assert there <= extensions()
    assert not {".pdf", ".mpeg", ".eps", ".h5", ".ico", ".txt", ""} & extensions()


@pytest.mark.parametrize("name", [".a", "@eaDir", "__MACOSX", "Thumbs.db", "$RECYCLE.BIN"])
def test_names_of_systems(name):
    assert is_system(name)
    assert not is_system(f"x{name}")
