"""What DeepAugment does to the activations of EDSR, image by image (Hendrycks et al. 2021).

Head damage acts on the output of the head; each image has one id:

    1  one channel is overwritten by another, five times
    2  values are set to 0 with probability 0.05
    3  values are negated with probability 0.025
    4  nothing

Body damage acts on the 17 modules of the body, ids 1 to 3 after the first five; each image has
one id:

    1  negation
    2  ReLU (probability 1/3) or GELU
    3  reversal over channels and height (probability 1/3), or over channels and width
    4  up to three of the last modules are skipped, and the others run side by side
    5  nothing
"""

import flax.struct
import jax
import jax.numpy as jnp

from augmax_jax.runtime.keys import example_keys

HEAD_IDS = (1, 2, 3, 4)
BODY_IDS = (1, 2, 3, 4, 5)
_MIDDLE = 4  # the module after which ids 1 to 3 act
_MODULES = 17
_SKIPS = 3
_COPIES = 5


@flax.struct.dataclass
class FeatureDamage:
    """The damage of a batch; every field has one entry per image.

    Attributes:
        keys: keys of the random masks and channels, `[B]`.
        head_id: id of the damage to the head's output, int32 `[B]` in 1..4.
        body_id: id of the damage to the body, int32 `[B]` in 1..5.
        first: whether ids 2 and 3 of the body do the first of their two options, bool `[B]`.
        last: the only module that has an effect under id 4 of the body, int32 `[B]`.
    """

    keys: jax.Array
    head_id: jax.Array
    body_id: jax.Array
    first: jax.Array
    last: jax.Array

    def head(self, features: jax.Array) -> jax.Array:
        """Damages the output of the head, float `[B, H, W, C]`."""
        return jax.vmap(_head)(self.keys, self.head_id, features)

    def enter(self, module: int, x: jax.Array, head: jax.Array) -> jax.Array:
        """The input of module `module`, which is not always the output `x` of the module before it.

        The published loop gives the head's output to every module that it does not skip, and
        each overwrites the result of the module before. So only the last of them has an effect:
        it starts from the head's output, and earlier results are lost.
        """
        if module < _MODULES - 1 - _SKIPS:  # at most three of the last modules are skipped
            return x
        return _where((self.body_id == 4) & (self.last == module), head, x)

    def leave(self, module: int, outputs: jax.Array, x: jax.Array) -> jax.Array:
        """The result after module `module`, from its outputs and the result before it."""
        if module == _MIDDLE:
            return self._middle(outputs)
        if module <= _MODULES - 1 - _SKIPS:
            return outputs
        return _where((self.body_id == 4) & (self.last < module), x, outputs)

    def _middle(self, x: jax.Array) -> jax.Array:
        x = _where(self.body_id == 1, -x, x)
        bent = _where(self.first, jax.nn.relu(x), jax.nn.gelu(x, approximate=False))
        turned = _where(self.first, x[:, ::-1, :, ::-1], x[:, :, ::-1, ::-1])
        x = _where(self.body_id == 2, bent, x)
        return _where(self.body_id == 3, turned, x)


def draw(
    key: jax.Array,
    batch: int,
    *,
    head_id: jax.Array | int | None = None,
    body_id: jax.Array | int | None = None,
) -> FeatureDamage:
    """Draws the damage of each image of a batch.

    Args:
        key: one key, or one per image `[B]`.
        batch: number of images B.
        head_id: id for all images, or one per image `[B]`; None: drawn.
        body_id: id for all images, or one per image `[B]`; None: drawn.

    Returns:
        A `FeatureDamage` of B images.
    """
    keys = jax.vmap(jax.random.split)(example_keys(key, batch))
    # One draw for everything, because many draws would take long to compile.
    u = jax.vmap(lambda k: jax.random.uniform(k, (3 + _SKIPS,)))(keys[:, 0])
    heads = 1 + _integer(u[:, 0], len(HEAD_IDS)) if head_id is None else head_id
    bodies = 1 + _integer(u[:, 1], len(BODY_IDS)) if body_id is None else body_id
    return FeatureDamage(
        keys=keys[:, 1],
        head_id=jnp.broadcast_to(heads, (batch,)),
        body_id=jnp.broadcast_to(bodies, (batch,)),
        first=u[:, 2] < 1 / 3,
        last=_last_module(2 + _integer(u[:, 3:], _MODULES - 2)),
    )


def _last_module(skipped: jax.Array) -> jax.Array:
    """The last module that is not among the skipped ones, int `[B, 3]` from 2 to 16."""
    modules = jnp.arange(_MODULES)
    kept = (skipped[:, :, None] != modules[None, None]).all(axis=1)
    return jnp.max(jnp.where(kept, modules[None], 0), axis=1)


def _integer(uniform: jax.Array, stop: int) -> jax.Array:
    """Turns numbers in [0, 1) into integers from 0 to stop - 1."""
    return jnp.minimum(uniform * stop, stop - 1).astype(jnp.int32)


def _head(key: jax.Array, head_id: jax.Array, features: jax.Array) -> jax.Array:
    channels = features.shape[-1]
    draws = jax.random.uniform(key, (2 * _COPIES + features.size,))
    pairs = _integer(draws[: 2 * _COPIES], channels).reshape(_COPIES, 2)
    # The published code swaps two views. The swap only copies: the first channel is overwritten
    # before it is read, so the second channel does not change.
    source = jnp.arange(channels)
    for i in range(_COPIES):
        source = source.at[pairs[i, 0]].set(source[pairs[i, 1]])
    uniform = draws[2 * _COPIES :].reshape(features.shape)
    factors = jnp.where(
        head_id == 2,
        (uniform >= 0.05).astype(features.dtype),
        jnp.where((head_id == 3) & (uniform < 0.025), -1, 1),
    )
    return jnp.where(head_id == 1, features[..., source], features * factors)


def _where(condition: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    return jnp.where(condition[:, None, None, None], yes, no)
