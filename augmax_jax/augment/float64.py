"""Computes in float64 where Pillow does, inside a float32 program.

Truncation makes Pillow's pixels depend on the last bit of its float64 arithmetic: a
coordinate that is 1e-16 short of a whole number gives another byte. So the operators
repeat that arithmetic, operation by operation, inside `enabled()`. Only scalars, rows,
columns and fused element-wise code are float64; arguments and results are not.
"""

from contextlib import AbstractContextManager

import jax
import jax.numpy as jnp
import numpy as np


def enabled() -> AbstractContextManager[None]:
    """A context in which JAX keeps float64; dtypes must be spelled out inside."""
    return jax.enable_x64(True)


def constant(value: jax.typing.ArrayLike) -> jax.Array:
    """A float64 array; a Python number keeps its 53 bits. Call inside `enabled()`."""
    if isinstance(value, jax.Array):
        return value.astype(jnp.float64)
    return jnp.asarray(np.asarray(value, np.float64))


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a * b`, rounded before anything is added to it.

    Compilers contract `a * b + c` into one instruction that rounds once, which is more
    accurate and therefore wrong here. So the product is clipped to bounds that it never
    reaches. Compilers cannot remove that: they may know a product's sign, but not its size. (A
    bound on one side is not enough.)
    """
    bound = 1e300 if a.dtype == jnp.float64 else 1e30
    limit = jnp.asarray(bound, a.dtype)
    return jnp.clip(a * b, -limit, limit)


def parts(values: np.ndarray) -> np.ndarray:
    """Splits float64 numbers into three float32 ones, `[3, ...]`, which jit takes, that add up."""
    found = []
    for _ in range(3):
        found.append(values.astype(np.float32))
        values = values - found[-1]
    return np.stack(found)


def joined(parts: jax.Array) -> jax.Array:
    """The float64 numbers that `parts` split. Call inside `enabled()`."""
    high, middle, low = parts.astype(jnp.float64)
    return high + (middle + low)
