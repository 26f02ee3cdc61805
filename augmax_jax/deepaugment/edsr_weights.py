"""The 17 ways in which DeepAugment damages the weights of EDSR (Hendrycks et al. 2021).

Each takes a key and the weights and returns the tensors that it changes. c0 and c2 are the first
and the second convolution of a residual block. The blocks and all other choices are drawn.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from augmax_jax.deepaugment import effects
from augmax_jax.deepaugment.layers import Weights

Effect = Callable[[jax.Array, Weights], Weights]

DRAWS = 3  # effects that are applied together
_EVERY_THIRD = (0, 3, 6, 9)
_EVERY_FOURTH = (1, 5, 9)
_ANY = tuple(range(15))  # the last of the 16 blocks is never chosen
_TIMES = 5
_LAPLACIAN = ((0, 1, 0), (1, -4, 1), (0, 1, 0))
_EDGES = ((-1, -1, -1), (-1, 8, -1), (-1, -1, -1))


def _name(block: int, module: int, kind: str = "weight") -> str:
    return f"body.{block}.body.{module}.{kind}"


def _map(weights: Weights, names: Sequence[str], change: Callable) -> Weights:
    return {name: change(weights[name]) for name in names}


def _both(block: int) -> tuple[str, str]:
    return _name(block, 0), _name(block, 0, "bias")


def _several(
    key: jax.Array, weights: Weights, change: Callable, modules: tuple[int, ...]
) -> Weights:
    """Changes the weight of five layers, one after another; a layer may be drawn twice."""
    changed: Weights = {}
    for each in jax.random.split(key, _TIMES):
        block_key, place_key, change_key = jax.random.split(each, 3)
        name = _name(effects.pick(block_key, _ANY), effects.pick(place_key, modules))
        changed[name] = change(change_key, changed.get(name, weights[name]))
    return changed


def _reverse(key: jax.Array, weights: Weights) -> Weights:
    block = effects.pick(key, _EVERY_THIRD)
    names = [_name(block, module, kind) for module in (0, 2) for kind in ("weight", "bias")]
    return _map(weights, names, lambda w: w[::-1])


def _negate(key: jax.Array, weights: Weights) -> Weights:
    return _map(weights, _both(effects.pick(key, (1, 4, 7))), jnp.negative)


def _zero(key: jax.Array, weights: Weights) -> Weights:
    return _map(weights, _both(effects.pick(key, _EVERY_THIRD)), jnp.zeros_like)


def _minus_gelu(key: jax.Array, weights: Weights) -> Weights:
    block = effects.pick(key, _EVERY_THIRD)
    return _map(weights, [_name(block, 0), _name(block, 2)], effects.minus_gelu)


def _times(factors: Sequence[Sequence[int]]) -> Effect:
    def effect(key: jax.Array, weights: Weights) -> Weights:
        block = effects.pick(key, _EVERY_THIRD)
        return _map(
            weights, [_name(block, 0)], lambda w: w * jnp.array(factors, w.dtype)[None, None]
        )

    return effect


def _amplify(key: jax.Array, weights: Weights) -> Weights:
    block_key, key = jax.random.split(key)
    name = _name(effects.pick(block_key, _EVERY_THIRD), 2)
    return {name: effects.amplify(key, weights[name], 4)}


def _mirror(key: jax.Array, weights: Weights) -> Weights:
    block = effects.pick(key, _EVERY_THIRD)
    first, second = _name(block, 0), _name(block, 2)
    return {first: weights[first][..., ::-1], second: -weights[second]}


def _shift(key: jax.Array, weights: Weights) -> Weights:
    block_key, place_key, sign_key = jax.random.split(key, 3)
    name = _name(effects.pick(block_key, _EVERY_FOURTH), 0)
    weight = weights[name]
    y, x = jax.random.randint(place_key, (2, weight.shape[1]), 0, 3)
    sign = jax.random.rademacher(sign_key, (weight.shape[1],), weight.dtype)
    # All outputs get the same values, and so become equal.
    kernels = jnp.zeros_like(weight).at[:, jnp.arange(weight.shape[1]), y, x].set(sign)
    return {name: effects.convolve(weight, kernels)}


def _smear(key: jax.Array, weights: Weights) -> Weights:
    block_key, r_key, u_key = jax.random.split(key, 3)
    name = _name(effects.pick(block_key, _EVERY_THIRD), 0)
    r = jax.random.uniform(r_key, weights[name].shape)
    kernels = (2 * r * jax.random.uniform(u_key) - 1) / 6
    return {name: effects.convolve(weights[name], kernels)}


def _dirichlet(key: jax.Array, weights: Weights) -> Weights:
    block_key, key = jax.random.split(key)
    name = _name(effects.pick(block_key, _EVERY_FOURTH), 2)
    shape = weights[name].shape
    kernels = jax.random.dirichlet(key, jnp.full(9, 0.1), shape[:2]).reshape(shape)
    return {name: effects.convolve(weights[name], kernels)}


def _noise(key: jax.Array, weights: Weights) -> Weights:
    block_key, key = jax.random.split(key)
    name = _name(effects.pick(block_key, _ANY), 2)
    noise = jax.random.uniform(key, weights[name].shape, minval=-0.5, maxval=0.5)
    return {name: weights[name] + noise}


def _rotate(key: jax.Array, weights: Weights) -> Weights:
    def change(key: jax.Array, weight: jax.Array) -> jax.Array:
        turns_key, axes_key = jax.random.split(key)
        axes = ((2, 3), (0, 1))[effects.pick(axes_key, (0, 1))]  # the kernels' axes, or (out, in)
        return jnp.rot90(weight, effects.pick(turns_key, (1, 2, 3)), axes)

    return _several(key, weights, change, (0, 2))


def _random_signs(key: jax.Array, weights: Weights) -> Weights:
    return _several(key, weights, effects.random_signs, (0,))


def _random_zeros(key: jax.Array, weights: Weights) -> Weights:
    return _several(key, weights, effects.random_zeros, (0,))


def _negate_filters(key: jax.Array, weights: Weights) -> Weights:
    def change(key: jax.Array, weight: jax.Array) -> jax.Array:
        # One indexing for all draws: a filter that is drawn twice is negated once.
        drawn = effects.counts(key, 32, len(weight)) > 0
        return jnp.where(effects.per_filter(drawn, weight), -weight, weight)

    return _several(key, weights, change, (0,))


def _keep_largest(key: jax.Array, weights: Weights) -> Weights:
    return _several(key, weights, lambda _, weight: effects.keep_largest(weight), (0, 2))


EFFECTS: tuple[Effect, ...] = (
    _reverse,  # 0: output channels of c0 and c2
    _negate,  # 1: c0
    _zero,  # 2: c0
    _minus_gelu,  # 3: c0, c2
    _times(_LAPLACIAN),  # 4: c0
    _times(_EDGES),  # 5: c0
    _amplify,  # 6: c2
    _mirror,  # 7: c0 along the kernels' width; c2 negated
    _shift,  # 8: c0
    _smear,  # 9: c0
    _dirichlet,  # 10: c2
    _noise,  # 11: c2
    _rotate,  # 12
    _random_signs,  # 13: c0
    _random_zeros,  # 14: c0
    _negate_filters,  # 15: c0
    _keep_largest,  # 16
)
IDS = tuple(range(len(EFFECTS)))


def damage(key: jax.Array, weights: Weights, ids: Sequence[int] | None = None) -> Weights:
    """Damages weights.

    Args:
        key: one key, for all draws.
        weights: weights of EDSR; not changed in place.
        ids: the effects to apply, in order; None: three, drawn with replacement.

    Returns:
        New weights.

    Raises:
        ValueError: an id is not one of `IDS`.
    """
    ids_key, key = jax.random.split(key)
    if ids is None:
        ids = [int(i) for i in jax.random.randint(ids_key, (DRAWS,), 0, len(IDS))]
    for i in ids:
        if i not in IDS:
            raise ValueError(f"ids must be in 0..{len(IDS) - 1}, got {i}")
    damaged = dict(weights)
    for effect_key, i in zip(jax.random.split(key, len(ids)), ids, strict=True):
        damaged |= EFFECTS[i](effect_key, damaged)
    return damaged
