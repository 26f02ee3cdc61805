"""Operators that map every channel through a table of 256 entries (spec §1.2)."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment.arguments import check_image


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel to the full range; a constant channel stays as it is.

    Args:
        image: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.autocontrast(image)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    image = check_image(image)
    low = jnp.min(image, axis=(0, 1)).astype(jnp.int32)
    high = jnp.max(image, axis=(0, 1)).astype(jnp.int32)
    return _apply(image, jax.vmap(_autocontrast_table)(low, high))


def equalize(image: jax.Array) -> jax.Array:
    """Flattens the histogram of each channel.

    Args:
        image: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.equalize(image)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    image = check_image(image)
    return _apply(image, jax.vmap(_equalize_table)(_histograms(image)))


def posterize(image: jax.Array, bits: jax.typing.ArrayLike) -> jax.Array:
    """Keeps the highest bits of every value.

    Args:
        image: uint8 `[H, W, 3]`.
        bits: how many, a whole number in 1..8.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.posterize(image, bits)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    image = check_image(image)
    dropped = 8 - jnp.asarray(bits).astype(jnp.int32)
    return image & (256 - (1 << dropped)).astype(jnp.uint8)


def solarize(image: jax.Array, threshold: jax.typing.ArrayLike) -> jax.Array:
    """Inverts the values at or above a threshold.

    Args:
        image: uint8 `[H, W, 3]`.
        threshold: 256 changes nothing, 0 inverts everything.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.solarize(image, threshold)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    image = check_image(image)
    return jnp.where(image < jnp.asarray(threshold), image, 255 - image)


def _apply(image: jax.Array, tables: jax.Array) -> jax.Array:
    """Looks every channel up in its table; tables: `[3, 256]`."""
    channels = [tables[c].astype(jnp.uint8)[image[..., c]] for c in range(3)]
    return jnp.stack(channels, axis=-1)


def _histograms(image: jax.Array) -> jax.Array:
    """Counts of the 256 values in each channel, int32 `[3, 256]`."""
    values = image.reshape(-1, 3).astype(jnp.int32) + jnp.arange(3) * 256
    return jnp.zeros(768, jnp.int32).at[values.ravel()].add(1).reshape(3, 256)


def _equalize_table(histogram: jax.Array) -> jax.Array:
    """Pillow's table for one channel; int32 `[256]` from the counts `[256]`."""
    values = jnp.arange(256)
    highest = jnp.max(jnp.where(histogram > 0, values, 0))
    total = jnp.sum(histogram)
    # Zero too when a single value is present.
    step = (total - histogram[highest]) // 255
    below = jnp.cumsum(histogram) - histogram
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    return jnp.where(step == 0, values, table)


def _autocontrast_table(low: jax.Array, high: jax.Array) -> jax.Array:
    """Pillow's table for the extremes of one channel; int32 `[256]`."""
    values = jnp.arange(256)
    spread = jnp.maximum(high - low, 1)
    above = jnp.clip(values - low, 0, spread)
    stretched = (255 * above) // spread
    # Where the quotient is whole, Pillow's float64 may land just below it.
    period, words = _autocontrast_roundings()
    multiple = above // jnp.asarray(period)[spread]
    bit = jnp.maximum(multiple - 1, 0)
    word = jnp.asarray(words)[spread, low][bit // 32 % words.shape[-1]]
    short = ((word >> (bit % 32).astype(jnp.uint32)) & 1).astype(jnp.int32)
    whole = (multiple * jnp.asarray(period)[spread] == above) & (multiple > 0)
    stretched = stretched - jnp.where(whole, short, 0)
    return jnp.where(high > low, stretched, values)


@functools.cache
def _autocontrast_roundings() -> tuple[np.ndarray, np.ndarray]:
    """Where Pillow's float64 table falls one short of the exact quotient.

    For a channel in low..low+spread, Pillow computes trunc(i * scale - low * scale) with
    scale = 255 / spread, every step rounded to float64. It differs from the floor of
    255 (i - low) / spread only where that is a whole number, which happens at
    i = low + period, low + 2 period, ... with period = spread / gcd(spread, 255).

    Returns:
        period, int32 `[256]` by spread; bits, uint32 `[256, 256, 2]` by spread and low: bit
        k - 1 is set if the table is one short at low + k * period.
    """
    period = np.ones(256, np.int32)
    bits = np.zeros((256, 256, 64), bool)
    for spread in range(1, 256):
        period[spread] = spread // math.gcd(spread, 255)
        if 255 % spread == 0:
            continue  # the scale is a whole number, and nothing is rounded
        k = np.arange(1, math.gcd(spread, 255) + 1)
        low = np.arange(256 - spread)[:, None]
        scale = 255.0 / spread
        table = ((low + k * period[spread]) * scale + -low * scale).astype(np.int32)
        short = table < k * (255 // math.gcd(spread, 255))
        bits[spread, : 256 - spread, : min(len(k), 64)] = short[:, :64]
        assert not short[:, 64:].any()
    weights = np.uint32(1) << np.arange(32, dtype=np.uint32)
    return period, (bits.reshape(256, 256, 2, 32) * weights).sum(-1, dtype=np.uint32)
