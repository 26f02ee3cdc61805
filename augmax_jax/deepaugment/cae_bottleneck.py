"""What DeepAugment does to the code of the CAE, image by image (spec §7).

One id an image, on z (in front of the random bits) unless said otherwise:

    0  the bits are multiplied by 3 + 4 u r: u one number, r one per bit, both uniform in [0, 1)
    1  20% of the places become 0, in all channels
    2  10% of the places are negated
    3  the first ten channels are permuted
    4  five channels, drawn with replacement, are reversed over height, width or both
    5  all channels are
    6  a 3x3 convolution: the identity plus U(-0.1, 0.1) everywhere
    7  a 3x3 convolution: the identity, and for half of the channels one more tap of weight 1
       from any channel and place
    8  every channel is shifted by at most a place; the offset is drawn at the start, and again
       before a channel with probability 0.2
"""

import jax
import jax.numpy as jnp

from augmax_jax.keys import example_keys

IDS = tuple(range(9))


def draw(key: jax.Array, batch: int) -> jax.Array:
    """An id for each image, int32 `[B]`; `key` is one key, or one per image."""
    keys = example_keys(key, batch)
    return jax.vmap(lambda k: jax.random.randint(k, (), 0, len(IDS)))(keys)


def damage(key: jax.Array, z: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Damages the code of each image.

    Args:
        key: one key, or one per image `[B]`.
        z: float `[B, h, w, C]`, in [-1, 1].
        ids: int `[B]`.

    Returns:
        z, which ids 6 to 8 may carry out of [-1, 1], and what the bits are multiplied by.
    """
    return jax.vmap(_damage)(example_keys(key, len(z)), z, ids)


def _damage(key: jax.Array, z: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(key, 7)
    channels = z.shape[-1]
    u, r = jax.random.uniform(keys[0]), jax.random.uniform(keys[1], z.shape)
    gain = jnp.where(i == 0, 3 + 4 * u * r, 1)

    place = jax.random.uniform(keys[2], (*z.shape[:2], 1))
    factor = jnp.where(i == 1, (place > 0.2).astype(z.dtype), jnp.where(place > 0.1, 1.0, -1.0))
    kept = jnp.where((i == 1) | (i == 2), z * factor, z)

    order = jnp.arange(channels).at[:10].set(jax.random.permutation(keys[3], 10))
    kept = jnp.where(i == 3, z[..., order], kept)

    kept = jnp.where((i == 4) | (i == 5), _reversed(keys[4], z, i == 5), kept)

    kernels = (_noisy(keys[5], channels), _tapped(keys[5], channels), _shifted(keys[5], channels))
    kernel = jnp.select([i == 6, i == 7], kernels[:2], kernels[2])
    return jnp.where(i >= 6, _convolve(z, kernel), kept), gain


def _reversed(key: jax.Array, z: jax.Array, everything: jax.Array) -> jax.Array:
    """Channels reversed over two of the axes (batch, height, width).

    A batch is one image, over which reversal does nothing: so it is over height, width or both.
    The reference makes its draws in two steps, which cancel for a channel drawn twice.
    """
    channels = z.shape[-1]
    axes_key, channel_key = jax.random.split(key)
    turned = jnp.stack([z[::-1], z[:, ::-1], z[::-1, ::-1]])
    turned = turned[jax.random.randint(axes_key, (), 0, 3)]
    drawn = jax.random.randint(channel_key, (5,), 0, channels)
    odd = jnp.zeros(channels, jnp.int32).at[drawn].add(1) % 2 == 1
    return jnp.where(odd | everything, turned, z)


def _identity(channels: int) -> jax.Array:
    """float `[3, 3, in, out]`."""
    return jnp.zeros((3, 3, channels, channels)).at[1, 1].set(jnp.eye(channels))


def _noisy(key: jax.Array, channels: int) -> jax.Array:
    shape = (3, 3, channels, channels)
    return _identity(channels) + jax.random.uniform(key, shape, minval=-0.1, maxval=0.1)


def _tapped(key: jax.Array, channels: int) -> jax.Array:
    chosen_key, source_key, place_key = jax.random.split(key, 3)
    chosen = jax.random.uniform(chosen_key, (channels,)) < 0.5
    source = jax.random.randint(source_key, (channels,), 0, channels)
    y, x = jax.random.randint(place_key, (2, channels), 0, 3)
    kernel = _identity(channels)
    outputs = jnp.arange(channels)
    # Set and not added: a tap on the channel itself, in the middle, changes nothing.
    taps = jnp.where(chosen, 1.0, kernel[y, x, source, outputs])
    return kernel.at[y, x, source, outputs].set(taps)


def _shifted(key: jax.Array, channels: int) -> jax.Array:
    again_key, offset_key = jax.random.split(key)
    again = jax.random.uniform(again_key, (channels,)) < 0.2
    offsets = jax.random.randint(offset_key, (channels + 1, 2), 0, 3)
    outputs = jnp.arange(channels)
    # Offset 0 is the one drawn at the start; a new one holds until the next.
    current = jax.lax.cummax(jnp.where(again, outputs + 1, 0))
    y, x = offsets[current].T
    return jnp.zeros((3, 3, channels, channels)).at[y, x, outputs, outputs].set(1)


def _convolve(z: jax.Array, kernel: jax.Array) -> jax.Array:
    """Zero-padded 3x3 convolution as nine products: kernels differ from image to image."""
    height, width, _ = z.shape
    padded = jnp.pad(z, ((1, 1), (1, 1), (0, 0)))
    exact = jax.lax.Precision.HIGHEST
    return sum(
        jnp.matmul(padded[y : y + height, x : x + width], kernel[y, x], precision=exact)
        for y in range(3)
        for x in range(3)
    )
