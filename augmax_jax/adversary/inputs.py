"""Checks and conversions of the adversaries' arguments.

Labels are checked against the classes where their values are known. Under `jit` labels
are traced and their values are unknown: JAX then reads a label past the classes as NaN, or as
another class.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from augmax_jax.augment.mixing import to_float

# float32 images [B', H, W, 3] in [0, 1] -> logits [B', num_classes] of a network in eval mode.
LogitsFn = Callable[[jax.Array], jax.Array]


def as_float(images: jax.Array) -> jax.Array:
    """Images as float32 in [0, 1].

    Args:
        images: `[B, H, W, 3]`, uint8, or float in [0, 1].

    Returns:
        float32 `[B, H, W, 3]` in [0, 1].

    Raises:
        ValueError: `images` has another shape or dtype, or is empty.
    """
    shape, dtype = jnp.shape(images), getattr(images, "dtype", type(images).__name__)
    is_bytes = dtype == jnp.uint8
    is_float = isinstance(dtype, jnp.dtype) and jnp.issubdtype(dtype, jnp.floating)
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape or not (is_bytes or is_float):
        raise ValueError(
            "images must be [B, H, W, 3], uint8 or float in [0, 1], and not empty, "
            f"got {dtype} {list(shape)}"
        )
    return to_float(jnp.asarray(images)) if is_bytes else jnp.asarray(images, jnp.float32)


def as_labels(
    labels: jax.Array, batch: int, *, name: str = "labels", num_classes: int | None = None
) -> jax.Array:
    """Labels as a JAX array.

    Args:
        labels: int `[batch]` in [0, num_classes), which is checked where the values are known.
        batch: number of images.
        name: name of the argument, for the message.
        num_classes: number of classes, if it is known.

    Returns:
        int `[batch]`.

    Raises:
        ValueError: `labels` has another shape or dtype, or a label is out of range.
    """
    if not hasattr(labels, "dtype"):
        labels = np.asarray(labels)  # type: ignore[assignment]
    if np.shape(labels) != (batch,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"{name} must be int [{batch}], one per image, got {labels.dtype} "
            f"{list(np.shape(labels))}"
        )
    bounds = _bounds(labels)
    if bounds and bounds[0] < 0:
        raise ValueError(f"{name} must be classes from 0 on, got {bounds[0]}")
    if bounds and num_classes is not None and bounds[1] >= num_classes:
        raise ValueError(f"{name} must be below the {num_classes} classes, got {bounds[1]}")
    return jnp.asarray(labels)


def checked(logits_fn: LogitsFn, *classes: jax.Array | None) -> LogitsFn:
    """The network, with a check of what it returns each time it is traced.

    Args:
        logits_fn: the user's function from images to logits.
        *classes: labels and targets, int `[B]` or None, which must be below its number of classes.

    Raises:
        ValueError: `logits_fn` is no function. The function returned raises it if `logits_fn` does
            not return one row of float logits for each image, or if a label (whose value is
            known) is not below its number of classes.
    """
    if not callable(logits_fn):
        raise ValueError(
            f"logits_fn must be a function from images to logits, got {type(logits_fn).__name__}"
        )
    found = [bounds for given in classes if given is not None and (bounds := _bounds(given))]
    highest = max((high for _, high in found), default=-1)

    def network(x: jax.Array) -> jax.Array:
        logits = logits_fn(x)
        shape = np.shape(logits) if hasattr(logits, "dtype") else None
        if (
            shape is None
            or len(shape) != 2
            or shape[0] != x.shape[0]
            or not shape[1]
            or not jnp.issubdtype(logits.dtype, jnp.floating)
        ):
            given = type(logits).__name__ if shape is None else f"{logits.dtype} {list(shape)}"
            raise ValueError(
                f"logits_fn must return float logits [{x.shape[0]}, num_classes] for images "
                f"{list(x.shape)}, got {given}"
            )
        if highest >= shape[1]:
            raise ValueError(
                f"labels and targets must be below the {shape[1]} classes of logits_fn, "
                f"got {highest}"
            )
        return logits

    return network


def refuse_nan(values: jax.Array, cause: str = "logits_fn") -> None:
    """Raises ValueError if a result has NaN; a traced result passes unchecked."""
    if not isinstance(values, jax.core.Tracer) and jnp.isnan(values).any():
        raise ValueError(
            f"{cause} gave NaN for some images: check the network's parameters and that its "
            "input is float32 in [0, 1]"
        )


def cross_entropies(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Each example's cross-entropy, float32 `[B]`."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def misclassified(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Which examples have their highest logit at another class than the label, bool `[B]`.

    An example whose logits hold NaN does not count as misclassified. So an attack on it goes on,
    and the result shows the NaN instead of a success.
    """
    wrong = jnp.argmax(logits, axis=-1) != labels
    return wrong & ~jnp.isnan(logits).any(axis=-1)


def _bounds(labels: Any) -> tuple[int, int] | None:
    """The lowest and the highest label; None if labels are traced, empty or no integers."""
    if isinstance(labels, jax.core.Tracer):
        return None
    values = np.asarray(labels)  # not jnp: under jit that would be traced
    if not values.size or not np.issubdtype(values.dtype, np.integer):
        return None
    return int(values.min()), int(values.max())
