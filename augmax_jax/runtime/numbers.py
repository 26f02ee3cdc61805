"""Checks of numbers: counts, real numbers, switches. Errors name the argument and what is allowed.

A bool is no number here, NaN is outside every range, and a traced value is refused: Python needs
the values of settings before a program is compiled.
"""

import math
import numbers
from typing import Any

import jax
import numpy as np


def _concrete(name: str, value: Any) -> Any:
    """A 0-d array as its NumPy scalar, any other value unchanged; refuses traced values."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name} must be known before the program is traced, got {value}: pass a Python "
            "number, or name the argument in jit's static_argnames"
        )
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 0:
        return np.asarray(value)[()]
    return value


def check_count(name: str, value: Any, *, low: int = 0, high: int | None = None) -> None:
    """Raises ValueError unless `value` is a whole number in [low, high].

    Args:
        name: name of the argument, for the message.
        value: an int, NumPy integer or concrete integer scalar; no bool, no 2.0, no "2".
        low: the lowest value allowed.
        high: the highest value allowed; None: no bound.
    """
    found = _concrete(name, value)
    if isinstance(found, bool | np.bool_) or not isinstance(found, numbers.Integral):
        raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}")
    _check_range(name, found, low, math.inf if high is None else high)


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above_low: bool = False,
) -> None:
    """Raises ValueError unless `value` is a finite real number in [low, high].

    Args:
        name: name of the argument, for the message.
        value: an int, float, NumPy or concrete JAX scalar; no bool, no "0.1".
        low: the lowest value allowed.
        high: the highest value allowed.
        above_low: if True, `low` itself is not allowed.
    """
    found = _concrete(name, value)
    if np.ndim(found) == 0 and getattr(found, "dtype", None) is not None:
        found = found.item()  # also bfloat16, which NumPy does not count as a real number
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    _check_range(name, found, low, high, above_low=above_low)


def check_flag(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def _check_range(
    name: str, value: Any, low: float, high: float, *, above_low: bool = False
) -> None:
    fits = low < value <= high if above_low else low <= value <= high
    if fits and math.isfinite(value):
        return
    if high != math.inf:
        allowed = f"in {'(' if above_low else '['}{low}, {high}]"
    elif low != -math.inf:
        allowed = f"{'above' if above_low else 'at least'} {low}"
        allowed += " and finite" if value == math.inf else ""
    else:
        allowed = "a finite number"
    raise ValueError(f"{name} must be {allowed}, got {value!r}")
