"""Finds the pictures of frost in the installed package and resizes them for a benchmark."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGE = "imagecorruptions"
_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


def folder() -> Path:
    """The folder of the pictures. The package is located, not imported.

    Raises:
        ValueError: the package is not installed; the message has the command.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if all((Path(place) / "frost" / name).is_file() for name in _FILES):
            return Path(place) / "frost"
    raise ValueError(
        "corruption 'frost' needs the pictures of frost that the package imagecorruptions-imaug "
        "ships, and it is not installed. Only its pictures are used: "
        "pip install --no-deps imagecorruptions-imaug"
    )


@functools.lru_cache(maxsize=8)
def frost_pictures(scale: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The five pictures that the benchmarks use, resized.

    Args:
        scale: factor of the benchmark. A picture that would be too small for random pieces of
            `height` × `width` is enlarged until the piece can move by a tenth of its size.
        height: height of the images to corrupt.
        width: width of the images to corrupt.

    Returns:
        uint8 `[5, H, W, 3]` padded with zeros, and int32 `[5, 2]` heights and widths.
    """
    pictures = []
    for name in _FILES:
        with Image.open(folder() / name) as file:
            picture = np.asarray(file.convert("RGB"))  # drops the alpha channel of two of them
        room = 1.1 * max(height / picture.shape[0], width / picture.shape[1])
        tall, wide = (round(side * scale) for side in picture.shape[:2])
        fits = tall > height and wide > width
        pictures.append(resize(picture, scale if fits else room))
    sizes = np.asarray([p.shape[:2] for p in pictures], np.int32)
    padded = np.zeros((len(pictures), *sizes.max(axis=0), 3), np.uint8)
    for place, picture in zip(padded, pictures, strict=True):
        place[: picture.shape[0], : picture.shape[1]] = picture
    return padded, sizes


def resize(picture: np.ndarray, scale: float) -> np.ndarray:
    """Interpolates bilinearly at pixel centres and does not smooth first, as OpenCV does."""
    if scale == 1:
        return picture

    def weights(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        position = (np.arange(round(size * scale)) + 0.5) / scale - 0.5
        position = np.clip(position, 0, size - 1)
        low = np.minimum(position.astype(int), size - 2)
        return low, low + 1, position - low

    top, bottom, down = weights(picture.shape[0])
    left, right, across = weights(picture.shape[1])
    rows = picture[top] * (1 - down)[:, None, None] + picture[bottom] * down[:, None, None]
    result = rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]
    return np.floor(result + 0.5).astype(np.uint8)
