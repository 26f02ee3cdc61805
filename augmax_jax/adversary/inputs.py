"""What the adversaries check and how they read their arguments."""

import jax
import jax.numpy as jnp
import optax


def as_float(images: jax.Array) -> jax.Array:
    """Images as float32 in [0, 1].

    Args:
        images: `[B, H, W, 3]`, uint8, or float in [0, 1].

    Raises:
        ValueError: another shape or dtype, or an empty batch.
    """
    shape, dtype = jnp.shape(images), getattr(images, "dtype", type(images).__name__)
    is_bytes = dtype == jnp.uint8
    is_float = isinstance(dtype, jnp.dtype) and jnp.issubdtype(dtype, jnp.floating)
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape or not (is_bytes or is_float):
        raise ValueError(
            "images must be [B, H, W, 3], uint8 or float in [0, 1], and not empty, "
            f"got {dtype} {list(shape)}"
        )
    values = jnp.asarray(images, jnp.float32)
    return values / 255 if is_bytes else values


def as_labels(labels: jax.Array, batch: int) -> jax.Array:
    """Labels as an array; raises ValueError unless they are int `[batch]`."""
    labels = jnp.asarray(labels)
    if labels.shape != (batch,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be int [{batch}], one per image, got {labels.dtype} {list(labels.shape)}"
        )
    return labels


def check_at_least(low: float, **settings: float) -> None:
    """Raises ValueError for a setting below `low`, or that is no number."""
    for name, value in settings.items():
        if not value >= low:
            raise ValueError(f"{name} must be at least {low}, got {value!r}")


def cross_entropies(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Each example's cross-entropy, float32 `[B]`."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)
