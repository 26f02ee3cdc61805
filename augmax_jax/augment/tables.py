"""Operators that treat every value of a channel alike: look-up tables in Pillow (spec §1.2).

Operators on images are at the top; below them, the same on packed words, for chains.
"""

import jax
import jax.numpy as jnp

from augmax_jax.augment import float64
from augmax_jax.augment.arguments import check_image
from augmax_jax.augment.float64 import product
from augmax_jax.augment.packed import SHIFTS, channels, join, pack, unpack

# ---- on images


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel to the full range; a constant channel stays as it is.

    Args:
        image: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.autocontrast(image)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    return unpack(autocontrast_words(pack(check_image(image))))


def equalize(image: jax.Array) -> jax.Array:
    """Flattens the histogram of each channel.

    Args:
        image: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.equalize(image)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    return unpack(equalize_words(pack(check_image(image))))


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
    return unpack(posterize_words(pack(check_image(image)), jnp.asarray(bits)))


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
    return unpack(solarize_words(pack(check_image(image)), jnp.asarray(threshold)))


# ---- on packed words, uint32 [H, W]


def autocontrast_words(words: jax.Array) -> jax.Array:
    """`autocontrast` of a packed image."""
    with float64.enabled():
        return join(*(_stretch(channel) for channel in channels(words)))


def equalize_words(words: jax.Array, wanted: jax.Array | bool = True) -> jax.Array:
    """`equalize` of a packed image; where `wanted` is false, anything, for little work."""
    values = jnp.arange(256, dtype=jnp.int32)
    result = jnp.uint32(0)
    for channel, place in zip(channels(words), SHIFTS, strict=True):
        # An index past the end is dropped, and costs less than a sum in memory.
        bins = channel if wanted is True else jnp.where(wanted, channel, 256)
        counts = jnp.zeros(256, jnp.int32).at[bins.reshape(-1)].add(1, mode="drop")
        highest = jnp.max(jnp.where(counts > 0, values, 0))
        # Zero, too, if the channel is constant.
        step = (jnp.int32(words.size) - counts[highest]) // 255
        below = jnp.cumsum(counts, dtype=jnp.int32) - counts
        table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
        table = jnp.where(step == 0, values, table).astype(jnp.uint32) << jnp.uint32(place)
        result |= table.at[channel].get(mode="promise_in_bounds")
    return result


def posterize_words(words: jax.Array, bits: jax.Array) -> jax.Array:
    """`posterize` of a packed image."""
    dropped = jnp.uint32(8) - bits.astype(jnp.uint32)
    mask = jnp.uint32(256) - (jnp.uint32(1) << dropped)
    return words & (mask * jnp.uint32(0x010101))


def solarize_words(words: jax.Array, threshold: jax.Array) -> jax.Array:
    """`solarize` of a packed image."""
    return join(*(jnp.where(c < threshold, c, 255 - c) for c in channels(words)))


def _stretch(channel: jax.Array) -> jax.Array:
    """Pillow's autocontrast of one channel (int32), in its float64 arithmetic."""
    low, high = jnp.min(channel), jnp.max(channel)
    flat = high <= low
    scale = 255.0 / jnp.where(flat, 1, high - low).astype(jnp.float64)
    scale = jnp.where(flat, 1.0, scale)
    offset = jnp.where(flat, 0.0, product((-low).astype(jnp.float64), scale))
    stretched = product(channel.astype(jnp.float64), scale) + offset
    return jnp.clip(stretched, 0.0, 255.0)
