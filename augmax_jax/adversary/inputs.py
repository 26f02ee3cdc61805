"""What the adversaries share: conversions of their arguments, the checked network, its losses."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from augmax_jax.augment.mixing import to_float
from augmax_jax.runtime.checks import bounds_of, check_logits, check_pixels, describe, is_known

# float32 images [B', H, W, 3] in [0, 1] -> logits [B', num_classes] of a network in eval mode.
LogitsFn = Callable[[jax.Array], jax.Array]


def as_float(images: jax.Array) -> jax.Array:
    """Images as float32 in [0, 1].

    Args:
        images: `[B, H, W, 3]`, uint8, or float in [0, 1], which is checked where the values are
            known.

    Returns:
        float32 `[B, H, W, 3]` in [0, 1].

    Raises:
        ValueError: `images` has another shape or dtype, is empty, or has other values.
    """
    check_pixels("images", images)
    is_bytes = images.dtype == jnp.uint8
    return to_float(jnp.asarray(images)) if is_bytes else jnp.asarray(images, jnp.float32)


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
            f"logits_fn must be a function from images to logits, got {describe(logits_fn)}"
        )
    found = [bounds for given in classes if given is not None and (bounds := bounds_of(given))]
    highest = max((high for _, high in found), default=-1)

    def network(x: jax.Array) -> jax.Array:
        logits = logits_fn(x)
        check_logits(logits, batch=x.shape[0], name="the result of logits_fn")
        if highest >= logits.shape[1]:
            raise ValueError(
                f"labels and targets must be below the {logits.shape[1]} classes of logits_fn, "
                f"got {highest}"
            )
        return logits

    return network


def refuse_nan(values: jax.Array, cause: str = "logits_fn") -> None:
    """Raises ValueError if a result has NaN; a traced result passes unchecked."""
    if is_known(values) and jnp.isnan(values).any():
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
