"""Checks of what users pass: numbers, switches, images, labels, logits.

All public functions use these. Errors name the argument, what it is and what is allowed. Where a
value is traced, as the arguments of a jitted function are, only its shape and dtype can be checked;
settings, which Python needs before a program is compiled, must not be traced. A bool is no number
here, and NaN is outside every range.
"""

import math
import numbers
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Pixels are addressed and counted in int32.
LARGEST_SIDE = 16383
# Rounding may lead this far out of [0, 1], and this far from a sum of 1.
_TOLERANCE = 1e-3


def check_count(name: str, value: Any, *, low: int = 0, high: int | None = None) -> None:
    """Raises ValueError unless `value` is a whole number in [low, high].

    Args:
        name: name of the argument, for the message.
        value: an int, NumPy integer or concrete integer scalar; no bool, no 2.0, no "2".
        low: the lowest value allowed.
        high: the highest value allowed; None: no bound.
    """
    found = _setting(name, value)
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
    below_high: bool = False,
) -> None:
    """Raises ValueError unless `value` is a finite real number in [low, high].

    Args:
        name: name of the argument, for the message.
        value: an int, float, NumPy or concrete JAX scalar; no bool, no "0.1".
        low: the lowest value allowed.
        high: the highest value allowed.
        above_low: if True, `low` itself is not allowed.
        below_high: if True, `high` itself is not allowed.
    """
    found = _setting(name, value)
    if np.ndim(found) == 0 and getattr(found, "dtype", None) is not None:
        found = found.item()  # also bfloat16, which NumPy does not count as a real number
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise ValueError(f"{name} must be a number, got {value!r}")
    _check_range(name, found, low, high, above_low=above_low, below_high=below_high)


