"""Packs an image into one 32-bit word per pixel, the form in which operators compute.

A gather then reads a whole pixel, one mask works on three channels, and no array is transposed. Red
is in the lowest byte; the highest byte is zero or unused.
"""

import jax
import jax.numpy as jnp

SHIFTS = (0, 8, 16)  # bits by which red, green and blue are shifted


def pack(image: jax.Array) -> jax.Array:
    """uint8 `[..., 3]` to uint32 `[...]`."""
    padding = [(0, 0)] * (image.ndim - 1) + [(0, 1)]
    return jax.lax.bitcast_convert_type(jnp.pad(image, padding), jnp.uint32)


def unpack(words: jax.Array) -> jax.Array:
    """uint32 `[...]` to uint8 `[..., 3]`."""
    return jax.lax.bitcast_convert_type(words, jnp.uint8)[..., :3]


def channels(words: jax.Array) -> list[jax.Array]:
    """Red, green and blue of packed pixels, int32 in 0..255."""
    return [((words >> jnp.uint32(s)) & jnp.uint32(255)).astype(jnp.int32) for s in SHIFTS]


def join(red: jax.Array, green: jax.Array, blue: jax.Array) -> jax.Array:
    """Packs three channels of whole numbers in 0..255, integers or floats."""
    r, g, b = (c.astype(jnp.int32).astype(jnp.uint32) for c in (red, green, blue))
    return r | (g << jnp.uint32(8)) | (b << jnp.uint32(16))
