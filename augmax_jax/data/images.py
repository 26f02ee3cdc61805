"""Encoded images to 8-bit RGB: one rule for folders, tfds, benchmarks and commands."""

import hashlib
import io
import logging
import os
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image, ImageOps

from augmax_jax.data import pillow_warnings
from augmax_jax.data.formats import extensions, readable_formats
from augmax_jax.data.settings import MIN_IMAGE_SIZE

# Where Pillow refuses an image as a bomb, too, unless a program changed that.
MOST_PIXELS = 178_956_970
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_WITHOUT_RANGE = "pixel format {!r} (32 bits per value) has no defined range"

log = logging.getLogger(__name__)


class BadImageError(ValueError):
    """An image that is not usable; the message names it and says why."""


def read(path: str | os.PathLike[str]) -> Image.Image:
    """Decodes one image file.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB. An alpha channel is dropped, and the
    colours below it are kept. EXIF orientation is applied. The first frame of an animation is
    used. Damage outside the pixels (EXIF, colour profile, texts, a missing end mark) is ignored,
    and the log names the file.

    Args:
        path: the file.

    Returns:
        An RGB image.

    Raises:
        BadImageError: the file cannot be opened or decoded, is truncated, has a pixel format
            without a defined range (32-bit integers, floats), a side under 8 pixels, or more
            than `MOST_PIXELS`.
    """
    name = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            contents = file.read()
    except OSError as error:
        raise BadImageError(f"{name}: {error.strerror or error}") from error
    return decode(contents, name)


def decode(contents: bytes, name: str, *, min_side: int = MIN_IMAGE_SIZE) -> Image.Image:
    """Decodes the contents of an image file, as `read` does.

    Args:
        contents: the bytes of the file.
        name: name of the image in messages.
        min_side: the fewest pixels that each side may have.

    Returns:
        An RGB image.

    Raises:
        BadImageError: as in `read`.
    """
    extensions()  # loads Pillow's plugins
    with pillow_warnings.of(name):
        try:
            rgb = _decode(contents, name)
        except Exception as error:  # Pillow's decoders raise a dozen different types
            reason = _reason(error, contents)
            mended = _mended(contents, name)
            if mended is None:
                raise BadImageError(f"{name}: {reason}") from error
            log.warning("%s: damaged outside its pixels (%s); used", name, reason)
            rgb = mended
    if min(rgb.size) < min_side:
        raise BadImageError(
            f"{name}: {rgb.width}x{rgb.height} pixels, each side must have at least {min_side}"
        )
    return rgb


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts any 8- or 16-bit image to RGB; ValueError for other depths.

    An RGB image is returned as it is: a copy takes a tenth of the time of decoding it.
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        # Pillow would clip these values to 255 and not scale them.
        values = np.asarray(image).astype(np.int32)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(_WITHOUT_RANGE.format(image.mode))
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError(_WITHOUT_RANGE.format(image.mode))
    if image.mode == "P" and "transparency" in image.info:
        # This step changes no colour and avoids a warning.
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _decode(contents: bytes, name: str) -> Image.Image:
    with Image.open(io.BytesIO(contents), formats=readable_formats()) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"it has {image.width}x{image.height} pixels, more than are read")
        image.load()
        return to_rgb(_upright(image, name))


def _upright(image: Image.Image, name: str) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image  # `exif_transpose` would copy it
        return ImageOps.exif_transpose(image)
    except Exception as error:  # damaged EXIF data raises many types
        log.warning("%s: its EXIF data cannot be read (%s), so it is not turned", name, error)
        return image


def _mended(contents: bytes, name: str) -> Image.Image | None:
    """The image of a file that Pillow refuses, if its pixels are undamaged; otherwise None."""
    try:
        sound = _without_damage(contents)
        return _decode(sound, name) if sound else None
    except Exception:
        return None


def _without_damage(contents: bytes) -> bytes | None:
    """The file without the damage outside its pixels; None if that cannot be repaired."""
    if contents.startswith(_PNG):
        return _png_pixels(contents)
    if contents.startswith(_JPEG):
        return _ended_jpeg(contents)
    return None


def _png_pixels(contents: bytes) -> bytes | None:
    """The chunks of a PNG file that its pixels need, unchanged, so that damage there shows."""
    out, at = [_PNG], len(_PNG)
    while at + 8 <= len(contents):
        length, kind = struct.unpack(">I4s", contents[at : at + 8])
        chunk = contents[at : at + 12 + length]
        critical = not kind[0] & 0x20  # the PNG format marks critical chunks by the letter's case
        if critical or (kind in (b"tRNS", b"eXIf") and _is_sound_png(chunk)):
            out.append(chunk)
        at += 12 + length
    mended = b"".join(out)
    return mended if mended != contents else None


def _is_sound_png(chunk: bytes) -> bool:
    (check,) = struct.unpack(">I", chunk[-4:])
    return zlib.crc32(chunk[4:-4]) == check


def _ended_jpeg(contents: bytes) -> bytes | None:
    """A JPEG file with its missing end mark added, if all its pixels are there; else None.

    They are if bytes appended to the file do not change them.
    """
    if contents.endswith(_JPEG_END):
        return None
    body = contents[:-1] if contents.endswith(_JPEG_END[:1]) else contents
    versions = []
    for more in (b"", bytes(64), b"\x55" * 64):
        with Image.open(io.BytesIO(body + more + _JPEG_END), formats=("JPEG",)) as image:
            if image.info.get("progressive"):
                return None  # whole scans may be missing
            image.load()
            versions.append(hashlib.sha256(image.tobytes()).digest())
    return body + _JPEG_END if len(set(versions)) == 1 else None


def _reason(error: Exception, contents: bytes) -> str:
    if not contents:
        return "the file is empty"
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image, or one of a format that Pillow does not know"
    return str(error) or type(error).__name__
