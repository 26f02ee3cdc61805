"""The two passes over the data that normalisation layers are made of, with cheap gradients.

A normalisation layer computes moments of its input, does some arithmetic on these few numbers,
and then scales and shifts every value. The two functions here are the first and the last part,
for all norms; what lies between is left to autodiff. Each has its gradient written out: backward
keeps only the layer's input, and takes one pass for the sums and one for the input's gradient,
where autodiff of the plain formulas keeps or recomputes several intermediate arrays of the
input's size. Both are jitted, so that the layers of a network that have the same shapes are traced
once.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def at_least_float32(dtype: jax.typing.DTypeLike) -> np.dtype:
    """float64 for float64, which tests of exactness use; float32 for every other float dtype."""
    return np.dtype(np.float64 if np.dtype(dtype) == np.float64 else np.float32)


def _wide(x: jax.Array) -> jax.Array:
    """`x` in at least float32, the dtype of all statistics and arithmetic."""
    return x.astype(at_least_float32(x.dtype))


@jax.jit
def image_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of every channel of every image.

    One pass over the data, summing distances to the image's first pixel and their squares. That
    pixel is one of the values whose spread is sought, so nothing cancels however large the mean is:
    the variance's relative error is some eps, and some H W eps at the very most, when that pixel
    alone differs from the others. An image's sums do not depend on the number of images, as
    `adversary.active_set` needs. The gradient's rounding error grows with the mean: times
    |mean| / deviation.

    Args:
        x: `[B, H, W, C]`, any float dtype.

    Returns:
        `(mean, variance)`, `[B, 1, 1, C]`, float32 (float64 if `x` is).
    """
    return _image_moments(x)


@jax.custom_vjp
def _image_moments(x):
    x = _wide(x)
    pivot = x[:, :1, :1]
    distance = x - pivot
    zeros = (jnp.zeros((), x.dtype),) * 2

    def add(a, b):
        return a[0] + b[0], a[1] + b[1]

    # First along rows, then over rows: only so XLA:CPU sums many channels side by side.
    rows = jax.lax.reduce((distance, distance * distance), zeros, add, (2,))
    first, second = (
        total[:, None, None] / (x.shape[1] * x.shape[2])
        for total in jax.lax.reduce(rows, zeros, add, (1,))
    )
    return pivot + first, jnp.maximum(second - first * first, 0)


def _image_moments_forward(x):
    mean, variance = _image_moments(x)
    return (mean, variance), (x, mean)


def _image_moments_backward(residuals, gradients):
    x, mean = residuals
    mean_gradient, variance_gradient = gradients
    count = x.shape[1] * x.shape[2]
    slope = (2 / count) * variance_gradient
    # Not slope * (x - mean): XLA:CPU may keep what the forward pass computes too.
    dx = slope * _wide(x) + (mean_gradient / count - slope * mean)
    return (dx.astype(x.dtype),)


_image_moments.defvjp(_image_moments_forward, _image_moments_backward)


class Activation(NamedTuple):
    """ReLU of a normalised array, together with what it was computed from.

    A convolution keeps its input for the kernel's gradient. Given an activation it can keep the
    source instead, which the norm's own gradient keeps anyway, and compute the value again: the
    activations of a training step then take half the memory (`convolution.conv`).

    Attributes:
        value: `[B, H, W, C]`, any float dtype.
        source: arguments of `scale_and_shift` that give the value, with `relu`; the coefficients
            of each image, `[B, 1, 1, C]`.
    """

    value: jax.Array
    source: tuple[jax.Array, jax.Array, jax.Array, jax.Array]

    @classmethod
    def of(
        cls, x: jax.Array, center: jax.Array, scale: jax.Array, shift: jax.Array
    ) -> "Activation":
        """`scale_and_shift` with ReLU; same arguments."""
        center, scale, shift = _per_image(x, center, scale, shift)
        source = (x, center, scale, shift)
        return cls(scale_and_shift(*source, relu=True), source)


@functools.partial(jax.jit, static_argnames="relu")
def scale_and_shift(
    x: jax.Array, center: jax.Array, scale: jax.Array, shift: jax.Array, *, relu: bool = False
) -> jax.Array:
    """`(x - center) * scale + shift`, in at least float32, then ReLU if asked.

    Args:
        x: `[B, H, W, C]`, any float dtype.
        center: `[C]`, or `[1 or B, 1, 1, C]` with values of each image, like the next two.
        scale: factor.
        shift: added last.
        relu: whether to apply ReLU to the result.

    Returns:
        Array like `x`, in x's dtype.
    """
    return _scale_and_shift(x, *_per_image(x, center, scale, shift), relu)


def _per_image(x: jax.Array, *coefficients: jax.Array) -> list[jax.Array]:
    """Coefficients of each image, so that backward sums over space only: autodiff of the broadcast
    does the rest of the sum, on a few numbers."""
    rows = (x.shape[0], 1, 1, x.shape[3])
    return [jnp.broadcast_to(value, rows) for value in coefficients]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scale_and_shift(x, center, scale, shift, relu):
    y = (_wide(x) - center) * scale + shift
    return (jnp.maximum(y, 0) if relu else y).astype(x.dtype)


def _scale_and_shift_forward(x, center, scale, shift, relu):
    y = _scale_and_shift(x, center, scale, shift, relu)
    return y, (x, center, scale, shift)


def _scale_and_shift_backward(relu, residuals, g):
    x, center, scale, shift = residuals
    g = _wide(g)
    if relu:
        # As y > 0, but not a part of y's own formula, which XLA would compute once and keep.
        g = jnp.where((_wide(x) - center) * scale > -shift, g, 0)
    total = g.sum((1, 2), keepdims=True)
    # Centred afterwards: XLA:CPU would write x - center to memory before it sums the product.
    product = (g * _wide(x)).sum((1, 2), keepdims=True) - center * total
    return (g * scale).astype(x.dtype), -scale * total, product, total


_scale_and_shift.defvjp(_scale_and_shift_forward, _scale_and_shift_backward)
