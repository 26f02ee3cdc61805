"""Building blocks of the weight damage of both networks, on tensors in PyTorch's layout."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def pick(key: jax.Array, choices: Sequence[int]) -> int:
    """Draws one of the choices uniformly."""
    return choices[int(jax.random.randint(key, (), 0, len(choices)))]


def minus_gelu(x: jax.Array) -> jax.Array:
    """-GELU(x), exact and not the tanh approximation."""
    return -jax.nn.gelu(x, approximate=False)


def amplify(key: jax.Array, weight: jax.Array, strength: float) -> jax.Array:
    """weight (1 + strength u r): u is one number, r one per value, both uniform in [0, 1).

    The reference writes `rand_like(w - 1)`, which is `rand_like(w)`: r is not shifted.
    """
    u_key, r_key = jax.random.split(key)
    u, r = jax.random.uniform(u_key), jax.random.uniform(r_key, weight.shape)
    return weight * (1 + strength * u * r)


def random_signs(key: jax.Array, weight: jax.Array) -> jax.Array:
    """Negates every value with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key, shape=weight.shape), weight, -weight)


def random_zeros(key: jax.Array, weight: jax.Array) -> jax.Array:
    """Sets every value to 0 with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key, shape=weight.shape), weight, 0)


def keep_largest(weight: jax.Array) -> jax.Array:
    """Sets every entry of each kernel to 0 except the largest."""
    flat = weight.reshape(*weight.shape[:2], -1)
    largest = jax.nn.one_hot(jnp.argmax(flat, axis=-1), flat.shape[-1], dtype=bool)
    return jnp.where(largest, flat, 0).reshape(weight.shape)


def convolve(weight: jax.Array, kernels: jax.Array) -> jax.Array:
    """Convolves a weight `[out, in, 3, 3]` as if it were a batch of images, zero-padded."""
    return jax.lax.conv_general_dilated(
        weight,
        kernels,
        (1, 1),
        ((1, 1), (1, 1)),
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        precision=jax.lax.Precision.HIGHEST,
    )


def counts(key: jax.Array, draws: int, length: int) -> jax.Array:
    """How often each index comes in `draws` draws with replacement, int32 `[length]`."""
    drawn = jax.random.randint(key, (draws,), 0, length)
    return jnp.zeros(length, jnp.int32).at[drawn].add(1)


def per_filter(count: jax.Array, tensor: jax.Array) -> jax.Array:
    """A number per filter, shaped to act along the first axis of a weight or bias.

    A transposed convolution has more biases than indices along that axis: the rest get 0.
    """
    count = jnp.pad(count, (0, len(tensor) - len(count)))
    return count.reshape(-1, *(1,) * (tensor.ndim - 1))
