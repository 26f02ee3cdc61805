"""Spatially transformed adversarial examples: small smooth displacements of pixels.

Xiao et al., "Spatially transformed adversarial examples", ICLR 2018, in a first-order form fit
for training: signed gradient ascent on the flow instead of L-BFGS.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from augmax_jax.adversary.inputs import (
    LogitsFn,
    as_float,
    checked,
    cross_entropies,
    refuse_nan,
)
from augmax_jax.runtime.checks import check_count, check_floats, check_labels, check_number

# Added inside the root of the smoothness loss, which has no gradient at a difference of zero.
_ROOT_OFFSET = 1e-8


class StAdvResult(NamedTuple):
    """What the attack found.

    Attributes:
        images: the warped images, float32 `[B, H, W, 3]` in [0, 1]; no gradient flows back
            through them.
        flow: displacement in pixels, to the right and down, from each output pixel to the
            point that it reads, float32 `[B, H, W, 2]`.
        smoothness: smoothness loss of the flow, float32 `[B]`.
    """

    images: jax.Array
    flow: jax.Array
    smoothness: jax.Array


def stadv(
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    steps: int = 10,
    step_size: float = 0.1,
    max_flow: float = 1.0,
    smoothness: float = 0.05,
) -> StAdvResult:
    """Signed ascent on cross-entropy − smoothness / (H W) · L_flow; it starts at a flow of zero.

    Args:
        logits_fn: the network in eval mode, float32 `[B, H, W, 3]` in [0, 1] to float logits
            `[B, C]`; examples must not influence each other.
        images: `[B, H, W, 3]`, uint8, or float in [0, 1].
        labels: int `[B]` in [0, C). The range, and that the logits are not NaN, can be
            checked only where values are known, so not under `jit`.
        steps: number of ascent steps, at least 0.
        step_size: pixels per step, at least 0.
        max_flow: largest displacement in x and in y in pixels, at least 0.
        smoothness: weight τ of the smoothness loss, at least 0.

    Returns:
        A `StAdvResult`; the inputs determine it exactly.

    Raises:
        ValueError: a shape, dtype or setting is not as described.
    """
    check_settings(steps=steps, step_size=step_size, max_flow=max_flow, smoothness=smoothness)
    images = as_float(images)
    batch, height, width, _ = images.shape
    network = checked(logits_fn, labels)
    labels = check_labels(labels, batch)

    def objective(flow: jax.Array) -> jax.Array:
        loss = cross_entropies(network(warp(images, flow)), labels)
        return jnp.sum(loss - smoothness / (height * width) * flow_smoothness(flow))

    def step(_, flow: jax.Array) -> jax.Array:
        moved = flow + step_size * jnp.sign(jax.grad(objective)(flow))
        return jnp.clip(moved, -max_flow, max_flow)

    flow = jax.lax.fori_loop(0, steps, step, jnp.zeros((batch, height, width, 2)))
    refuse_nan(flow)
    return jax.lax.stop_gradient(StAdvResult(warp(images, flow), flow, flow_smoothness(flow)))


def check_settings(
    *, steps: int, step_size: float, max_flow: float, smoothness: float, prefix: str = ""
) -> None:
    """Raises ValueError for a setting of `stadv` that is out of range or of another type.

    Args:
        steps: a whole number of at least 0; see `stadv` for this and the following.
        step_size: at least 0.
        max_flow: at least 0.
        smoothness: at least 0.
        prefix: goes before each name in the message, such as "config.stadv.".
    """
    check_count(f"{prefix}steps", steps)
    check_number(f"{prefix}step_size", step_size, low=0)
    check_number(f"{prefix}max_flow", max_flow, low=0)
    check_number(f"{prefix}smoothness", smoothness, low=0)


def warp(images: jax.Array, flow: jax.Array) -> jax.Array:
    """Samples images bilinearly at displaced points, which are limited to the image.

    The result is differentiable in both arguments. Where a point lies on a pixel, the gradient in
    the flow is the one-sided slope towards larger coordinates.

    Args:
        images: float `[B, H, W, C]`.
        flow: displacements in pixels to the right and down, float `[B, H, W, 2]`.

    Returns:
        Output pixel (y, x) is image(y + flow[..., 1], x + flow[..., 0]), `[B, H, W, C]`.

    Raises:
        ValueError: the arrays are not float, or their shapes do not fit together; or (where the
            values are known) one holds NaN or infinity.
    """
    check_floats("images", images, ("B", "H", "W", "C"))
    check_floats("flow", flow, (*images.shape[:3], 2))
    _, height, width, channels = images.shape
    columns = jnp.arange(width).astype(flow.dtype)[None, None, :]
    rows = jnp.arange(height).astype(flow.dtype)[None, :, None]
    x = jnp.clip(columns + flow[..., 0], 0, width - 1)
    y = jnp.clip(rows + flow[..., 1], 0, height - 1)
    left, top = jax.lax.stop_gradient((jnp.floor(x), jnp.floor(y)))
    right_share, bottom_share = (x - left)[..., None], (y - top)[..., None]

    def pixels(row: jax.Array, column: jax.Array) -> jax.Array:
        row = jnp.minimum(row, height - 1).astype(jnp.int32)
        column = jnp.minimum(column, width - 1).astype(jnp.int32)
        return jax.vmap(lambda image, index: image.reshape(-1, channels)[index])(
            images, row * width + column
        )

    upper = pixels(top, left) * (1 - right_share) + pixels(top, left + 1) * right_share
    lower = pixels(top + 1, left) * (1 - right_share) + pixels(top + 1, left + 1) * right_share
    return upper * (1 - bottom_share) + lower * bottom_share


def flow_smoothness(flow: jax.Array) -> jax.Array:
    """Smoothness loss: summed distances of each pixel's flow to those of its four neighbours.

    `Σ_p Σ_q √(‖flow_p − flow_q‖² + 1e-8)`, where q runs over the pixels above, below, left and
    right of p. Beyond the border the flow is continued symmetrically.

    Args:
        flow: float `[B, H, W, 2]`.

    Returns:
        float32 `[B]`.

    Raises:
        ValueError: `flow` has another shape or dtype, or (where its values are known) holds NaN or
            infinity.
    """
    check_floats("flow", flow, ("B", "H", "W", 2))
    _, height, width, _ = flow.shape
    padded = jnp.pad(flow, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    total = jnp.zeros(flow.shape[0], jnp.float32)
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        difference = flow - padded[:, y : y + height, x : x + width]
        squares = jnp.sum(difference**2, axis=-1)
        total += jnp.sqrt(squares + _ROOT_OFFSET).sum(axis=(1, 2))
    return total
