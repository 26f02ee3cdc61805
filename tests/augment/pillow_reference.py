"""The operators as Pillow computes them, and images to try them on."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def _affine(*matrix):
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )


OPERATORS = {
    "autocontrast": lambda im, _: ImageOps.autocontrast(im),
    "equalize": lambda im, _: ImageOps.equalize(im),
    "posterize": lambda im, a: ImageOps.posterize(im, int(a)),
    "solarize": lambda im, a: ImageOps.solarize(im, int(a)),
    "rotate": lambda im, a: im.rotate(a, Image.Resampling.BILINEAR),
    "shear_x": lambda im, a: _affine(1, a, 0, 0, 1, 0)(im),
    "shear_y": lambda im, a: _affine(1, 0, 0, a, 1, 0)(im),
    "translate_x": lambda im, a: _affine(1, 0, a, 0, 1, 0)(im),
    "translate_y": lambda im, a: _affine(1, 0, 0, 0, 1, a)(im),
    "color": lambda im, a: ImageEnhance.Color(im).enhance(a),
    "contrast": lambda im, a: ImageEnhance.Contrast(im).enhance(a),
    "brightness": lambda im, a: ImageEnhance.Brightness(im).enhance(a),
    "sharpness": lambda im, a: ImageEnhance.Sharpness(im).enhance(a),
}


def apply(name: str, image: np.ndarray, argument: float | None) -> np.ndarray:
    """One operator on one uint8 image."""
    return np.asarray(OPERATORS[name](Image.fromarray(image), argument))


def arguments(name: str, rng: np.random.Generator, count: int) -> np.ndarray:
    """Admissible arguments at full strength, as float32."""
    if name in ("autocontrast", "equalize"):
        values = np.zeros(count)
    elif name == "posterize":
        values = rng.integers(1, 9, count)
    elif name == "solarize":
        values = rng.integers(0, 257, count)
    elif name == "rotate":
        values = rng.integers(-30, 31, count)
    elif name.startswith("shear"):
        values = rng.uniform(-0.3, 0.3, count)
    elif name.startswith("translate"):
        values = rng.integers(-12, 13, count)
    else:
        values = rng.choice([0, 1, *rng.uniform(0, 2, 40)], count)
    return values.astype(np.float32)


def images(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """A mixture of noise, smooth, low-contrast, two-valued, constant and extreme images."""
    y, x = np.mgrid[:height, :width]
    batch = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        kind = i % 8
        if kind in (0, 1):
            image = rng.integers(0, 256, (height, width, 3))
        elif kind in (2, 3):  # smooth, like photographs
            waves = rng.uniform(0.05, 0.5, (2, 3))
            phase = rng.uniform(0, 6, 3)
            waves = np.sin(y[..., None] * waves[0] + x[..., None] * waves[1] + phase)
            image = 128 + 127 * waves
        elif kind == 4:
            low = rng.integers(0, 200)
            image = rng.integers(low, low + rng.integers(2, 56), (height, width, 3))
        elif kind == 5:
            image = rng.choice(rng.integers(0, 256, 2), (height, width, 3))
        elif kind == 6:
            image = np.broadcast_to(rng.integers(0, 256, 3), (height, width, 3))
        else:
            image = rng.choice([0, 255], (height, width, 3))
        batch[i] = image
    return batch
