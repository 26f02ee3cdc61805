"""Warps with Pillow's bilinear arithmetic: rotation, shears, translations.

A warp reads, for the centre of every output pixel, the input at a real position (X, Y)
in coordinates where pixel (x, y) covers [x, x+1) x [y, y+1). Positions outside the
image give black; inside, the four nearest pixel centres are interpolated, with the edge
repeated within half a pixel of the border, and the result is truncated.

Operators on images are at the top; below them are the same operators on packed words, for chains.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment import float64
from augmax_jax.augment.float64 import product
from augmax_jax.augment.packed import channels, join, pack, unpack
from augmax_jax.augment.stored import stored
from augmax_jax.runtime.checks import check_argument, check_image

# ---- on images


def rotate(image: jax.Array, degrees: jax.typing.ArrayLike) -> jax.Array:
    """Rotates about the centre, counter-clockwise on the screen, keeping the size.

    Args:
        image: uint8 `[H, W, 3]`.
        degrees: any angle.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `rotate(degrees, BILINEAR)`; pixels without a source
        are black.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`, or the number is not finite.
    """
    return _transform(image, rotation_matrix, degrees=degrees)


def shear_x(image: jax.Array, shear: jax.typing.ArrayLike) -> jax.Array:
    """Shears along x about the top left corner: output x reads input x + shear * y.

    Args:
        image: uint8 `[H, W, 3]`.
        shear: entry of the matrix; any number.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `transform(size, AFFINE, (1, shear, 0, 0, 1, 0),
        BILINEAR)`; pixels without a source are black.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`, or the number is not finite.
    """
    return _transform(image, shear_x_matrix, shear=shear)


def shear_y(image: jax.Array, shear: jax.typing.ArrayLike) -> jax.Array:
    """Shears along y about the top left corner: output y reads input y + shear * x.

    The image and the result are uint8 `[H, W, 3]`; arguments and errors are those of `shear_x`.
    Pillow's matrix is `(1, 0, 0, shear, 1, 0)`.
    """
    return _transform(image, shear_y_matrix, shear=shear)


def translate_x(image: jax.Array, pixels: jax.typing.ArrayLike) -> jax.Array:
    """Moves the content left by `pixels` (right if negative): output x reads input x + pixels.

    Args:
        image: uint8 `[H, W, 3]`.
        pixels: whole numbers copy; others interpolate.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `transform(size, AFFINE, (1, 0, pixels, 0, 1, 0),
        BILINEAR)`; vacated pixels are black.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`, or the number is not finite.
    """
    return _transform(image, translate_x_matrix, pixels=pixels)


def translate_y(image: jax.Array, pixels: jax.typing.ArrayLike) -> jax.Array:
    """Moves the content up by `pixels` (down if negative): output y reads input y + pixels.

    The image and the result are uint8 `[H, W, 3]`; arguments and errors are those of `translate_x`.
    Pillow's matrix is `(1, 0, 0, 0, 1, pixels)`.
    """
    return _transform(image, translate_y_matrix, pixels=pixels)


def _transform(
    image: jax.Array, matrix_of: Callable[..., jax.Array], **named: jax.typing.ArrayLike
) -> jax.Array:
    """Warps by the matrix of one argument, which is given by its name."""
    image = check_image(image)
    ((name, argument),) = named.items()
    check_argument(name, argument)
    height, width, _ = image.shape
    matrix = matrix_of(argument, height, width)
    where = positions(matrix, height, width)
    return unpack(warp(pack(image), source_x(where), source_y(where)))


# ---- matrices: float64 [6], (a, b, c, d, e, f) with X = a x + b y + c, Y = d x + e y + f


def shear_x_matrix(shear: jax.typing.ArrayLike, height: int, width: int) -> jax.Array:
    """The matrix of `shear_x`."""
    return _matrix(b=shear)


def shear_y_matrix(shear: jax.typing.ArrayLike, height: int, width: int) -> jax.Array:
    """The matrix of `shear_y`."""
    return _matrix(d=shear)


def translate_x_matrix(pixels: jax.typing.ArrayLike, height: int, width: int) -> jax.Array:
    """The matrix of `translate_x`."""
    return _matrix(c=pixels)


def translate_y_matrix(pixels: jax.typing.ArrayLike, height: int, width: int) -> jax.Array:
    """The matrix of `translate_y`."""
    return _matrix(f=pixels)


def rotation_matrix(degrees: jax.typing.ArrayLike, height: int, width: int) -> jax.Array:
    """The matrix of `rotate`."""
    with float64.enabled():
        if isinstance(degrees, jax.Array):
            k, s = _cosine_and_sine(degrees.astype(jnp.float64))
        else:
            angle = -math.radians(float(np.asarray(degrees)) % 360.0)
            k = float64.constant(round(math.cos(angle), 15))
            s = float64.constant(round(math.sin(angle), 15))
        x, y = float64.constant(width / 2), float64.constant(height / 2)
        c = product(k, -x) + product(s, -y) + x
        f = product(-s, -x) + product(k, -y) + y
        return jnp.stack([k, s, c, -s, k, f])


def _matrix(a=1.0, b=0.0, c=0.0, d=0.0, e=1.0, f=0.0) -> jax.Array:
    with float64.enabled():
        return jnp.stack([float64.constant(entry) for entry in (a, b, c, d, e, f)])


def _cosine_and_sine(degrees: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pillow's rounded cosine and sine of minus an angle (float64)."""
    degrees = degrees % 360.0
    # Chains draw whole degrees; a table holds Python's results for them, exact to the last bit.
    angles = [-math.radians(whole) for whole in range(360)]
    index = degrees.astype(jnp.int32) % 360
    whole = degrees == jnp.floor(degrees)
    results = []
    for exact, function in ((math.cos, jnp.cos), (math.sin, jnp.sin)):
        table = float64.constant(np.array([round(exact(angle), 15) for angle in angles]))
        other = jnp.rint(function(degrees * (-math.pi / 180)) * 1e15) / 1e15
        results.append(jnp.where(whole, table[index], other))
    return results[0], results[1]


# ---- on packed words


class Positions(NamedTuple):
    """Where a warp reads, in parts: X = (columns_x + rows_x) + offset_x; the same for Y.

    Attributes, float64:
        columns_x, columns_y: a and d times the pixel centres of a row, `[W]`.
        rows_x, rows_y: b and e times the pixel centres of a column, `[H]`.
        offset_x, offset_y: c and f.
    """

    columns_x: jax.Array
    rows_x: jax.Array
    offset_x: jax.Array
    columns_y: jax.Array
    rows_y: jax.Array
    offset_y: jax.Array


def positions(matrix: jax.Array, height: int, width: int) -> Positions:
    """The `Positions` of a matrix (float64 `[6]`) and a size, for `warp`."""
    with float64.enabled():
        a, b, c, d, e, f = (matrix[i] for i in range(6))
        x = jax.lax.iota(jnp.float64, width) + 0.5
        y = jax.lax.iota(jnp.float64, height) + 0.5
        return Positions(product(a, x), product(b, y), c, product(d, x), product(e, y), f)


class Source(NamedTuple):
    """Where every output pixel reads along one axis, `[H, W]`.

    Attributes:
        pixel: index of the pixel whose centre is next below the position, int32 in
            -1..size-1; -2 if the position is outside the image.
        share: how much of the next pixel is mixed in, float64 in [0, 1).
    """

    pixel: jax.Array
    share: jax.Array


def source_x(where: Positions) -> Source:
    """The columns that a warp reads."""
    with float64.enabled():
        x = where.columns_x[None, :] + where.rows_x[:, None] + where.offset_x
        return _source(x, where.columns_x.shape[0])


def source_y(where: Positions) -> Source:
    """The rows that a warp reads."""
    with float64.enabled():
        y = where.columns_y[None, :] + where.rows_y[:, None] + where.offset_y
        return _source(y, where.rows_y.shape[0])


def _source(position: jax.Array, size: int) -> Source:
    inside = (position >= 0) & (position < size)
    position = position - 0.5
    below = jnp.floor(position)
    return Source(jnp.where(inside, below, -2.0).astype(jnp.int32), position - below)


def warp(words: jax.Array, x: Source, y: Source) -> jax.Array:
    """Any affine warp of a packed image, uint32 `[H, W]`."""
    height, width = words.shape
    left, right = _neighbours(x.pixel, width)
    above, below = (row * width for row in _neighbours(y.pixel, height))
    inside = (x.pixel > -2) & (y.pixel > -2)
    indices = (above + left, above + right, below + left, below + right)
    with float64.enabled():
        mixed = []
        for p00, p01, p10, p11 in zip(*(_pixels(words, i) for i in indices), strict=True):
            upper = _interpolate(p00, p01, x.share)
            lower = _interpolate(p10, p11, x.share)
            mixed.append(_interpolate(upper, lower, y.share))
        return jnp.where(inside, join(*mixed), jnp.uint32(0))


def warp_rows(words: jax.Array, x: Source) -> jax.Array:
    """`warp` for Y = y: it interpolates along x only."""
    left, right = _neighbours(x.pixel, words.shape[1])
    start = jax.lax.broadcasted_iota(jnp.int32, words.shape, 0) * words.shape[1]
    return _between(words, start + left, start + right, x)


def warp_columns(words: jax.Array, y: Source) -> jax.Array:
    """`warp` for X = x: it interpolates along y only."""
    above, below = _neighbours(y.pixel, words.shape[0])
    column = jax.lax.broadcasted_iota(jnp.int32, words.shape, 1)
    return _between(words, above * words.shape[1] + column, below * words.shape[1] + column, y)


def rotate_words(words: jax.Array, argument: jax.Array, where: Positions) -> jax.Array:
    """`rotate` of a packed image, for loops on the CPU; `stored` needs `argument`."""
    return warp(words, stored(argument, source_x, where), stored(argument, source_y, where))


def shear_x_words(words: jax.Array, argument: jax.Array, where: Positions) -> jax.Array:
    """`shear_x` of a packed image, for loops on the CPU."""
    return warp_rows(words, stored(argument, source_x, where))


def shear_y_words(words: jax.Array, argument: jax.Array, where: Positions) -> jax.Array:
    """`shear_y` of a packed image, for loops on the CPU."""
    return warp_columns(words, stored(argument, source_y, where))


def shift(words: jax.Array, x: jax.typing.ArrayLike, y: jax.typing.ArrayLike) -> jax.Array:
    """A translation by whole numbers: `warp` without interpolation."""
    height, width = words.shape
    column = jax.lax.broadcasted_iota(jnp.int32, words.shape, 1) + jnp.int32(x)
    row = jax.lax.broadcasted_iota(jnp.int32, words.shape, 0) + jnp.int32(y)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    return jnp.where(inside, _gather(words, index), jnp.uint32(0))


def _neighbours(index: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The two nearest pixels, the edge repeated."""
    return jnp.maximum(index, 0), jnp.clip(index + 1, 0, size - 1)


def _between(words: jax.Array, first: jax.Array, second: jax.Array, source: Source) -> jax.Array:
    """Interpolates between two pixels."""
    with float64.enabled():
        pairs = zip(_pixels(words, first), _pixels(words, second), strict=True)
        mixed = [_interpolate(p, q, source.share) for p, q in pairs]
        return jnp.where(source.pixel > -2, join(*mixed), jnp.uint32(0))


def _interpolate(p: jax.Array, q: jax.Array, share: jax.Array) -> jax.Array:
    return p + product(q - p, share)


def _pixels(words: jax.Array, index: jax.Array) -> list[jax.Array]:
    """Channels of the pixels at flat indices, float64."""
    return [channel.astype(jnp.float64) for channel in channels(_gather(words, index))]


def _gather(words: jax.Array, index: jax.Array) -> jax.Array:
    """Pixels at flat indices that are known to be in the image."""
    return words.reshape(-1).at[index].get(mode="promise_in_bounds")
