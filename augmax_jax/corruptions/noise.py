"""Noise: Gaussian, shot, impulse and speckle. One image per call; `corrupt` maps them.

Every function takes `(key, image, constants)`, image float32 `[H, W, 3]` in grey levels, and
returns grey levels before clipping and truncation. Constants are made by `*_constants` on the
host.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

_COUNTS = 512  # thresholds per grey level; photon counts that saturate need none


def gaussian_noise(key: jax.Array, image: jax.Array, sigma: Any) -> jax.Array:
    """x + N(0, sigma²), independent for every value."""
    return image + 255 * sigma * jax.random.normal(key, image.shape)


def speckle_noise(key: jax.Array, image: jax.Array, sigma: Any) -> jax.Array:
    """x + x N(0, sigma²), independent for every value."""
    return image + image * sigma * jax.random.normal(key, image.shape)


def impulse_noise(key: jax.Array, image: jax.Array, amount: Any) -> jax.Array:
    """Replaces each value of each channel by 0 or 255 with probability `amount` / 2 each."""
    draw = jax.random.uniform(key, image.shape)
    return jnp.where(draw < amount / 2, 0, jnp.where(draw < amount, 255, image))


def shot_constants(photons: int) -> dict[str, Any]:
    """Cumulative Poisson probabilities of every grey level, as 32-bit integers.

    An image has only 256 rates, and counts from `photons` on are white. So sampling is a binary
    search in a small table: several times faster than rejection, and exact to 2^-32.
    """
    if not 0 < photons <= _COUNTS:
        raise ValueError(f"photons must be between 1 and {_COUNTS}, got {photons}")
    rate = np.arange(256)[:, None] / 255 * photons
    counts = np.arange(_COUNTS)
    below = np.where(counts < photons, special.pdtr(counts, rate), 1.0)
    table = np.minimum(below * 2.0**32, 2**32 - 1).astype(np.uint32)
    return {"table": table, "photons": np.float32(photons)}


def shot_noise(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Poisson(photons x) / photons."""
    bits = jax.random.bits(key, image.shape, jnp.uint32)
    row = image.astype(jnp.int32) * _COUNTS
    table = constants["table"].reshape(-1)
    count = jnp.zeros(image.shape, jnp.int32)
    for step in (256, 128, 64, 32, 16, 8, 4, 2, 1):
        count = jnp.where(table[row + count + step - 1] <= bits, count + step, count)
    return 255 * jnp.minimum(count.astype(jnp.float32) / constants["photons"], 1)
