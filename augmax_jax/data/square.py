"""From decoded images to squares of one size: resize, centre crop, random resized crop."""

import math

import numpy as np
from PIL import Image

_CROP_ATTEMPTS = 10
_CROP_AREA = (0.08, 1.0)
_CROP_LOG_ASPECT = (math.log(3 / 4), math.log(4 / 3))


def fit(image: Image.Image, size: int, *, resize: int | None = None) -> np.ndarray:
    """Resizes the shorter side (bilinear, antialiased) and cuts out the centre.

    Args:
        image: RGB image.
        size: side of the result.
        resize: length to which the shorter side is resized; `size` if None.

    Returns:
        uint8 `[size, size, 3]`.
    """
    short = size if resize is None else resize
    width, height = image.size
    if min(width, height) != short:
        # The longer side is rounded down, as in torchvision.
        width, height = (side * short // min(image.size) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    if (left, top, width, height) != (0, 0, size, size):
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def choose_crop(uniform: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """Chooses the window of a random resized crop, with the defaults of torchvision's transform.

    The area is a share U[0.08, 1] of the image and the aspect ratio log-uniform in
    [3/4, 4/3]. The first of ten windows that fits is used. If none fits, the largest
    centred window whose aspect ratio is in range is used.

    Args:
        uniform: floats in [0, 1), `[10, 4]`: area, aspect, left, top of each attempt.
        width: width of the image.
        height: height of the image.

    Returns:
        Left, top, width and height of the window, in pixels.
    """
    low, high = _CROP_LOG_ASPECT
    area = width * height * (_CROP_AREA[0] + (_CROP_AREA[1] - _CROP_AREA[0]) * uniform[:, 0])
    aspect = np.exp(low + (high - low) * uniform[:, 1])
    widths = np.rint(np.sqrt(area * aspect)).astype(int)
    heights = np.rint(np.sqrt(area / aspect)).astype(int)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    if fits.any():
        i = int(np.argmax(fits))
        w, h = int(widths[i]), int(heights[i])
        left = int(uniform[i, 2] * (width - w + 1))
        top = int(uniform[i, 3] * (height - h + 1))
        return left, top, w, h
    w = min(width, round(height * math.exp(high)))
    h = min(height, round(width / math.exp(low)))
    return (width - w) // 2, (height - h) // 2, w, h


def random_resized_crop(image: Image.Image, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random window of the image, resized and flipped half of the time.

    Args:
        image: RGB image.
        size: side of the result.
        rng: source of all randomness.

    Returns:
        uint8 `[size, size, 3]`.
    """
    left, top, w, h = choose_crop(rng.random((_CROP_ATTEMPTS, 4)), *image.size)
    window = image.crop((left, top, left + w, top + h))
    out = np.asarray(window.resize((size, size), Image.Resampling.BILINEAR))
    return out[:, ::-1] if rng.random() < 0.5 else out
