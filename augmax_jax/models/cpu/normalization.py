"""The moments, and the scale-and-shift pass, of all normalisation layers, with cheap gradients.

A normalisation layer computes moments of its input, does some arithmetic on these few numbers,
and then scales and shifts every value. The two functions here are the first and the last part,
for all norms; autodiff handles the part between them. The gradients of the two functions are
written out: the backward pass keeps only the layer's input, and takes one pass for the sums and one
for the input's gradient. Autodiff of the plain formulas keeps or recomputes several intermediate
arrays of the input's size. Both functions are jitted, so that layers of equal shapes are traced
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

    One pass over the data sums the distances to the image's first pixel, and their squares. This
    pixel is one of the values, so the sums do not cancel even if the mean is large: the relative
    error of the variance is a few eps. It is at most a few H W eps, when the first pixel alone
    differs from the others. The sums of an image do not depend on the number of images, as
    `adversary.active_set` requires. The rounding error of the gradient grows in proportion to
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

    # Sums along rows before it sums rows: only so XLA:CPU sums many channels side by side.
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
    # Not slope * (x - mean), which the forward pass computes too: XLA:CPU might keep it.
    dx = slope * _wide(x) + (mean_gradient / count - slope * mean)
    return (dx.astype(x.dtype),)


_image_moments.defvjp(_image_moments_forward, _image_moments_backward)


class Activation(NamedTuple):
    """ReLU of a normalised array, together with what it was computed from.

    A convolution keeps its input for the kernel's gradient. If the input is an `Activation`, it can
    keep the source instead, which the norm's gradient keeps anyway, and compute the value again.
    The activations of a training step then take half the memory (`convolution.conv`).

    Attributes:
        value: `[B, H, W, C]`, any float dtype.
        source: the arguments of `scale_and_shift` that give the value with `relu`; coefficients
            are those of each image, `[B, 1, 1, C]`.
    """

    value: jax.Array
    source: tuple[jax.Array, jax.Array, jax.Array, jax.Array]

    @classmethod
    def of(
        cls, x: jax.Array, center: jax.Array, scale: jax.Array, shift: jax.Array
    ) -> "Activation":
        """`scale_and_shift` with ReLU, as an `Activation`; the arguments are the same."""
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
        center: subtracted first; `[C]`, or `[1, 1, 1, C]`, or `[B, 1, 1, C]` for each image.
        scale: factor, of such a shape.
        shift: added last, of such a shape.
        relu: whether to apply ReLU to the result.

    Returns:
        Array like `x`, in x's dtype.
    """
    return _scale_and_shift(x, *_per_image(x, center, scale, shift), relu)


def _per_image(x: jax.Array, *coefficients: jax.Array) -> list[jax.Array]:
    """Coefficients of each image, so that the backward pass sums over space only; autodiff of the
    broadcast does the rest of the sum, on a few numbers."""
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
        # The same as y > 0, but not in y's own formula, which XLA would compute once and keep.
        g = jnp.where((_wide(x) - center) * scale > -shift, g, 0)
    total = g.sum((1, 2), keepdims=True)
    # Centred after the sum, because XLA:CPU would write x - center to memory before the sum.
    product = (g * _wide(x)).sum((1, 2), keepdims=True) - center * total
    return (g * scale).astype(x.dtype), -scale * total, product, total


_scale_and_shift.defvjp(_scale_and_shift_forward, _scale_and_shift_backward)
