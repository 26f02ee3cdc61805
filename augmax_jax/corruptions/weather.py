"""Weather: snow, frost, fog and brightness. One image per call; see `noise`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.corruptions import blur, filters


def snow_constants(
    constants: tuple[float, ...], height: int, width: int, *, capacity: int
) -> dict[str, Any]:
    """Constants of `snow`."""
    mean, deviation, zoom, threshold, radius, sigma, keep = constants
    return {
        "mean": np.float32(mean),
        "deviation": np.float32(deviation),
        "rows": filters.zoom_matrix(height, zoom).astype(np.float32),
        "cols": filters.zoom_matrix(width, zoom).astype(np.float32),
        "threshold": np.float32(threshold),
        "motion": blur.motion_constants(radius, sigma, capacity=capacity),
        "keep": np.float32(keep),
    }


def snow(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Adds falling flakes, and the same flakes turned by 180°, to a whitened image."""
    noise_key, angle_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, image.shape[:2])
    noise = constants["mean"] + constants["deviation"] * noise
    flakes = filters.along_axes(constants["rows"], constants["cols"], noise)
    flakes = jnp.where(flakes < constants["threshold"], 0, jnp.clip(flakes, 0, 1))
    degrees = jax.random.uniform(angle_key, minval=-135.0, maxval=-45.0)
    flakes = blur.motion_path(jnp.floor(255 * flakes), degrees, constants["motion"])
    layer = (flakes + jnp.rot90(flakes, 2))[..., None]
    grey = image @ jnp.asarray([0.299, 0.587, 0.114])
    whitened = jnp.maximum(image, (1.5 * grey + 127.5)[..., None])
    return constants["keep"] * image + (1 - constants["keep"]) * whitened + layer


def frost(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Adds a random piece of one of five pictures of frost, with weights.

    `constants` are `pictures` uint8 `[5, Hmax, Wmax, 3]`, their `sizes` int32 `[5, 2]`, and the
    weights `image` and `frost`.
    """
    height, width = image.shape[:2]
    pick_key, row_key, col_key = jax.random.split(key, 3)
    pick = jax.random.randint(pick_key, (), 0, len(constants["pictures"]))
    room = jnp.asarray(constants["sizes"])[pick] - jnp.asarray([height, width])
    row = jax.random.randint(row_key, (), 0, room[0])
    col = jax.random.randint(col_key, (), 0, room[1])
    piece = jax.lax.dynamic_slice(
        jnp.asarray(constants["pictures"]), (pick, row, col, 0), (1, height, width, 3)
    )[0]
    return constants["image"] * image + constants["frost"] * piece.astype(jnp.float32)


def fog(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Adds plasma clouds and scales the result to the image's own maximum."""
    height, width = image.shape[:2]
    size = max(2, 1 << (max(height, width) - 1).bit_length())
    clouds = plasma(jax.random.uniform(key, (size, size), minval=-1.0), constants["decay"])
    brightest = jnp.max(image)
    thickness = 255 * constants["thickness"]
    foggy = image + thickness * clouds[:height, :width, None]
    return foggy * brightest / (brightest + thickness)


def plasma(noise: jax.Array, decay: Any) -> jax.Array:
    """Diamond-square clouds on a torus, scaled to [0, 1].

    Args:
        noise: float `[n, n]`, uniform in [-1, 1); n is a power of two. Every point but the
            corner uses its own entry once.
        decay: factor by which the noise's root amplitude falls from one scale to the next.

    Returns:
        Float `[n, n]` from 0 to 1.
    """
    size = len(noise)
    wibble = 100.0
    grid = jnp.zeros((1, 1))
    step = size
    while step >= 2:
        half = step // 2
        local = wibble**2 * noise[::half, ::half]
        around = grid + jnp.roll(grid, -1, 0)
        centre = (around + jnp.roll(around, -1, 1)) / 4 + local[1::2, 1::2]
        top = (centre + jnp.roll(centre, 1, 0) + grid + jnp.roll(grid, -1, 1)) / 4
        left = (centre + jnp.roll(centre, 1, 1) + grid + jnp.roll(grid, -1, 0)) / 4
        even = jnp.stack([grid, top + local[::2, 1::2]], axis=2)
        odd = jnp.stack([left + local[1::2, ::2], centre], axis=2)
        grid = jnp.stack([even, odd], axis=1).reshape(2 * len(grid), 2 * len(grid))
        step = half
        wibble = wibble / decay
    grid = grid - jnp.min(grid)
    return grid / jnp.max(grid)


def brightness(key: jax.Array, image: jax.Array, amount: Any) -> jax.Array:
    """Raises V of HSV by `amount`. Hue and saturation stay, so the channels keep their ratios."""
    del key
    value = jnp.max(image, axis=-1, keepdims=True)
    raised = jnp.minimum(value + 255 * amount, 255)
    return jnp.where(value > 0, image * (raised / jnp.maximum(value, 1)), raised)
