"""Coordinates with 32 bits behind the point, in 32-bit integers.

Pillow computes the coordinates of a warp in float64. In float32 the position of a pixel
in a 224-pixel image is wrong by up to 1e-5 pixel, enough to change one byte in five
thousand. Integers with 32 fractional bits are exact for nearly every argument, need no
64-bit mode, and give the same bytes on every backend, whatever it does with float32
multiply-adds.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment.arguments import split_argument


class Fixed(NamedTuple):
    """The real number `whole + fraction / 2**32`.

    Attributes:
        whole: int32.
        fraction: uint32, of the same shape.
    """

    whole: jax.Array
    fraction: jax.Array


def from_float32(x: jax.Array) -> Fixed:
    """Converts float32, to the nearest 2**-32."""
    x = jnp.asarray(x, jnp.float32)
    magnitude = jnp.abs(x)
    whole = jnp.floor(magnitude)
    # In 16-bit halves: every difference and product by a power of two is exact.
    scaled = (magnitude - whole) * 65536.0
    high = jnp.floor(scaled)
    low = jnp.floor((scaled - high) * 65536.0 + 0.5)
    fraction = high.astype(jnp.uint32) * jnp.uint32(65536) + low.astype(jnp.uint32)
    number = Fixed(whole.astype(jnp.int32), fraction)
    negative = x < 0
    opposite = negate(number)
    return Fixed(
        jnp.where(negative, opposite.whole, number.whole),
        jnp.where(negative, opposite.fraction, number.fraction),
    )


def from_float64(x: np.ndarray | float) -> Fixed:
    """Converts float64 constants on the host, to the nearest 2**-32."""
    scaled = np.rint(np.asarray(x, np.float64) * 2.0**32).astype(np.int64)
    return Fixed(
        jnp.asarray((scaled >> 32).astype(np.int32)),
        jnp.asarray((scaled & 0xFFFFFFFF).astype(np.uint32)),
    )


def from_argument(value: jax.typing.ArrayLike, factor: float = 1.0) -> Fixed:
    """Converts an operator's argument times a power of two; Python floats keep their 53 bits."""
    high, low = split_argument(value)
    return add(from_float32(high * factor), from_float32(low * factor))


def negate(a: Fixed) -> Fixed:
    """`-a`."""
    borrow = (a.fraction != 0).astype(jnp.int32)
    return Fixed(-a.whole - borrow, jnp.uint32(0) - a.fraction)


def add(a: Fixed, b: Fixed) -> Fixed:
    """`a + b`; the shapes broadcast."""
    fraction = a.fraction + b.fraction
    carry = (fraction < a.fraction).astype(jnp.int32)
    return Fixed(a.whole + b.whole + carry, fraction)


def times(a: Fixed, n: jax.Array) -> Fixed:
    """`a * n` for integers |n| < 2**15; the shapes broadcast."""
    high = (a.fraction >> 16).astype(jnp.int32)
    low = (a.fraction & 0xFFFF).astype(jnp.int32)
    bottom = low * n
    middle = high * n + (bottom >> 16)
    fraction = (middle.astype(jnp.uint32) << 16) | (bottom.astype(jnp.uint32) & 0xFFFF)
    return Fixed(a.whole * n + (middle >> 16), fraction)


def multiply_fractions(a: jax.Array, b: jax.Array) -> jax.Array:
    """The product of two fractions (uint32, in 2**-32), short by less than 3 * 2**-32."""
    a_high, a_low = a >> 16, a & 0xFFFF
    b_high, b_low = b >> 16, b & 0xFFFF
    return a_high * b_high + ((a_high * b_low) >> 16) + ((a_low * b_high) >> 16)


def floor_of_products(*terms: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The floor of a sum of integers |n| < 2**10 times fractions, exactly.

    Args:
        *terms: pairs of an int32 factor and a uint32 fraction (in 2**-32).

    Returns:
        int32.
    """
    top = sum(n * (f >> 16).astype(jnp.int32) for n, f in terms)
    bottom = sum(n * (f & 0xFFFF).astype(jnp.int32) for n, f in terms)
    return (top + (bottom >> 16)) >> 16
