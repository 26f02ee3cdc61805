"""The ways in which DeepAugment damages the weights of the CAE (Hendrycks et al. 2021).

One of them is applied at a time. It acts on a layer that is drawn from the last layers of the
encoder and the first of the decoder. A "filter" is an index along the first axis of PyTorch's
weight. For the transposed convolution among those layers this is an input channel, as in the
published script.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from augmax_jax.deepaugment import effects
from augmax_jax.deepaugment.cae import LAYERS
from augmax_jax.deepaugment.layers import Weights

Effect = Callable[[jax.Array, Weights, str, str], Weights]

_NAMES = tuple(LAYERS)  # layer number -> name


def _change_filters(
    layer: str, weights: Weights, change: Callable[[jax.Array, jax.Array], jax.Array], count
) -> Weights:
    """Changes weight and bias of filters; `count` says how often each was drawn."""
    names = (f"{layer}.weight", f"{layer}.bias")
    return {n: change(weights[n], effects.per_filter(count, weights[n])) for n in names}


def _filters(layer: str, weights: Weights) -> int:
    return len(weights[f"{layer}.weight"])


def _reverse(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    # The published script should do the same to layer j, but it mistakes j's weight for its bias:
    # it reverses the weight twice, which changes nothing, and leaves the bias.
    return {n: weights[n][::-1] for n in (f"{i}.weight", f"{i}.bias")}


def _negate_filters(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    count = effects.counts(key, 12, _filters(i, weights))
    # One draw after another: a filter that is drawn twice does not change.
    return _change_filters(i, weights, lambda w, n: jnp.where(n % 2 == 1, -w, w), count)


def _zero_filters(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    count = effects.counts(key, 25, _filters(i, weights))
    return _change_filters(i, weights, lambda w, n: jnp.where(n > 0, 0, w), count)


def _minus_gelu_filters(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    count = effects.counts(key, 25, _filters(i, weights))
    most = int(count.max())

    def change(w: jax.Array, n: jax.Array) -> jax.Array:
        for time in range(most):  # repeated as often as a filter was drawn
            w = jnp.where(n > time, effects.minus_gelu(w), w)
        return w

    return _change_filters(i, weights, change, count)


def _amplify(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    changed: Weights = {}
    for each, layer in zip(jax.random.split(key), (i, j), strict=True):  # i and j may be equal
        name = f"{layer}.weight"
        changed[name] = effects.amplify(each, changed.get(name, weights[name]), 8)
    return changed


def _mask(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    kind_key, key = jax.random.split(key)
    kind = (effects.random_zeros, effects.random_signs)[effects.pick(kind_key, (0, 1))]
    return {f"{i}.weight": kind(key, weights[f"{i}.weight"])}


def _rotate(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    turns = effects.pick(key, (1, 2, 3))
    return {f"{i}.weight": jnp.rot90(weights[f"{i}.weight"], turns, (2, 3))}


def _negate_weights(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    weight = weights[f"{i}.weight"]
    # The draws are a set of filters: one that is drawn twice is negated once.
    drawn = effects.counts(key, len(weight) // 5, len(weight)) > 0
    return {f"{i}.weight": jnp.where(effects.per_filter(drawn, weight), -weight, weight)}


def _keep_largest(key: jax.Array, weights: Weights, i: str, j: str) -> Weights:
    return {f"{i}.weight": effects.keep_largest(weights[f"{i}.weight"])}


# The effect, and the numbers of the layers that it may act on.
EFFECTS: tuple[tuple[Effect, tuple[int, ...]], ...] = (
    (_reverse, tuple(range(11, 16))),  # 0: output channels of i
    (_negate_filters, tuple(range(8, 14))),  # 1
    (_zero_filters, tuple(range(8, 14))),  # 2
    (_minus_gelu_filters, tuple(range(10, 14))),  # 3
    (_amplify, tuple(range(8, 14))),  # 4: i and j
    (_mask, tuple(range(8, 14))),  # 5: zeros or signs
    (_rotate, tuple(range(8, 14))),  # 6: kernels
    (_negate_weights, tuple(range(8, 14))),  # 7: a fifth of the filters, not their biases
    (_keep_largest, tuple(range(8, 14))),  # 8
)
IDS = tuple(range(len(EFFECTS)))
DRAWN = IDS[:-1]  # the published script never draws the last one


def damage(key: jax.Array, weights: Weights, effect_id: int | None = None) -> Weights:
    """Damages weights.

    Args:
        key: one key, for all draws.
        weights: weights of the CAE; not changed in place.
        effect_id: the effect to apply; None: one of `DRAWN`.

    Returns:
        New weights.

    Raises:
        ValueError: the id is not one of `IDS`.
    """
    id_key, i_key, j_key, key = jax.random.split(key, 4)
    if effect_id is None:
        effect_id = effects.pick(id_key, DRAWN)
    if effect_id not in IDS:
        raise ValueError(f"effect_id must be in 0..{len(IDS) - 1}, got {effect_id}")
    effect, numbers = EFFECTS[effect_id]
    i, j = (_NAMES[effects.pick(k, numbers)] for k in (i_key, j_key))
    return {**weights, **effect(key, weights, i, j)}
