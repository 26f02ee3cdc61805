"""Warps with Pillow's bilinear arithmetic: rotation, shears, translations (spec §1.2).

A warp reads, for the centre of every output pixel, the input at a real position (X, Y)
in coordinates where pixel (x, y) covers [x, x+1) x [y, y+1). Positions outside the
image give black; inside, the four nearest pixel centres are interpolated, with the edge
repeated within half a pixel of the border, and the result is truncated.
"""

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment import fixed_point as fx
from augmax_jax.augment.arguments import check_image, split_argument

HALF = np.uint32(1 << 31)  # half a pixel, as a fraction


def shear_x(image: jax.Array, shear: jax.typing.ArrayLike) -> jax.Array:
    """Shears along x about the top left corner: output x reads input x + shear * y.

    Args:
        image: uint8 `[H, W, 3]`.
        shear: the matrix entry; |shear * H| < 2**15. Pixels without a source are black.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `transform(AFFINE, (1, shear, 0, 0, 1, 0), BILINEAR)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    image = check_image(image)
    centres = 2 * jnp.arange(image.shape[0], dtype=jnp.int32) + 1
    return _shift_rows(image, fx.times(fx.from_argument(shear, 0.5), centres))


def shear_y(image: jax.Array, shear: jax.typing.ArrayLike) -> jax.Array:
    """Shears along y about the top left corner: output y reads input y + shear * x.

    As `shear_x`, Pillow's matrix `(1, 0, 0, shear, 1, 0)`.
    """
    image = check_image(image)
    return _transpose(shear_x(_transpose(image), shear))


def translate_x(image: jax.Array, pixels: jax.typing.ArrayLike) -> jax.Array:
    """Moves the content left by `pixels` (right if negative): output x reads input x + pixels.

    Args:
        image: uint8 `[H, W, 3]`.
        pixels: whole numbers copy; others interpolate. Vacated pixels are black.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `transform(AFFINE, (1, 0, pixels, 0, 1, 0), BILINEAR)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    image = check_image(image)
    shift = fx.from_argument(pixels)
    rows = jnp.zeros(image.shape[0], jnp.int32)
    return _shift_rows(image, fx.Fixed(shift.whole + rows, shift.fraction + rows.astype(jnp.uint32)))


def translate_y(image: jax.Array, pixels: jax.typing.ArrayLike) -> jax.Array:
    """Moves the content up by `pixels` (down if negative): output y reads input y + pixels.

    As `translate_x`, Pillow's matrix `(1, 0, 0, 0, 1, pixels)`.
    """
    image = check_image(image)
    return _transpose(translate_x(_transpose(image), pixels))


def rotate(image: jax.Array, degrees: jax.typing.ArrayLike) -> jax.Array:
    """Rotates about the centre, counter-clockwise on the screen, keeping the size.

    Args:
        image: uint8 `[H, W, 3]`.
        degrees: any angle; |degrees| < 2**23.

    Returns:
        uint8 `[H, W, 3]`, Pillow's `rotate(degrees, BILINEAR)`.

    Raises:
        ValueError: `image` is not uint8 `[H, W, 3]`.
    """
    image = check_image(image)
    height, width, _ = image.shape
    cosine, sine = _half_cosine_and_sine(degrees)
    # Twice the distance of the pixel centres from the centre of the image.
    column = 2 * jnp.arange(width, dtype=jnp.int32) + 1 - width
    row = (2 * jnp.arange(height, dtype=jnp.int32) + 1 - height)[:, None]
    # Position minus half a pixel: the index of the pixel whose centre is next below.
    x = fx.add(fx.times(cosine, column), fx.times(fx.negate(sine), row))
    x = fx.add(x, fx.from_float64((width - 1) / 2))
    y = fx.add(fx.times(sine, column), fx.times(cosine, row))
    y = fx.add(y, fx.from_float64((height - 1) / 2))
    inside = _inside(x, width) & _inside(y, height)

    x0, x1 = jnp.clip(x.whole, 0, width - 1), jnp.clip(x.whole + 1, 0, width - 1)
    y0, y1 = jnp.clip(y.whole, 0, height - 1), jnp.clip(y.whole + 1, 0, height - 1)
    packed = _pack(image)
    p00, p01, p10, p11 = packed[y0, x0], packed[y0, x1], packed[y1, x0], packed[y1, x1]
    both = fx.multiply_fractions(x.fraction, y.fraction)

    def interpolate(p00, p01, p10, p11):
        across, down = p01 - p00, p10 - p00
        return p00 + fx.floor_of_products(
            (across, x.fraction), (down, y.fraction), (p11 - p10 - across, both)
        )

    channels = [interpolate(*taps) for taps in zip(*map(_unpack, (p00, p01, p10, p11)), strict=True)]
    return jnp.where(inside[..., None], jnp.stack(channels, axis=-1), 0).astype(jnp.uint8)


def _shift_rows(image: jax.Array, shift: fx.Fixed) -> jax.Array:
    """Row y of the output reads row y of the input at x + shift[y]."""
    width = image.shape[1]
    x = fx.Fixed(
        jnp.arange(width, dtype=jnp.int32) + shift.whole[:, None], shift.fraction[:, None]
    )
    inside = _inside(x, width)
    x0, x1 = jnp.clip(x.whole, 0, width - 1), jnp.clip(x.whole + 1, 0, width - 1)
    packed = _pack(image)
    left = _unpack(jnp.take_along_axis(packed, x0, axis=1))
    right = _unpack(jnp.take_along_axis(packed, x1, axis=1))
    channels = [
        p0 + fx.floor_of_products((p1 - p0, x.fraction))
        for p0, p1 in zip(left, right, strict=True)
    ]
    return jnp.where(inside[..., None], jnp.stack(channels, axis=-1), 0).astype(jnp.uint8)


def _inside(position: fx.Fixed, size: int) -> jax.Array:
    """Whether a position, given as index of a pixel centre, is within the image."""
    whole, fraction = position
    return ((whole >= 0) | ((whole == -1) & (fraction >= HALF))) & (
        (whole < size - 1) | ((whole == size - 1) & (fraction < HALF))
    )


def _half_cosine_and_sine(degrees: jax.typing.ArrayLike) -> tuple[fx.Fixed, fx.Fixed]:
    """Half the cosine and half the sine of an angle, to about 2**-31.

    A table of whole degrees, in Pillow's own rounding, and the addition theorem for the
    rest, which is small enough for float32.
    """
    angles = np.radians(np.arange(360.0))
    cosines, sines = np.round(np.cos(angles), 15), np.round(np.sin(angles), 15)
    high, low = split_argument(degrees)
    nearest = jnp.round(high)
    rest = jnp.radians((high - nearest) + low)
    index = nearest.astype(jnp.int32) % 360

    def look_up(table):
        whole, fraction = fx.from_float64(table / 2)
        return fx.Fixed(whole[index], fraction[index]), jnp.asarray(table, jnp.float32)[index]

    cosine, c = look_up(cosines)
    sine, s = look_up(sines)
    up, back = jnp.sin(rest), 2 * jnp.sin(rest / 2) ** 2  # sin(rest), 1 - cos(rest)
    return (
        fx.add(cosine, fx.from_float32(-(c * back + s * up) / 2)),
        fx.add(sine, fx.from_float32((c * up - s * back) / 2)),
    )


def _pack(image: jax.Array) -> jax.Array:
    """Three channels in one uint32, so that a gather reads a whole pixel."""
    image = image.astype(jnp.uint32)
    return image[..., 0] | (image[..., 1] << 8) | (image[..., 2] << 16)


def _unpack(packed: jax.Array) -> tuple[jax.Array, ...]:
    """The channels of packed pixels, int32."""
    return tuple(((packed >> shift) & 255).astype(jnp.int32) for shift in (0, 8, 16))


def _transpose(image: jax.Array) -> jax.Array:
    return jnp.swapaxes(image, 0, 1)
