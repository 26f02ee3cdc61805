"""Digital corruptions: contrast, saturate, elastic transform, pixelate. See `noise`."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.corruptions import filters

_PIXELATE_BITS = 22  # Pillow's fixed-point precision when it resizes 8-bit images


def contrast(key: jax.Array, image: jax.Array, factor: Any) -> jax.Array:
    """Scales the distance of each value to its channel's mean over the image."""
    del key
    mean = jnp.mean(image, axis=(0, 1))[None, None]
    return (image - mean) * factor + mean


def saturate(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Scales and shifts S of HSV and keeps hue and V. Grey has the hue of red, as HSV code does."""
    del key
    value = jnp.max(image, axis=-1, keepdims=True)
    chroma = value - jnp.min(image, axis=-1, keepdims=True)
    saturation = chroma / jnp.maximum(value, 1)
    wanted = jnp.clip(saturation * constants["factor"] + constants["shift"], 0, 1)
    # How far a channel lies below V, from 0 to 1, depends on the hue alone.
    grey = chroma == 0
    below = jnp.where(grey, jnp.asarray([0.0, 1.0, 1.0])[None, None], value - image)
    below = below / jnp.where(grey, 1, chroma)
    return value * (1 - wanted * below)


def elastic_constants(
    constants: tuple[float, float, float], height: int, width: int, *, base: int
) -> dict[str, Any]:
    """Constants of `elastic_transform`: pixels at side `base`, scaled to the image's side."""
    amplitude, sigma, reach = constants
    scale = min(height, width) / base
    taps = filters.gaussian_taps(sigma * scale, truncate=3.0)
    return {
        "amplitude": np.float32(amplitude * scale),
        "reach": np.float32(reach * scale),
        "rows": filters.filter_matrix(taps, height, filters.reflect).astype(np.float32),
        "cols": filters.filter_matrix(taps, width, filters.reflect).astype(np.float32),
    }


def elastic_transform(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """A random affine warp, then smooth random displacements, each interpolated bilinearly."""
    height, width = image.shape[:2]
    affine_key, field_key = jax.random.split(key)
    rows = jnp.arange(height, dtype=jnp.float32)[:, None]
    cols = jnp.arange(width, dtype=jnp.float32)[None]

    quarter = min(height, width) // 3
    corners = jnp.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]) * quarter
    corners = corners + jnp.asarray([width // 2, height // 2], jnp.float32)[None]
    jitter = jax.random.uniform(affine_key, (3, 2), minval=-1.0) * constants["reach"]
    x, y = _inverse_affine(corners, corners + jitter, cols, rows)
    warped = _bilinear(image, y, x, _reflect_101)

    noise = jax.random.uniform(field_key, (height, width, 2), minval=-1.0)
    field = filters.along_axes(constants["rows"], constants["cols"], noise)
    field = field * constants["amplitude"]
    return _bilinear(warped, rows + field[..., 1], cols + field[..., 0], _reflect)


def _inverse_affine(
    source: jax.Array, target: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where (x, y) comes from under the affine map that takes `source` to `target` `[3, 2]`."""
    along, across = target[1] - target[0], target[2] - target[0]
    determinant = along[0] * across[1] - along[1] * across[0]
    x, y = x - target[0, 0], y - target[0, 1]
    s = (x * across[1] - y * across[0]) / determinant
    t = (y * along[0] - x * along[1]) / determinant
    along, across = source[1] - source[0], source[2] - source[0]
    return (
        source[0, 0] + s * along[0] + t * across[0],
        source[0, 1] + s * along[1] + t * across[1],
    )


def _reflect_101(index: jax.Array, size: int) -> jax.Array:
    index = index % max(1, 2 * (size - 1))
    return jnp.minimum(index, 2 * (size - 1) - index)


def _reflect(index: jax.Array, size: int) -> jax.Array:
    index = index % (2 * size)
    return jnp.minimum(index, 2 * size - 1 - index)


def _bilinear(image: jax.Array, y: jax.Array, x: jax.Array, border: Any) -> jax.Array:
    """Samples `[H, W, C]` at real coordinates `[H, W]`."""
    height, width, channels = image.shape
    pixels = image.reshape(-1, channels)
    top, left = jnp.floor(y), jnp.floor(x)
    down, across = (y - top)[..., None], (x - left)[..., None]
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    rows = [width * border(top + i, height) for i in (0, 1)]
    cols = [border(left + i, width) for i in (0, 1)]

    def corner(i: int, j: int) -> jax.Array:
        # The border keeps indices inside; this promise halves the time on a CPU.
        return pixels.at[rows[i] + cols[j]].get(mode="promise_in_bounds")

    upper = corner(0, 0) * (1 - across) + corner(0, 1) * across
    lower = corner(1, 0) * (1 - across) + corner(1, 1) * across
    return upper * (1 - down) + lower * down


def pixelate_constants(
    factors: tuple[float, ...], severity: int, height: int, width: int
) -> dict[str, np.ndarray]:
    """Constants of `pixelate`, with as many taps as the benchmark's coarsest severity needs."""
    capacity = max(math.ceil(s / max(1, int(s * f))) + 1 for f in factors for s in (height, width))
    arrays = {}
    for axis, size in (("row", height), ("col", width)):
        small = max(1, int(size * factors[severity - 1]))
        index, weight = _box_taps(size, small, capacity)
        # Enlarging repeats pixels: a box narrower than a pixel holds one centre.
        up = np.floor((np.arange(size) + 0.5) * small / size).astype(int)
        arrays[f"{axis}_index"] = index[up]
        arrays[f"{axis}_weight"] = weight[up]
    return arrays


def _box_taps(size: int, small: int, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Pillow's box filter from `size` to `small` pixels: int32 `[small, capacity]` each."""
    scale = size / small
    support = 0.5 * scale
    index = np.zeros((small, capacity), np.int32)
    weight = np.zeros((small, capacity), np.int32)
    for i in range(small):
        centre = (i + 0.5) * scale
        first = max(0, int(centre - support + 0.5))
        last = min(size, int(centre + support + 0.5))
        inside = [-0.5 < (j - centre + 0.5) / scale <= 0.5 for j in range(first, last)]
        taps = np.asarray(inside) / sum(inside)
        index[i, : len(taps)] = np.arange(first, last)
        weight[i, : len(taps)] = np.floor(taps * 2**_PIXELATE_BITS + 0.5)
    return index, weight


def pixelate(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Shrinks by averaging and enlarges by repeating: Pillow's box filter, to the last bit."""
    del key

    def average(values: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
        half = 1 << (_PIXELATE_BITS - 1)
        total = half + sum(
            weight[:, k, None, None] * values[index[:, k]] for k in range(index.shape[1])
        )
        return jnp.right_shift(total, _PIXELATE_BITS)

    columns = jnp.swapaxes(image.astype(jnp.int32), 0, 1)
    columns = average(columns, constants["col_index"], constants["col_weight"])
    rows = jnp.swapaxes(columns, 0, 1)
    return average(rows, constants["row_index"], constants["row_weight"]).astype(jnp.float32)
