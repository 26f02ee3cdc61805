"""Mixing an image with its augmentation chains (AugMix; AugMax paper, Sec. 3)."""

import jax
import jax.numpy as jnp

from augmax_jax.runtime.checks import (
    check_count,
    check_number,
    check_pixels,
    check_sums,
    check_weights,
)
from augmax_jax.runtime.keys import example_keys


def mix(images: jax.Array, chains: jax.Array, m: jax.Array, w: jax.Array) -> jax.Array:
    """Blends: (1 - m) x + m * sum_i w_i chain_i.

    The result is differentiable in `m` and `w`, and in images or chains that are float. If the
    weights sum to one, mixing commutes with per-channel normalisation.

    Args:
        images: `[B, H, W, 3]`, uint8, or float in [0, 1].
        chains: `[B, K, H, W, 3]`, uint8, or float in [0, 1].
        m: skip weights, float `[B]` in [0, 1].
        w: chain weights, float `[B, K]`, non-negative, each row summing to one.

    Returns:
        float32 `[B, H, W, 3]` in [0, 1].

    Raises:
        ValueError: the shapes do not fit together, there is no chain, or values (where they are
            known, so not under `jit`) are not as described.
    """
    _check(images, chains, m, w)
    m = jnp.asarray(m, jnp.float32)
    w = jnp.asarray(w, jnp.float32)
    blend = _weigh(images, 1 - m)
    for i in range(chains.shape[1]):
        blend += _weigh(chains[:, i], m * w[:, i])
    # Rounded weights may sum to 1 + 1e-7, so the result is limited to [0, 1]; the gradient is
    # that of the sum without the limit.
    return blend + jax.lax.stop_gradient(jnp.clip(blend, 0.0, 1.0) - blend)


def sample_mixing_weights(
    key: jax.Array, batch: int, width: int, *, alpha: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Draws AugMix's random mixing weights.

    Args:
        key: one key, or one per example `[batch]`.
        batch: number of examples B.
        width: number of chains K.
        alpha: parameter of both distributions, positive; 1 is uniform.

    Returns:
        m ~ Beta(alpha, alpha), float32 `[B]`, and w ~ Dirichlet(alpha), float32 `[B, K]`.

    Raises:
        ValueError: `batch` or `width` below 1, `alpha` not positive, or a bad key.
    """
    check_count("batch", batch, low=1)
    check_count("width", width, low=1)
    check_number("alpha", alpha, low=0, above_low=True)

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        m_key, w_key = jax.random.split(key)
        if alpha == 1.0:  # the usual case, which needs no gamma draws with their rejection loops
            weights = jax.random.exponential(w_key, (width,))
            return jax.random.uniform(m_key), weights / weights.sum()
        m = jax.random.beta(m_key, alpha, alpha)
        return m, jax.random.dirichlet(w_key, jnp.full(width, alpha))

    return jax.vmap(draw)(example_keys(key, batch))


def to_float(images: jax.Array) -> jax.Array:
    """Converts uint8 images to what networks take, float32 in [0, 1].

    Args:
        images: uint8, any shape.

    Returns:
        float32 in [0, 1], of the same shape.

    Raises:
        ValueError: the dtype is not uint8; images may be float already.
    """
    dtype = getattr(images, "dtype", type(images).__name__)
    if dtype != jnp.uint8:
        raise ValueError(f"images must be uint8, got {dtype}")
    return images.astype(jnp.float32) / 255.0


def _weigh(images: jax.Array, weights: jax.Array) -> jax.Array:
    """Images in [0, 1] times one weight each."""
    if images.dtype == jnp.uint8:
        weights = weights / 255
    return images.astype(jnp.float32) * weights[:, None, None, None]


def _check(images: jax.Array, chains: jax.Array, m: jax.Array, w: jax.Array) -> None:
    """Raises ValueError unless the arguments of `mix` fit together."""
    check_pixels("images", images)
    check_pixels("chains", chains, "B, K, H, W, 3")
    batch, width = chains.shape[:2]
    if (batch, *chains.shape[2:]) != images.shape:
        raise ValueError(
            f"chains must be versions of the images {list(images.shape)}, "
            f"got shape {list(chains.shape)}"
        )
    check_weights("m", m, (batch,))
    check_weights("w", w, (batch, width))
    check_sums("w", w)
