"""Blends an image with a degenerate version of itself, as Pillow's ImageEnhance does.

These overlap with the corruptions of the test benchmarks and are left out by default.
"""

import jax
import jax.numpy as jnp

from augmax_jax.augment.float64 import product
from augmax_jax.runtime.checks import check_argument, check_image


def color(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """Saturation: blends with the grey version of the image.

    Args:
        image: uint8 `[H, W, 3]`.
        factor: 0 is grey, 1 the image itself, above 1 more colourful.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageEnhance.Color(image).enhance(factor)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`, or `factor` is not one finite number.
    """
    image = check_image(image)
    return _blend(_grey(image)[..., None], image, factor)


def contrast(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """Contrast: blends with the mean grey of the image; arguments as in `color`."""
    image = check_image(image)
    pixels = image.shape[0] * image.shape[1]
    total = jnp.sum(_grey(image), dtype=jnp.uint32)
    mean = (total + pixels // 2) // pixels
    return _blend(mean.astype(jnp.int32), image, factor)


def brightness(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """Brightness: blends with black; arguments as in `color`."""
    image = check_image(image)
    return _blend(jnp.int32(0), image, factor)


def sharpness(image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """Sharpness: blends with a smoothed version; factor 0 smooths; arguments as in `color`."""
    image = check_image(image)
    return _blend(_smooth(image), image, factor)


def _grey(image: jax.Array) -> jax.Array:
    """Pillow's conversion to mode L, int32 `[H, W]`."""
    red, green, blue = (image[..., c].astype(jnp.int32) for c in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _smooth(image: jax.Array) -> jax.Array:
    """Pillow's SMOOTH filter, int32: 3x3 with a heavy centre; the border is copied."""
    height, width, _ = image.shape
    wide = image.astype(jnp.int32)
    if height < 3 or width < 3:
        return wide
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * wide[1:-1, 1:-1]
    return wide.at[1:-1, 1:-1].set((2 * total + 13) // 26)


def _blend(degenerate: jax.Array, image: jax.Array, factor: jax.typing.ArrayLike) -> jax.Array:
    """degenerate + factor * (image - degenerate), rounded to float32 twice, then truncated."""
    check_argument("factor", factor)
    factor = jnp.asarray(factor, jnp.float32)
    distance = (image.astype(jnp.int32) - degenerate).astype(jnp.float32)
    value = degenerate.astype(jnp.float32) + product(distance, factor)
    return jnp.clip(value, 0.0, 255.0).astype(jnp.uint8)
