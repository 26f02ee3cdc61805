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
    """Defocus, zoom and Gaussian blur of a batch: a linear filter without randomness."""
    del keys
    return filters.apply_sum(operator, images)


def zoom_operator(constants: tuple[float, float], height: int, width: int) -> filters.SeparableSum:
    """Mean of the image and its magnifications by 1, 1 + step, ...: the original counts twice."""
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
    """Blur along a straight path from each pixel, edge pixels repeated, rounded to 8 bits.

    Args:
        image: float32 `[H, W, ...]` grey levels.
        degrees: direction of the path; 0 points right and 90 down.
        constants: from `motion_constants`.
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
    """Motion within 45° of horizontal."""
    degrees = jax.random.uniform(key, minval=-45.0, maxval=45.0)
    return motion_path(image, degrees, constants)


def glass_constants(constants: tuple[float, int, int], sigmas: Sequence[float]) -> dict[str, Any]:
    """Constants of `glass_blur`; `sigmas` are those of all severities, which share shapes."""
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
    """Blur, pixels copied from random neighbours one after the other, blur."""
    pixels = truncated_gaussian(image, constants["taps"]).reshape(-1, image.shape[2])
    reach = constants["reach"]

    def sweep(i, pixels):
        # Both displacements from one draw: 16 bits each, uniform to 1e-4 for any reach.
        bits = jax.random.bits(jax.random.fold_in(key, i), image.shape[:2], jnp.uint32)
        halves = [(part & 0xFFFF).astype(jnp.int32) for part in (bits, bits >> 16)]
        right, down = ((2 * reach * half >> 16) - reach for half in halves)
        return _take(pixels, copy_sources(down, right, reach))

    pixels = jax.lax.fori_loop(0, constants["sweeps"], sweep, pixels)
    return truncated_gaussian(pixels.reshape(image.shape), constants["taps"])


def truncated_gaussian(image: jax.Array, taps: jax.Array) -> jax.Array:
    """Gaussian blur of grey levels, truncated to whole ones as the published code truncates.

    Where it leaves a whole number a hair short, in flat regions above all, truncation costs a
    level, and twice in glass blur. That is a tenth of the shift of the mean, so this repeats
    SciPy's float64 arithmetic: levels / 255, rows then columns, the outermost pair of taps first.

    Args:
        image: float32 `[H, W, C]`, whole grey levels.
        taps: `float64.parts` of the taps from the centre outwards, padded with zeros.
    """
    radius = taps.shape[1] - 1
    with float64.enabled():
        weights = float64.joined(taps)
        # From a table: XLA would divide by a constant as it multiplies by its reciprocal.
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
    """Where each pixel's value comes from after one sweep of copies, without the sweep.

    The published code walks from the bottom right corner to the top left one, and copies to
    pixel (h, w), for `reach` < h <= H - `reach` and likewise w, the present value of
    (h + down, w + right). (It writes a swap, but the two sides share memory, so that only the
    copy happens.) A pixel is written once, so a source that lies ahead still has its first value,
    and one that lies behind has the value of its own source: chains, which pointer doubling
    follows to their ends in a few steps instead of one per pixel.

    Args:
        down: int32 `[H, W]` in [-reach, reach).
        right: likewise.
        reach: the largest displacement.

    Returns:
        int32 `[H * W]` indices into the flattened image.
    """
    height, width = down.shape
    rows, cols = jnp.arange(height)[:, None], jnp.arange(width)[None]
    written = (rows > reach) & (rows <= height - reach) & (cols > reach) & (cols <= width - reach)
    own = rows * width + cols
    source = jnp.where(written, own + down * width + right, own).reshape(-1)
    # Behind the walk, and written by it: the value is that of the source's source.
    behind = (source > own.reshape(-1)) & _take(written.reshape(-1), source)
    # Ends of chains point at themselves, so that doubling leaves them where they are.
    ahead = jnp.where(behind, source, own.reshape(-1))

    def unfinished(jump):
        return jnp.any(_take(jump, jump) != jump)

    end = jax.lax.while_loop(unfinished, lambda jump: _take(jump, jump), ahead)
    return _take(source, end)


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    """values[index] for indices that are inside, which need no check."""
    return values.at[index].get(mode="promise_in_bounds")
