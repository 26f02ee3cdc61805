"""Adversarial noise: a tiny network that learns which noise hurts a classifier most (ANT).

Rusak et al., "A simple way to make neural networks robust against diverse image corruptions",
ECCV 2020. The generator turns normal noise into other noise: each pixel's noise from the input
at that pixel (1x1) or around it (3x3). It does not see the image. The noise is scaled so that the
perturbed image, clipped to [0, 1], lies at an exact l2 distance from the original.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from augmax_jax.adversary.inputs import as_float
from augmax_jax.runtime.checks import check_count, check_floats, check_number, is_known
from augmax_jax.runtime.keys import example_keys, one_key

CHANNELS = 20
KERNELS = (1, 3)
INITIAL_SCALE = 0.01

# A list of four layers, {"kernel": [k, k, in, out], "bias": [out]}.
Generator = list[dict[str, jax.Array]]


def init_generator(key: jax.Array, *, kernel: int = 1) -> Generator:
    """A new generator, whose output is nearly its input.

    Args:
        key: one key.
        kernel: 1 (983 parameters), or 3 for a 3x3 second layer (4183).

    Returns:
        Four layers 3 -> 20 -> 20 -> 20 -> 3; weights normal with deviation 0.01, biases 0.

    Raises:
        ValueError: `kernel` is another size, or `key` is not one key.
    """
    check_kernel(kernel)
    key = one_key(key)
    sizes = (3, CHANNELS, CHANNELS, CHANNELS, 3)
    layers = []
    for i, layer_key in enumerate(jax.random.split(key, len(sizes) - 1)):
        side = kernel if i == 1 else 1
        shape = (side, side, sizes[i], sizes[i + 1])
        layers.append(
            {
                "kernel": INITIAL_SCALE * jax.random.normal(layer_key, shape),
                "bias": jnp.zeros(shape[-1]),
            }
        )
    return layers


def check_kernel(kernel: int, *, name: str = "kernel") -> None:
    """Raises ValueError unless `kernel` is one of `KERNELS`; `name` is for the message."""
    if isinstance(kernel, bool) or kernel not in KERNELS:
        raise ValueError(f"{name} must be {' or '.join(map(str, KERNELS))}, got {kernel!r}")


def apply_generator(generator: Generator, noise: jax.Array) -> jax.Array:
    """Turns normal noise into the generator's noise.

    Args:
        generator: from `init_generator`.
        noise: float `[B, H + k - 1, W + k - 1, 3]`, k the generator's kernel size.

    Returns:
        float32 `[B, H, W, 3]`: the layers' output plus the (cropped) input.

    Raises:
        ValueError: `noise` is not float `[B, H', W', 3]`, or smaller than the kernel.
    """
    check_floats("noise", noise, ("B", "H", "W", 3))
    side = max(layer["kernel"].shape[0] for layer in generator)
    if min(noise.shape[1:3]) < side or not noise.shape[0]:
        raise ValueError(f"noise must be at least [1, {side}, {side}, 3], got {list(noise.shape)}")
    x = noise
    for i, layer in enumerate(generator):
        x = _convolve(x if i == 0 else jax.nn.relu(x), layer["kernel"])
        x = x + layer["bias"][None, None, None]
    margin = (noise.shape[1] - x.shape[1]) // 2
    return x + noise[:, margin : margin + x.shape[1], margin : margin + x.shape[2]]


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Valid convolution as sums of matrix products, fast in loops on every backend."""
    side = kernel.shape[0]
    height, width = x.shape[1] - side + 1, x.shape[2] - side + 1
    terms = (
        x[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(side) for j in range(side)
    )
    return sum(terms, start=jnp.zeros((), x.dtype))


def draw_noise(key: jax.Array, generator: Generator, shape: tuple[int, ...]) -> jax.Array:
    """Draws noise and sends it through the generator.

    Args:
        key: one key, or one per example `[B]`.
        generator: from `init_generator`.
        shape: shape of the images, (B, H, W, 3).

    Returns:
        float32 `[B, H, W, 3]`.

    Raises:
        ValueError: `shape` is not as described, or `key` is neither one key nor B keys.
    """
    if not isinstance(shape, Sequence) or len(shape) != 4 or shape[-1] != 3:
        raise ValueError(f"shape must be (B, H, W, 3), got {shape!r}")
    for name, length in zip(("B", "H", "W"), shape, strict=False):
        check_count(f"{name} of shape", length, low=1)
    batch, height, width, channels = shape
    more = max(layer["kernel"].shape[0] for layer in generator) - 1
    keys = example_keys(key, batch)
    drawn = jax.vmap(
        lambda k: jax.random.normal(k, (height + more, width + more, channels), jnp.float32)
    )(keys)
    return apply_generator(generator, drawn)


def add_noise(images: jax.Array, noise: jax.Array, norm: float | jax.Array) -> jax.Array:
    """Adds noise, scaled so that the clipped image lies at an exact l2 distance.

    The factor η ≥ 0 of each sample solves `‖clip(x + η δ, 0, 1) − x‖₂ = norm`. The square of the
    left side increases and is piecewise linear in η², with a kink where a value reaches its bound;
    the kinks are sorted to find the piece. The result is differentiable, through η too. Where no η
    is large enough, every value with noise is moved to its bound.

    Args:
        images: `[B, H, W, 3]`, uint8, or float in [0, 1].
        noise: δ, float `[B, H, W, 3]`.
        norm: ε > 0 on the [0, 1] scale, one number or `[B]`.

    Returns:
        float32 `[B, H, W, 3]` in [0, 1].

    Raises:
        ValueError: the shapes differ, or `norm` is not positive.
    """
    images = as_float(images)
    batch = images.shape[0]
    if jnp.shape(noise) != images.shape:
        raise ValueError(
            f"noise must have the images' shape {list(images.shape)}, got {list(jnp.shape(noise))}"
        )
    if jnp.shape(norm) not in ((), (batch,)):
        raise ValueError(f"norm must be one number or [{batch}], got {list(jnp.shape(norm))}")
    if jnp.ndim(norm) == 0 and not isinstance(norm, jax.core.Tracer):
        check_number("norm", norm, low=0, above_low=True)
    scale = jax.vmap(_scale)(
        images.reshape(batch, -1),
        noise.reshape(batch, -1).astype(jnp.float32),
        jnp.broadcast_to(jnp.asarray(norm, jnp.float32), (batch,)),
    )
    return jnp.clip(images + scale[:, None, None, None] * noise, 0.0, 1.0)


def _scale(image: jax.Array, noise: jax.Array, norm: jax.Array) -> jax.Array:
    """η of one sample, a scalar, from its image and noise `[N]`."""
    room = jnp.where(noise >= 0, 1.0 - image, image) ** 2  # squared distance to the bound
    rate = noise**2  # squared movement per η²
    moving = rate > 0
    kinks = jax.lax.stop_gradient(jnp.where(moving, room / jnp.where(moving, rate, 1), jnp.inf))

    order = jnp.argsort(kinks)
    sorted_kinks, sorted_room, sorted_rate = kinks[order], room[order], rate[order]
    behind = jnp.cumsum(sorted_room)
    ahead = jnp.cumsum(sorted_rate[::-1])[::-1] - sorted_rate
    finite = jnp.isfinite(sorted_kinks)
    reached = behind + jnp.where(finite, sorted_kinks, 0) * ahead  # ‖.‖² at each kink
    passed = jnp.sum(finite & (reached <= norm**2))
    # η² solves one linear equation. Its terms are summed again here, because this form has the
    # right gradient and no rounding error of the running sums.
    last = jnp.where(passed > 0, sorted_kinks[jnp.maximum(passed - 1, 0)], -1.0)
    saturated = kinks <= last
    fixed = jnp.sum(jnp.where(saturated, room, 0))
    slope = jnp.sum(jnp.where(saturated, 0, rate))
    solvable = (passed < jnp.sum(finite)) & (slope > 0)
    square = jnp.where(
        solvable,
        jnp.maximum(norm**2 - fixed, 0) / jnp.where(solvable, slope, 1),
        jnp.max(jnp.where(jnp.isfinite(kinks), kinks, 0)),
    )
    # The root has no gradient at 0, and noise of zeros would need it.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def init_history(generator: Generator, size: int) -> Any:
    """An empty ring of `size` generators: arrays `[size, ...]`.

    Raises:
        ValueError: `size` is below 1.
    """
    check_count("size", size, low=1)
    return jax.tree.map(lambda x: jnp.zeros((size, *x.shape), x.dtype), generator)


def remember(history: Any, generator: Generator, count: int | jax.Array) -> Any:
    """The ring with one more generator, in the place of the oldest if it is full.

    Args:
        history: from `init_history`, arrays `[size, ...]`.
        generator: what to keep.
        count: generators kept before this one, an int or an int32 scalar.

    Raises:
        ValueError: `count` (if it is known) is no whole number of at least 0.
    """
    if is_known(count):
        check_count("count", count)
    return jax.tree.map(lambda old, new: old.at[count % old.shape[0]].set(new), history, generator)


def recall(key: jax.Array, history: Any, count: int | jax.Array) -> Generator:
    """Draws one of the generators in the ring uniformly.

    Args:
        key: one key.
        history: from `remember`, arrays `[size, ...]`.
        count: generators kept so far, at least 1; an int or an int32 scalar.

    Raises:
        ValueError: `key` is not one key, or `count` (if it is known) no whole number of at least 1.
    """
    if is_known(count):
        check_count("count", count, low=1)
    size = jax.tree.leaves(history)[0].shape[0]
    index = jax.random.randint(one_key(key), (), 0, jnp.clip(count, 1, size))
    return jax.tree.map(lambda x: x[index], history)
