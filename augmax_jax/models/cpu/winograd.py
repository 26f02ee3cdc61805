"""3x3 convolutions with half the multiplications: Winograd's F(4, 3) along the height.

A 3x3 convolution is three 1x3 convolutions of neighbouring rows, summed. Winograd's minimal
filtering computes four rows of that sum from six such convolutions, of sums of rows, instead of
twelve (S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast
Algorithms for Convolutional Neural Networks, 2016). It is used in one
direction only. In both directions there are four times fewer multiplications, but more passes over
memory, which take the time that was saved.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ROWS = 4  # rows of the result from one tile of ROWS + 2 rows
# With fewer channels or rows it is no faster than the direct way (docs/performance_log.md). The
# choice must not depend on the batch's size, because a sample's result must not.
LEAST_CHANNELS = 64
LEAST_HEIGHT = 8

# F(4, 3) interpolates at 0, 1, -1, 2, -2 and infinity:
# result = OUTPUT @ ((KERNEL @ kernel) * (INPUT @ rows)).
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
OUTPUT = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
)


def pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether `convolve` can take these arguments and is faster than a direct convolution.

    Args:
        x: `[B, H, W, C]`.
        kernel: `[k, k, C, O]`.
    """
    height = x.shape[1]
    return (
        kernel.shape[:2] == (3, 3)
        and height >= LEAST_HEIGHT
        and height % ROWS == 0
        and min(kernel.shape[2:]) >= LEAST_CHANNELS
        and x.dtype in (jnp.float32, jnp.float64)  # sums of rows need their precision
    )


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A zero-padded convolution of stride 1; in float32 within 1e-5 of the direct one.

    Args:
        x: `[B, H, W, C]`, H divisible by `ROWS`, float32 or float64.
        kernel: `[3, 3, C, O]`, of the dtype of `x`.

    Returns:
        `[B, H, W, O]`.
    """
    # Doubled here and halved below: XLA moves a product out of a loop, but it would copy a slice of
    # `kernels` in every iteration.
    kernels = jnp.einsum("ri,ijco->rjco", jnp.asarray(2 * KERNEL, kernel.dtype), kernel)
    tile_rows = _tile_rows(x)
    filtered = [
        lax.conv_general_dilated(
            _combine(coefficients, tile_rows),
            0.5 * kernels[i][None],
            window_strides=(1, 1),
            padding=[(0, 0), (1, 1)],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for i, coefficients in enumerate(INPUT)
    ]
    rows = jnp.stack([_combine(coefficients, filtered) for coefficients in OUTPUT], axis=2)
    return rows.reshape(*x.shape[:3], kernel.shape[3])


def _tile_rows(x: jax.Array) -> list[jax.Array]:
    """Row i of every tile, for i from 0 to ROWS + 1: `[B, H / ROWS, W, C]`; zeros outside `x`."""
    b, h, w, c = x.shape
    tiles = x.reshape(b, h // ROWS, ROWS, w, c)
    edge = jnp.zeros((b, 1, w, c), x.dtype)
    above = jnp.concatenate([edge, tiles[:, :-1, -1]], axis=1)
    below = jnp.concatenate([tiles[:, 1:, 0], edge], axis=1)
    return [above, *(tiles[:, :, i] for i in range(ROWS)), below]


def _combine(coefficients: np.ndarray, arrays: list[jax.Array]) -> jax.Array:
    """The sum of `arrays`, each times its coefficient, without the terms of coefficient 0."""
    terms = [
        array if coefficient == 1 else -array if coefficient == -1 else float(coefficient) * array
        for coefficient, array in zip(coefficients, arrays, strict=True)
        if coefficient
    ]
    return functools.reduce(jnp.add, terms)
