"""Blurs: defocus, glass, motion, zoom and Gaussian. One image per call; see `noise`."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment import float64
from augmax_jax.corruptions import filters

_ZOOMS = 26  # the most zoom factors that any severity averages


def linear_blur(keys: jax.Array, images: jax.Array, operator: filters.SeparableSum) -> jax.Array:
    """Defocus, zoom and Gaussian blur of a batch `[B, H, W, C]`: a linear filter, no randomness."""
    del keys
    return filters.apply_sum(operator, images)


def zoom_operator(constants: tuple[float, float], height: int, width: int) -> filters.SeparableSum:
    """Mean of the image and its magnifications by 1, 1 + step, ...; so the image counts twice."""
    stop, step = constants
    factors = np.arange(1, stop, step)
    weight = 1 / (len(factors) + 1)
    identity = (np.eye(height), np.eye(width))
    magnified = [
        (filters.zoom_matrix(height, z), filters.zoom_matrix(width, z)) for z in factors[1:]
    ]
    pairs = [(2 * weight * identity[0], identity[1])] + [(weight * r, c) for r, c in magnified]
    return filters.separable_sum([r for r, _ in pairs], [c for _, c in pairs], capacity=_ZOOMS)


def motion_constants(radius: float, sigma: float, *, capacity: int) -> dict[str, Any]:
    """A one-sided Gaussian along the path: `2 ceil(radius) + 1` taps, padded to `capacity`."""
    count = 2 * math.ceil(radius) + 1
    taps = np.exp(-0.5 * (np.arange(count) / sigma) ** 2)
    padded = np.zeros(capacity, np.float32)
    padded[:count] = taps / taps.sum()
    return {"taps": padded, "count": np.int32(count)}


def motion_path(image: jax.Array, degrees: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Blurs along a straight path from each pixel, with edge pixels repeated; rounds to 8 bits.

    Args:
        image: grey levels, float32 `[H, W, ...]`.
        degrees: direction of the path; 0 points right and 90 down.
        constants: from `motion_constants`.

    Returns:
        Whole grey levels, float32 `[H, W, ...]`.
    """
    height, width = image.shape[:2]
    radians = jnp.deg2rad(degrees)
    rows, cols = jnp.arange(height), jnp.arange(width)

    def add(i, total):
        right = jnp.ceil(i * jnp.cos(radians) - 0.5).astype(jnp.int32)
        down = jnp.ceil(i * jnp.sin(radians) - 0.5).astype(jnp.int32)
        y = jnp.clip(rows + down, 0, height - 1)
        x = jnp.clip(cols + right, 0, width - 1)
        return total + constants["taps"][i] * image[y[:, None], x]

    total = jax.lax.fori_loop(0, constants["count"], add, jnp.zeros_like(image))
    return jnp.floor(total + 0.5)


