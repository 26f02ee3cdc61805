"""JPEG compression and decompression as arithmetic on pixels, to the last bit of libjpeg.

Entropy coding is lossless, so it is left out. The colour transform, the halving of the chroma, the
integer cosine transforms, the rounding to the quantisation tables and their inverses remain. They
run batched on any device. The integer arithmetic is that of libjpeg's
default ("slow integer") transforms and "fancy" upsampling, with Pillow's default 4:2:0.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_CONST_BITS = 13
_PASS1_BITS = 2

# The tables of the JPEG standard, Annex K.
_LUMINANCE = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101
72 92 95 98 112 100 103 99
"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""


def quality_constants(quality: int) -> dict[str, np.ndarray]:
    """Quantisation tables of a quality from 1 to 100, int32 `[8, 8]`."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality

    def table(text: str) -> np.ndarray:
        base = np.array(text.split(), np.int32).reshape(8, 8)
        return np.clip((base * scale + 50) // 100, 1, 255)

    return {"luminance": table(_LUMINANCE), "chrominance": table(_CHROMINANCE)}


def _fixed(value: float) -> int:
    return int(value * 2**_CONST_BITS + 0.5)


def _cosine_matrix() -> np.ndarray:
    """The 8-point transform of Loeffler, Ligtenberg and Moschytz with 13-bit constants.

    Its flow graph never rounds between input and output, so it is one integer matrix. The inverse
    transform has the transpose.
    """
    x = np.eye(8, dtype=np.int64)
    plus = [x[i] + x[7 - i] for i in range(4)]
    minus = [x[3 - i] - x[4 + i] for i in range(4)]  # 3-4, 2-5, 1-6, 0-7
    out: list[Any] = [None] * 8
    out[0] = (plus[0] + plus[3] + plus[1] + plus[2]) << _CONST_BITS
    out[4] = (plus[0] + plus[3] - plus[1] - plus[2]) << _CONST_BITS
    inner, outer = plus[1] - plus[2], plus[0] - plus[3]
    shared = (inner + outer) * _fixed(0.541196100)
    out[2] = shared + outer * _fixed(0.765366865)
    out[6] = shared - inner * _fixed(1.847759065)
    a, b, c, d = minus
    z5 = (a + c + b + d) * _fixed(1.175875602)
    z1, z2 = -(a + d) * _fixed(0.899976223), -(b + c) * _fixed(2.562915447)
    z3 = z5 - (a + c) * _fixed(1.961570560)
    z4 = z5 - (b + d) * _fixed(0.390180644)
    out[7] = a * _fixed(0.298631336) + z1 + z3
    out[5] = b * _fixed(2.053119869) + z2 + z4
    out[3] = c * _fixed(3.072711026) + z2 + z3
    out[1] = d * _fixed(1.501321110) + z1 + z4
    return np.stack(out).astype(np.int32)


_FORWARD = _cosine_matrix()


def _pass(plane: jax.Array, matrix: np.ndarray, bits: int) -> jax.Array:
    """Transforms every eight rows of an int32 plane and transposes it: `[H, W]` to `[W, H]`."""
    groups = plane.reshape(-1, 8, plane.shape[1])
    total = jnp.int32(1 << (bits - 1))
    for i in range(8):
        total = total + groups[:, i : i + 1] * matrix[None, :, i, None]
    return jnp.right_shift(total, bits).reshape(plane.shape).T


def _lossy(plane: jax.Array, table: jax.Array) -> jax.Array:
    """Quantises one component `[H, W]`, sides multiples of 8: to coefficients and back."""
    first, second = _CONST_BITS - _PASS1_BITS, _CONST_BITS + _PASS1_BITS
    # libjpeg compresses rows before columns, and decompresses columns before rows.
    coefficients = _pass(_pass((plane - 128).T, _FORWARD, first), _FORWARD, second).T
    table = jnp.tile(table, (plane.shape[0] // 8, plane.shape[1] // 8))
    step = 8 * table
    magnitude = (jnp.abs(coefficients) + step // 2) // step
    coefficients = jnp.sign(coefficients) * magnitude * table
    plane = _pass(_pass(coefficients, _FORWARD.T, first), _FORWARD.T, second + 3) + 128
    return jnp.clip(plane, 0, 255)


def _halve(plane: jax.Array) -> jax.Array:
    """Means of 2×2 pixels; columns alternate between rounding down and up."""
    total = plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]
    return jnp.right_shift(total + 1 + jnp.arange(total.shape[1])[None] % 2, 2)


def _double(plane: jax.Array) -> jax.Array:
    """Interpolates to twice the size with a triangle filter; edge samples are repeated."""

    def neighbours(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        return (
            jnp.concatenate([values[:1], values[:-1]]),
            jnp.concatenate([values[1:], values[-1:]]),
        )

    above, below = neighbours(plane)
    rows = jnp.stack([3 * plane + above, 3 * plane + below], axis=1)
    rows = rows.reshape(-1, plane.shape[1]).T
    before, after = neighbours(rows)
    even = jnp.right_shift(3 * rows + before + 8, 4)
    odd = jnp.right_shift(3 * rows + after + 7, 4)
    return jnp.stack([even, odd], axis=1).reshape(-1, rows.shape[1]).T


def _pad(plane: jax.Array, rows: int, cols: int) -> jax.Array:
    """Repeats the last row and column until sides are multiples of `rows` and `cols`."""
    padding = [(0, -plane.shape[0] % rows), (0, -plane.shape[1] % cols)]
    return jnp.pad(plane, padding, mode="edge")


def jpeg_compression(key: jax.Array, image: jax.Array, constants: dict[str, Any]) -> jax.Array:
    """Saves as JPEG and loads again: Pillow's pixels, to the last bit.

    libjpeg interpolates chroma otherwise in images at most 4 pixels wide, so these may differ.
    """
    del key
    height, width = image.shape[:2]
    r, g, b = jnp.moveaxis(image.astype(jnp.int32), -1, 0)
    half, offset = 1 << 15, 128 << 16
    y = jnp.right_shift(19595 * r + 38470 * g + 7471 * b + half, 16)
    cb = jnp.right_shift(-11059 * r - 21709 * g + 32768 * b + offset + half - 1, 16)
    cr = jnp.right_shift(32768 * r - 27439 * g - 5329 * b + offset + half - 1, 16)

    y = _lossy(_pad(y, 8, 8), constants["luminance"])[:height, :width]

    def chroma(plane: jax.Array) -> jax.Array:
        # Padding repeats columns before halving, and rows beyond an even number after it.
        small = _halve(_pad(plane, 2, 16))
        small = _lossy(_pad(small, 8, 8), constants["chrominance"])
        small = small[: (height + 1) // 2, : (width + 1) // 2]
        return _double(small)[:height, :width] - 128

    cb, cr = chroma(cb), chroma(cr)
    r = y + jnp.right_shift(91881 * cr + half, 16)
    g = y + jnp.right_shift(-22554 * cb - 46802 * cr + half, 16)
    b = y + jnp.right_shift(116130 * cb + half, 16)
    return jnp.clip(jnp.stack([r, g, b], axis=-1), 0, 255).astype(jnp.float32)
