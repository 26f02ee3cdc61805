"""What DeepAugment does to the code of the CAE, image by image (Hendrycks et al. 2021).

Each image has one id. Id 0 acts on the random bits, the others on z, from which bits are drawn:

    0  the bits are multiplied by 3 + 4 u r: u is one number, r one per bit, uniform in [0, 1)
    1  20% of the positions become 0, in all channels
    2  10% of the positions are negated, in all channels
    3  the first ten channels are permuted
    4  five channels, drawn with replacement, are reversed over height, width or both
    5  all channels are reversed over height, width or both
    6  a 3x3 convolution: the identity plus U(-0.1, 0.1) everywhere
    7  a 3x3 convolution: the identity, and for half of the channels one more tap of weight 1
       from any channel and position
    8  every channel is shifted by at most one position; the offset is drawn at the start, and
       again before each channel with probability 0.2
"""

import math

import jax
import jax.numpy as jnp

from augmax_jax.runtime.keys import example_keys

IDS = tuple(range(9))
_PERMUTED = 10


def draw(key: jax.Array, batch: int) -> jax.Array:
    """Draws an id for each image, int32 `[batch]`; `key` is one key, or one per image."""
    keys = example_keys(key, batch)
    return jax.vmap(lambda k: jax.random.randint(k, (), 0, len(IDS)))(keys)


def damage(key: jax.Array, z: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Damages the code of each image.

    Args:
        key: one key, or one per image `[B]`.
        z: float `[B, h, w, C]`, in [-1, 1].
        ids: int `[B]` in 0..8.

    Returns:
        The damaged z, float `[B, h, w, C]`, which ids 6 to 8 may take out of [-1, 1]; and the
        factors of the bits, of the same shape.
    """
    return jax.vmap(_damage)(example_keys(key, len(z)), z, ids)


class _Draws:
    """Takes numbers from one long draw, because many draws would take long to compile."""

    def __init__(self, key: jax.Array, count: int) -> None:
        self._rest = jax.random.uniform(key, (count,))

    def uniform(self, *shape: int) -> jax.Array:
        count = math.prod(shape)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken.reshape(shape)

    def integers(self, stop: int, *shape: int) -> jax.Array:
        """Whole numbers from 0 to stop - 1."""
        return jnp.minimum(self.uniform(*shape) * stop, stop - 1).astype(jnp.int32)


def _damage(key: jax.Array, z: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
    height, width, channels = z.shape
    few = 17 + 7 * channels + 2  # numbers of all draws except the whole fields
    draws = _Draws(key, z.size + height * width + 9 * channels**2 + few)
    gain = jnp.where(i == 0, 3 + 4 * draws.uniform() * draws.uniform(*z.shape), 1)

    place = draws.uniform(height, width, 1)
    factor = jnp.where(i == 1, (place > 0.2).astype(z.dtype), jnp.where(place > 0.1, 1.0, -1.0))
    kept = jnp.where((i == 1) | (i == 2), z * factor, z)

    order = jnp.arange(channels).at[:_PERMUTED].set(jnp.argsort(draws.uniform(_PERMUTED)))
    kept = jnp.where(i == 3, z[..., order], kept)

    kept = jnp.where((i == 4) | (i == 5), _reversed(draws, z, i == 5), kept)

    kernels = [make(draws, channels) for make in (_noisy, _tapped, _shifted)]
    kernel = jnp.select([i == 6, i == 7], kernels[:2], kernels[2])
    return jnp.where(i >= 6, _convolve(z, kernel), kept), gain


def _reversed(draws: _Draws, z: jax.Array, everything: jax.Array) -> jax.Array:
    """Channels reversed over two of the axes (batch, height, width).

    A batch holds one image, and its reversal does nothing: so channels are reversed over height,
    width or both. The reference makes its draws in two steps, which cancel for a channel that is
    drawn twice.
    """
    channels = z.shape[-1]
    turned = jnp.stack([z[::-1], z[:, ::-1], z[::-1, ::-1]])[draws.integers(3)]
    drawn = draws.integers(channels, 5)
    odd = jnp.zeros(channels, jnp.int32).at[drawn].add(1) % 2 == 1
    return jnp.where(odd | everything, turned, z)


def _identity(channels: int) -> jax.Array:
    """The kernel that changes nothing, float `[3, 3, in, out]`."""
    return jnp.zeros((3, 3, channels, channels)).at[1, 1].set(jnp.eye(channels))


def _noisy(draws: _Draws, channels: int) -> jax.Array:
    noise = draws.uniform(3, 3, channels, channels) - 0.5
    return _identity(channels) + 0.2 * noise


def _tapped(draws: _Draws, channels: int) -> jax.Array:
    chosen = draws.uniform(channels) < 0.5
    source = draws.integers(channels, channels)
    y, x = draws.integers(3, 2, channels)
    kernel = _identity(channels)
    outputs = jnp.arange(channels)
    # The tap is set, not added: a tap in the middle of the channel itself changes nothing.
    taps = jnp.where(chosen, 1.0, kernel[y, x, source, outputs])
    return kernel.at[y, x, source, outputs].set(taps)


def _shifted(draws: _Draws, channels: int) -> jax.Array:
    again = draws.uniform(channels) < 0.2
    offsets = draws.integers(3, channels + 1, 2)
    outputs = jnp.arange(channels)
    # Offset 0 is the one from the start; a new offset holds until the next draw.
    current = jax.lax.cummax(jnp.where(again, outputs + 1, 0))
    y, x = offsets[current].T
    return jnp.zeros((3, 3, channels, channels)).at[y, x, outputs, outputs].set(1)


def _convolve(z: jax.Array, kernel: jax.Array) -> jax.Array:
    """Zero-padded 3x3 convolution as nine products, because each image has its own kernel."""
    height, width, _ = z.shape
    padded = jnp.pad(z, ((1, 1), (1, 1), (0, 0)))
    exact = jax.lax.Precision.HIGHEST
    total = jnp.zeros_like(z)
    for y in range(3):
        for x in range(3):
            window = padded[y : y + height, x : x + width]
            total += jnp.matmul(window, kernel[y, x], precision=exact)
    return total