def motion_blur(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Motion blur in a random direction within 45° of horizontal."""
    degrees = jax.random.uniform(key, minval=-45.0, maxval=45.0)
    return motion_path(image, degrees, constants)


def glass_constants(constants: tuple[float, int, int], sigmas: Sequence[float]) -> dict[str, Any]:
    """Constants of `glass_blur`; `sigmas` of all severities decide the shapes, which they share."""
    sigma, reach, sweeps = constants
    taps = filters.gaussian_taps(sigma)
    centre = len(taps) // 2
    half = np.zeros(max(len(filters.gaussian_taps(s)) // 2 for s in sigmas) + 1)
    half[: centre + 1] = taps[centre:]
    return {
        "taps": float64.parts(half),
        "reach": np.int32(reach),
        "sweeps": np.int32(sweeps),
    }


def glass_blur(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Blurs, copies pixels from random neighbours one after the other, and blurs again."""
    pixels = truncated_gaussian(image, constants["taps"]).reshape(-1, image.shape[2])
    reach = constants["reach"]

    def sweep(i, pixels):
        # One draw gives both displacements, 16 bits each: uniform to 1e-4 for any reach.
        bits = jax.random.bits(jax.random.fold_in(key, i), image.shape[:2], jnp.uint32)
        halves = [(part & 0xFFFF).astype(jnp.int32) for part in (bits, bits >> 16)]
        right, down = ((2 * reach * half >> 16) - reach for half in halves)
        return _take(pixels, copy_sources(down, right, reach))

    pixels = jax.lax.fori_loop(0, constants["sweeps"], sweep, pixels)
    return truncated_gaussian(pixels.reshape(image.shape), constants["taps"])


def truncated_gaussian(image: jax.Array, taps: jax.Array) -> jax.Array:
    """Gaussian blur of grey levels, truncated to whole levels as in the published code.

    Rounding can leave a result just below a whole number, above all in flat regions. Truncation
    then takes off a level, and glass blur truncates twice. This makes a tenth of the corruption's
    shift of the mean. So this function repeats SciPy's float64 arithmetic: levels / 255, rows
    before columns, the outermost pair of taps first.

    Args:
        image: float32 `[H, W, C]`, whole grey levels.
        taps: `float64.parts` of the taps from the centre outwards, padded with zeros.

    Returns:
        float32 `[H, W, C]`, whole grey levels.
    """
    radius = taps.shape[1] - 1
    with float64.enabled():
        weights = float64.joined(taps)
        # From a table, because XLA replaces division by a constant by a multiplication.
        x = _take(float64.constant(np.arange(256) / 255), image.astype(jnp.int32))
        for axis in (0, 1):
            size = x.shape[axis]
            padded = jnp.pad(
                x, [(radius, radius) if a == axis else (0, 0) for a in range(3)], "edge"
            )

            def shifted(by, padded=padded, size=size, axis=axis):
                return jax.lax.slice_in_dim(padded, radius + by, radius + by + size, axis=axis)

            x = float64.product(x, weights[0])
            for i in range(radius, 0, -1):
                x = x + float64.product(shifted(-i) + shifted(i), weights[i])
        levels = float64.product(jnp.minimum(x, float64.constant(1.0)), float64.constant(255.0))
        return jnp.floor(levels).astype(jnp.float32)


def copy_sources(down: jax.Array, right: jax.Array, reach: Any) -> jax.Array:
    """Computes where each pixel's value comes from after one sweep of copies.

    The published code walks from the bottom right corner to the top left one. It copies to each
    pixel (h, w), with `reach` < h <= H - `reach` and the same for w, the present value of
    (h + down, w + right). (The code says swap, but its two sides share memory, so that only the
    copy happens.) Each pixel is written once. A source that the walk has not reached yet still has
    its first value; a source that it has passed has the value of its own source. This makes chains
    of sources. Pointer doubling follows them to their ends in a few steps instead of one per pixel.

    Args:
        down: rows to the source, int32 `[H, W]` in [-reach, reach).
        right: columns to the source, int32 `[H, W]` in [-reach, reach).
        reach: the largest displacement.

    Returns:
        int32 `[H * W]` indices into the flattened image.
    """
    height, width = down.shape
    rows, cols = jnp.arange(height)[:, None], jnp.arange(width)[None]
    written = (rows > reach) & (rows <= height - reach) & (cols > reach) & (cols <= width - reach)
    own = rows * width + cols
    source = jnp.where(written, own + down * width + right, own).reshape(-1)
    # The walk has passed and written these sources: the value is that of the source's source.
    behind = (source > own.reshape(-1)) & _take(written.reshape(-1), source)
    # The end of a chain points at itself, so that doubling does not move it.
    ahead = jnp.where(behind, source, own.reshape(-1))

    def unfinished(jump):
        return jnp.any(_take(jump, jump) != jump)

    end = jax.lax.while_loop(unfinished, lambda jump: _take(jump, jump), ahead)
    return _take(source, end)


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    """values[index] for indices that are known to be inside, without a check."""
    return values.at[index].get(mode="promise_in_bounds")
