"""Operators that map every value of a channel through a look-up table.

Operators on images are at the top; below them are the same operators on packed words, for chains.
"""

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment import float64
from augmax_jax.augment.float64 import product
from augmax_jax.augment.packed import channels, join, pack, unpack
from augmax_jax.augment.stored import stored
from augmax_jax.runtime.checks import check_argument, check_image

# ---- on images


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel to the full range; a constant channel does not change.

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
        bits: how many bits to keep, a whole number in 1..8.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.posterize(image, bits)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`, or `bits` is out of range.
    """
    check_argument("bits", bits, low=1, high=8)
    return unpack(posterize_words(pack(check_image(image)), jnp.asarray(bits)))


def solarize(image: jax.Array, threshold: jax.typing.ArrayLike) -> jax.Array:
    """Inverts the values at or above a threshold.

    Args:
        image: uint8 `[H, W, 3]`.
        threshold: 256 changes nothing, 0 inverts everything.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `ImageOps.solarize(image, threshold)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`, or `threshold` is not one finite number.
    """
    check_argument("threshold", threshold)
    return unpack(solarize_words(pack(check_image(image)), jnp.asarray(threshold, jnp.float32)))


# ---- on packed words, uint32 [H, W]


def autocontrast_words(words: jax.Array) -> jax.Array:
    """`autocontrast` of a packed image."""
    with float64.enabled():
        return join(*(_stretch(channel) for channel in channels(words)))


def equalize_words(words: jax.Array, wanted: jax.Array | None = None) -> jax.Array:
    """`equalize` of a packed image; undefined where `wanted` is false."""
    return look_up(words, equalize_tables(words, wanted))


def equalize_words_stored(words: jax.Array, argument: jax.Array) -> jax.Array:
    """`equalize` of a packed image, for loops on the CPU; `stored` needs `argument`."""
    return look_up(words, stored(argument, equalize_tables, words))


def look_up(words: jax.Array, tables: jax.Array) -> jax.Array:
    """Sends each channel through its table, int32 `[3, 256]` of values in 0..255."""
    red, green, blue = (
        table.at[channel].get(mode="promise_in_bounds")
        for table, channel in zip(tables, channels(words), strict=True)
    )
    return join(red, green, blue)


def equalize_tables(words: jax.Array, wanted: jax.Array | None = None) -> jax.Array:
    """The tables of `equalize`, int32 `[3, 256]`; undefined where `wanted` is false."""
    counts = jnp.stack([_histogram(channel, wanted) for channel in channels(words)])
    values = jnp.arange(256, dtype=jnp.int32)
    highest = jnp.max(jnp.where(counts > 0, values, 0), axis=1, keepdims=True)
    last = jnp.take_along_axis(counts, highest, axis=1)
    step = (jnp.int32(words.size) - last) // 255  # also zero if the channel is constant
    below = jnp.cumsum(counts, axis=1, dtype=jnp.int32) - counts
    tables = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    return jnp.where(step == 0, values, tables)


def _histogram(channel: jax.Array, wanted: jax.Array | None) -> jax.Array:
    """Counts of the 256 values, int32 `[256]`."""
    zeros = jnp.zeros(256, jnp.int32)
    if wanted is None:
        return zeros.at[channel.reshape(-1)].add(1, mode="promise_in_bounds")
    # JAX drops an index past the end; that costs less than a sum in memory.
    return zeros.at[jnp.where(wanted, channel, 256).reshape(-1)].add(1, mode="drop")


def posterize_words(words: jax.Array, bits: jax.Array) -> jax.Array:
    """`posterize` of a packed image."""
    dropped = jnp.uint32(8) - bits.astype(jnp.uint32)
    mask = jnp.uint32(256) - (jnp.uint32(1) << dropped)
    return words & (mask * jnp.uint32(0x010101))


def solarize_words(words: jax.Array, threshold: jax.Array) -> jax.Array:
    """`solarize` of a packed image; `threshold` float32."""
    return join(
        *(jnp.where(c.astype(jnp.float32) < threshold, c, 255 - c) for c in channels(words))
    )


def _stretch(channel: jax.Array) -> jax.Array:
    """Pillow's autocontrast of one channel (int32), in its float64 arithmetic."""
    low, high = jnp.min(channel), jnp.max(channel)
    # From a table, because a division under `vmap` in a compiled loop gave other last bits.
    scale = float64.constant(_SCALES)[high - low]
    # A constant channel has scale 1 and does not change.
    offset = product(jnp.where(high == low, 0, -low).astype(jnp.float64), scale)
    stretched = product(channel.astype(jnp.float64), scale) + offset
    return jnp.clip(stretched, 0.0, 255.0)


# 255 / (high - low), and 1 for constant channels.
_SCALES = np.array([1.0] + [255.0 / spread for spread in range(1, 256)])
