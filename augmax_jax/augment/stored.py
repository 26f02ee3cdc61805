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

    XLA's CPU compiler fuses coordinates and tables into each of the gathers that use them,
    and computes them for every pixel. It does not look into conditionals, nor can it know
    that an operator's argument is no NaN.

    Args:
        argument: the operator's, a float32 scalar, not NaN.
        function: of arrays; pure.
        operand: its only argument, a pytree of arrays.
    """
    shape = jax.eval_shape(function, operand)

    def never() -> Result:
        with float64.enabled():
            return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)

    return jax.lax.cond(argument == argument, lambda: function(operand), never)
