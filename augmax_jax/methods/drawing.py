"""Draws all random chains that a step needs at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from augmax_jax import augment


def draw(
    images: jax.Array,
    settings: Mapping[str, Any],
    *,
    mixes: Sequence[jax.Array],
    chains: Sequence[jax.Array] = (),
) -> tuple[list[jax.Array], list[jax.Array]]:
    """AugMix images, and chains, as `augment.augmix` and `augment.sample_chains` give them.

    The operators are compiled once, not once for each call of those functions: a call costs 5
    seconds of CPU time to compile (docs/performance_log.md, "First step").

    Args:
        images: uint8 `[B, H, W, 3]`.
        settings: from `settings.chain_settings`.
        mixes: keys `[B]` of each batch of AugMix images.
        chains: keys `[B]` of each batch of chains.

    Returns:
        For each of `mixes` float32 `[B, H, W, 3]` in [0, 1]; for each of `chains` uint8
        `[B, K, H, W, 3]`.
    """
    own = [jax.vmap(jax.random.split)(keys) for keys in mixes]
    all_keys = [*(keys[:, 0] for keys in own), *chains]
    # An example's chains depend on its own key only, so several batches can be one.
    drawn = augment.sample_chains(
        jnp.concatenate(all_keys), jnp.concatenate([images] * len(all_keys)), **settings
    )
    sets = jnp.split(drawn, len(all_keys))
    batch, width = sets[0].shape[:2]
    mixed = [
        augment.mix(images, found, *augment.sample_mixing_weights(keys[:, 1], batch, width))
        for keys, found in zip(own, sets, strict=False)
    ]
    return mixed, sets[len(own) :]