def check_flag(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_argument(
    name: str, value: Any, *, low: float = -math.inf, high: float = math.inf
) -> None:
    """Raises ValueError unless the argument of an operator is one number in [low, high].

    It may be traced, and then only its shape and dtype are checked.
    """
    if is_known(value):
        check_number(name, value, low=low, high=high)
    elif np.shape(value) or not (is_float(value.dtype) or jnp.issubdtype(value.dtype, jnp.integer)):
        raise ValueError(f"{name} must be one number, got {describe(value)}")


def check_image(image: Any) -> jax.Array:
    """The image as a JAX array; raises ValueError unless it is uint8 `[H, W, 3]`, not empty."""
    return _check_bytes("image", image, ("H", "W"))


def check_images(images: Any) -> jax.Array:
    """The batch as a JAX array; raises ValueError unless it is uint8 `[B, H, W, 3]`, not empty."""
    return _check_bytes("images", images, ("B", "H", "W"))


def check_pixels(name: str, images: Any, axes: str = "B, H, W, 3") -> None:
    """Raises ValueError unless an array is uint8, or float in [0, 1], with these axes.

    Args:
        name: name of the argument, for the message.
        images: the array; values are checked where they are known.
        axes: the axes, the last of which has 3 channels; none may be empty.
    """
    shape, dtype = np.shape(images), dtype_of(images)
    fits = len(shape) == axes.count(",") + 1 and shape[-1] == 3 and 0 not in shape
    if not fits or not (dtype == jnp.uint8 or is_float(dtype)):
        raise ValueError(
            f"{name} must be [{axes}], uint8 or float in [0, 1], and not empty, got "
            f"{describe(images)}"
        )
    if dtype != jnp.uint8:
        check_values(name, images, low=0, high=1, tolerance=_TOLERANCE)


def check_floats(name: str, values: Any, shape: tuple[int | str, ...]) -> None:
    """Raises ValueError unless an array is float of this shape, without NaN or infinity.

    Args:
        name: name of the argument, for the message.
        values: the array; values are checked where they are known.
        shape: the length of each axis, or a text like "H" for any length.
    """
    check_shape(name, values, shape)
    check_values(name, values)


def check_shape(name: str, values: Any, shape: tuple[int | str, ...]) -> None:
    """Raises ValueError unless an array is float of this shape; see `check_floats`."""
    _check_shape(name, values, shape, "float", is_float(dtype_of(values)))


def check_integers(name: str, values: Any, shape: tuple[int | str, ...]) -> None:
    """Raises ValueError unless an array is int of this shape; see `check_floats`."""
    dtype = dtype_of(values)
    integers = isinstance(dtype, np.dtype) and bool(jnp.issubdtype(dtype, jnp.integer))
    _check_shape(name, values, shape, "int", integers)


def check_weights(name: str, weights: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless float weights of this shape are in [0, 1], where they are known."""
    check_shape(name, weights, shape)
    check_values(name, weights, low=0, high=1, tolerance=_TOLERANCE)


def check_sums(name: str, weights: Any) -> None:
    """Raises ValueError unless each row of weights, where they are known, sums to one."""
    if is_known(weights):
        sums = np.asarray(weights, np.float64).sum(-1)
        if (abs(sums - 1) > _TOLERANCE).any():
            raise ValueError(
                f"each row of {name} must sum to 1, got {sums.min():g} to {sums.max():g}"
            )


def check_values(
    name: str,
    values: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    tolerance: float = 0.0,
) -> None:
    """Raises ValueError unless the values of an array, where they are known, are in [low, high].

    NaN and infinity are refused.
    """
    if not is_known(values):
        return
    array = np.asarray(values)
    if not array.size:
        return
    least, most = float(array.min()), float(array.max())  # NaN, if there is one
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError(f"{name} holds NaN or infinity: look for what made it")
    if least < low - tolerance or most > high + tolerance:
        raise ValueError(f"{name} must be in [{low}, {high}], got {least:g} to {most:g}")


def check_labels(
    labels: Any, batch: int, *, name: str = "labels", num_classes: int | None = None
) -> jax.Array:
    """Labels as a JAX array.

    Args:
        labels: int `[batch]` in [0, num_classes), which is checked where the values are known.
            Under `jit` they are not: JAX then reads a label past the classes as NaN, or as another
            class.
        batch: number of images.
        name: name of the argument, for the message.
        num_classes: number of classes, if it is known.

    Returns:
        int `[batch]`.

    Raises:
        ValueError: `labels` has another shape or dtype, or a label is out of range.
    """
    if not hasattr(labels, "dtype"):
        labels = _as_array(name, labels)
    if np.shape(labels) != (batch,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"{name} must be int [{batch}], one per image, got {describe(labels)}")
    bounds = bounds_of(labels)
    if bounds and bounds[0] < 0:
        raise ValueError(f"{name} must be classes from 0 on, got {bounds[0]}")
    if bounds and num_classes is not None and bounds[1] >= num_classes:
        raise ValueError(f"{name} must be below the {num_classes} classes, got {bounds[1]}")
    return jnp.asarray(labels)


def check_logits(
    logits: Any, *, batch: int | None = None, name: str = "logits", mask: Any = None
) -> None:
    """Raises ValueError unless an array is float logits, one row per image.

    Args:
        logits: float `[batch, num_classes]`. Where the values are known, each row must have a
            highest value: no NaN, no +inf, and not -inf alone.
        batch: number of images; None: any but 0.
        name: name of the argument, for the message.
        mask: bool `[batch]`, False for rows whose values do not count; None: all count.
    """
    wanted = "B" if batch is None else batch
    shape: tuple[int, ...] = np.shape(logits) if hasattr(logits, "dtype") else ()
    fits = len(shape) == 2 and 0 not in shape and batch in (None, shape[0])
    if not fits or not is_float(dtype_of(logits)):
        raise ValueError(
            f"{name} must be float [{wanted}, num_classes], one row per image, got "
            f"{describe(logits)}"
        )
    if is_known(logits) and (mask is None or is_known(mask)):
        useless = ~np.isfinite(np.asarray(logits).max(-1))
        useless = useless if mask is None else useless & np.asarray(mask)
        if useless.any():
            raise ValueError(
                f"{name} have no highest value (NaN or infinity) in {useless.sum()} of "
                f"{len(useless)} rows: look for an overflow or a diverged training"
            )


def check_class_names(names: Any, num_classes: int) -> tuple[str, ...]:
    """The names of classes; raises ValueError unless there is a text for each of `num_classes`."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"class_names must be a list of {num_classes} names, got {names!r}")
    found = tuple(names)
    if not all(isinstance(one, str) for one in found):
        wrong = next(one for one in found if not isinstance(one, str))
        raise ValueError(f"class_names must be texts, got {wrong!r}")
    if len(found) != num_classes:
        raise ValueError(f"class_names must be {num_classes}, one for each logit, got {len(found)}")
    return found


def is_known(values: Any) -> bool:
    """Whether the values of an array can be read now; those of a traced one cannot."""
    return not isinstance(values, jax.core.Tracer)


def is_float(dtype: Any) -> bool:
    """Whether a dtype, as `dtype_of` gives it, is one of floats."""
    return isinstance(dtype, np.dtype) and bool(jnp.issubdtype(dtype, jnp.floating))


def dtype_of(value: Any) -> Any:
    """An array's dtype; for anything else the name of its type."""
    return getattr(value, "dtype", type(value).__name__)


def describe(value: Any) -> str:
    """What an argument is, for a message: dtype and shape, or the name of its type."""
    if not hasattr(value, "dtype"):
        return type(value).__name__
    return f"{value.dtype} {list(np.shape(value))}"


def bounds_of(labels: Any) -> tuple[int, int] | None:
    """The lowest and the highest label; None if labels are traced, empty or no integers."""
    if not is_known(labels):
        return None
    values = np.asarray(labels)  # not jnp: under jit that would be traced
    if not values.size or not np.issubdtype(values.dtype, np.integer):
        return None
    return int(values.min()), int(values.max())


def _as_array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:  # lists of unequal lengths
        raise ValueError(f"{name} must be an array, got {type(values).__name__}") from None


def _check_shape(
    name: str, values: Any, shape: tuple[int | str, ...], kind: str, right_kind: bool
) -> None:
    """Raises ValueError unless an array has this shape, in which texts stand for any length."""
    found = np.shape(values) if hasattr(values, "dtype") else ()
    fits = len(found) == len(shape) and all(
        isinstance(wanted, str) or wanted == length
        for wanted, length in zip(shape, found, strict=False)
    )
    if not (fits and right_kind):
        wanted = ", ".join(map(str, shape))
        raise ValueError(f"{name} must be {kind} [{wanted}], got {describe(values)}")


def _check_bytes(name: str, array: Any, axes: tuple[str, ...]) -> jax.Array:
    """The array, if it is uint8 with these axes and three channels, and not empty."""
    shape, dtype = jnp.shape(array) if hasattr(array, "dtype") else (), dtype_of(array)
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


def _setting(name: str, value: Any) -> Any:
    """A 0-d array as its NumPy scalar, any other value unchanged; refuses traced values."""
    if isinstance(value, jax.core.Tracer):
        raise ValueError(
            f"{name} must be known before the program is traced, got {value}: pass a Python "
            "number, or name the argument in jit's static_argnames"
        )
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 0:
        return np.asarray(value)[()]
    return value


def _check_range(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    above_low: bool = False,
    below_high: bool = False,
) -> None:
    fits = (low < value if above_low else low <= value) and (
        value < high if below_high else value <= high
    )
    if fits and math.isfinite(value):
        return
    if high != math.inf:
        allowed = f"in {'(' if above_low else '['}{low}, {high}{')' if below_high else ']'}"
    elif low != -math.inf:
        allowed = f"{'above' if above_low else 'at least'} {low}"
        allowed += " and finite" if value == math.inf else ""
    else:
        allowed = "a finite number"
    raise ValueError(f"{name} must be {allowed}, got {value!r}")
