"""Values that XLA's CPU compiler computes once and keeps, instead of once for every pixel."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from augmax_jax.augment import float64

Result = TypeVar("Result")
Operand = TypeVar("Operand")


def stored(argument: jax.Array, function: Callable[[Operand], Result], operand: Operand) -> Result:
    """`function(operand)`, computed once and kept.

    XLA's CPU compiler fuses coordinates and tables into each of the gathers that use them, and
    so computes them again for every pixel. It does not fuse across a conditional. So `function`
    is called in a conditional that tests whether `argument` is NaN, which the compiler cannot
    rule out.

    Args:
        argument: the operator's argument, a float32 scalar, not NaN.
        function: a pure function of one pytree of arrays.
        operand: the argument of `function`.
    """
    shape = jax.eval_shape(function, operand)

    def never() -> Result:
        with float64.enabled():
            return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)

    return jax.lax.cond(argument == argument, lambda: function(operand), never)
