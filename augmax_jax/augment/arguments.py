"""Checks and conversions of the augmentation functions' arguments."""

import jax
import jax.numpy as jnp

from augmax_jax.runtime.numbers import check_count, check_number

LOWEST_LEVEL = 0.1
FULL_STRENGTH = 10  # the level at which operators act with their full strength

# Pixels are addressed and counted in int32.
LARGEST_SIDE = 16383


def check_image(image: jax.Array) -> jax.Array:
    """The image as a JAX array; raises ValueError unless it is uint8 `[H, W, 3]`."""
    return _check("image", image, ("H", "W"))


def check_images(images: jax.Array) -> jax.Array:
    """The batch as a JAX array; raises ValueError unless it is uint8 `[B, H, W, 3]`, B > 0."""
    return _check("images", images, ("B", "H", "W"))


def check_chain_settings(
    width: int, depth: int | None, severity: float, *, prefix: str = ""
) -> None:
    """Raises ValueError for settings of random chains that are out of range.

    Args:
        width: chains per image, at least 1.
        depth: operators per chain, at least 1, or None.
        severity: upper end of the levels, in [0.1, 10].
        prefix: goes before each name in the message, such as "config.augment.".
    """
    check_count(f"{prefix}width", width, low=1)
    if depth is not None:
        check_count(f"{prefix}depth", depth, low=1)
    check_number(f"{prefix}severity", severity, low=LOWEST_LEVEL, high=FULL_STRENGTH)


def _check(name: str, array: jax.Array, axes: tuple[str, ...]) -> jax.Array:
    """The array, if it is uint8 with these axes and three channels, and not empty."""
    shape = jnp.shape(array)
    dtype = getattr(array, "dtype", type(array).__name__)
    expected = f"uint8 [{', '.join(axes)}, 3]"
    if dtype != jnp.uint8 or len(shape) != len(axes) + 1 or shape[-1] != 3:
        raise ValueError(f"{name} must be {expected}, got {dtype} {list(shape)}")
    if 0 in shape:
        raise ValueError(f"{name} must be {expected} and not empty, got shape {list(shape)}")
    if max(shape[-3:-1]) > LARGEST_SIDE:
        raise ValueError(
            f"{name} must be at most {LARGEST_SIDE} pixels wide and high, got shape {list(shape)}"
        )
    return jnp.asarray(array)
