"""Worst of k random rotations and translations (CIFAR-10-STA; AugMax paper, Table 11).

After Engstrom et al., "Exploring the landscape of spatial robustness", ICML 2019, in the form
that the AugMax paper measures: k affine maps are drawn for each image, and the one
with the highest cross-entropy counts. Interpolation is nearest-neighbour, and pixels from outside
the image are black. The identity is not a candidate.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from augmax_jax.adversary.inputs import (
    LogitsFn,
    checked,
    cross_entropies,
    refuse_nan,
)
from augmax_jax.adversary.worst_of_k import search
from augmax_jax.augment import float64
from augmax_jax.augment.mixing import to_float
from augmax_jax.runtime.checks import (
    check_count,
    check_floats,
    check_images,
    check_integers,
    check_labels,
    check_number,
)
from augmax_jax.runtime.keys import example_keys

_ONE = 1 << 16  # Pillow's nearest-neighbour warp counts in 1/65536 pixels


class SpatialResult(NamedTuple):
    """The worst map found for each image.

    Attributes:
        images: the mapped images, uint8 `[B, H, W, 3]`.
        logits: the network's logits of these images, float `[B, C]`.
        loss: cross-entropy of these logits, float32 `[B]`.
        degrees: rotation, clockwise on the screen, float32 `[B]`.
        shift: translation in pixels to the right and down, int32 `[B, 2]`.
    """

    images: jax.Array
    logits: jax.Array
    loss: jax.Array
    degrees: jax.Array
    shift: jax.Array


def worst_of_k_spatial(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    k: int = 10,
    max_degrees: float = 30.0,
    max_pixels: int = 3,
) -> SpatialResult:
    """Finds the most harmful of k random rotations with translations, per image.

    Args:
        key: one key, or one per example `[B]`.
        logits_fn: the network in eval mode, float32 `[B, H, W, 3]` in [0, 1] to float logits
            `[B, C]`.
        images: uint8 `[B, H, W, 3]`.
        labels: int `[B]` in [0, C). The range, and that the logits are not NaN, can be
            checked only where values are known, so not under `jit`.
        k: number of maps tried; the first of equally bad ones is kept.
        max_degrees: rotations are uniform in +-max_degrees.
        max_pixels: translations are uniform in +-max_pixels, rounded to whole pixels.

    Returns:
        A `SpatialResult`; robust accuracy is the share of images whose `logits` still have
        their maximum at the label.

    Raises:
        ValueError: an argument is not as described, or `logits_fn` does not return such logits.
    """
    images = check_images(images)
    network = checked(logits_fn, labels)
    labels = check_labels(labels, len(images))
    degrees, shifts = draw_spatial(
        key, len(images), k=k, max_degrees=max_degrees, max_pixels=max_pixels
    )

    def attempt(j: jax.Array) -> tuple[SpatialResult, jax.Array]:
        mapped = spatial_transform(images, degrees[j], shifts[j])
        logits = network(to_float(mapped))
        loss = cross_entropies(logits, labels)
        return SpatialResult(mapped, logits, loss, degrees[j], shifts[j]), loss

    worst = search(attempt, k).found
    refuse_nan(worst.loss)
    return worst


def draw_spatial(
    key: jax.Array,
    batch: int,
    *,
    k: int = 10,
    max_degrees: float = 30.0,
    max_pixels: int = 3,
    first_index: int | jax.Array = 0,
) -> tuple[jax.Array, jax.Array]:
    """Draws the candidate maps.

    Args:
        key: one key, or one per example `[batch]`.
        batch: number of images B.
        k: maps per image.
        max_degrees: largest rotation.
        max_pixels: largest translation.
        first_index: index of the first example in the global batch.

    Returns:
        Degrees, float32 `[k, B]`, and pixels to the right and down, int32 `[k, B, 2]`.

    Raises:
        ValueError: `batch` or `k` is below 1, a range is negative, or the key is a bad one.
    """
    check_count("batch", batch, low=1)
    check_count("k", k, low=1)
    check_number("max_degrees", max_degrees, low=0)
    check_number("max_pixels", max_pixels, low=0)

    def draw(example_key: jax.Array) -> jax.Array:
        return jax.random.uniform(example_key, (k, 3), minval=-1.0, maxval=1.0)

    uniform = jax.vmap(draw)(example_keys(key, batch, first_index=first_index)).swapaxes(0, 1)
    shifts = jnp.rint(uniform[..., 1:] * max_pixels).astype(jnp.int32)
    return uniform[..., 0] * max_degrees, shifts


def spatial_transform(images: jax.Array, degrees: jax.Array, shifts: jax.Array) -> jax.Array:
    """Rotates images about the centre, then moves them; nearest neighbour, black outside.

    Args:
        images: uint8 `[B, H, W, 3]`.
        degrees: clockwise on the screen, float `[B]`.
        shifts: whole pixels to the right and down, int `[B, 2]`.

    Returns:
        uint8 `[B, H, W, 3]`, the pixels of Pillow's `transform(size, AFFINE, matrix, NEAREST)`
        with the matrix of torchvision's `affine`.

    Raises:
        ValueError: a shape or dtype is not as described.
    """
    images = check_images(images)
    check_floats("degrees", degrees, (len(images),))
    check_integers("shifts", shifts, (len(images), 2))
    return jax.vmap(_transform)(images, degrees, shifts)


def _transform(image: jax.Array, degrees: jax.Array, shift: jax.Array) -> jax.Array:
    height, width, channels = image.shape
    with float64.enabled():
        angle = degrees.astype(jnp.float64) * (math.pi / 180)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        # Centre of the first output pixel, relative to the centre of the moved picture.
        x, y = (
            0.5 - side / 2 - shift[i].astype(jnp.float64) for i, side in enumerate((width, height))
        )
        start = (cos * x + sin * y + width / 2, cos * y - sin * x + height / 2)
        # From here on Pillow computes in 16.16 fixed point.
        numbers = [jnp.floor(v * _ONE + 0.5).astype(jnp.int32) for v in (cos, sin, *start)]
    cos, sin, start_x, start_y = numbers
    row = jax.lax.broadcasted_iota(jnp.int32, (height, width), 0)
    column = jax.lax.broadcasted_iota(jnp.int32, (height, width), 1)
    source_x = (start_x + column * cos + row * sin) >> 16
    source_y = (start_y + row * cos - column * sin) >> 16
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    index = jnp.clip(source_y, 0, height - 1) * width + jnp.clip(source_x, 0, width - 1)
    pixels = image.reshape(-1, channels)[index]
    return jnp.where(inside[..., None], pixels, jnp.uint8(0))
