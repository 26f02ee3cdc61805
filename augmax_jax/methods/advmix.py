"""AdvMix and AdvMax: the worst of k draws of the operators' levels (paper, App. B)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from augmax_jax import adversary, augment
from augmax_jax.adversary.stadv import check_settings
from augmax_jax.methods import augmax
from augmax_jax.methods.attacked import attacked_method, with_attacked
from augmax_jax.methods.base import (
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    ascent_diagnostics,
    split_keys,
)
from augmax_jax.methods.settings import chain_settings
from augmax_jax.runtime.checks import check_count

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SEARCH_CURVES = {
    "worst_loss": "Loss of the worst candidate, mean",
    "first_loss": "Loss of the first candidate, mean",
}


def _worst_levels(
    inputs: StepInputs,
    logits_fn: adversary.LogitsFn,
    chain_keys: jax.Array,
    level_keys: jax.Array,
    m: jax.Array,
    w: jax.Array,
    config: ConfigDict,
) -> adversary.WorstOfKResult:
    """Chains of fixed operators at the worst of k draws of their levels and signs.

    Args:
        inputs: inputs of the step.
        logits_fn: the network.
        chain_keys: keys for depths and operators, `[B]`.
        level_keys: keys for levels and signs, `[B]`.
        m: skip weights with which each draw is mixed and judged, `[B]`.
        w: chain weights with which each draw is mixed and judged, `[B, K]`.
        config: the run's config.
    """
    chains = chain_settings(config)
    return adversary.worst_of_k(
        level_keys,
        logits_fn,
        lambda keys: augment.sample_chains(chain_keys, inputs.images, **chains, level_key=keys),
        inputs.labels,
        k=config.worst_of_k.k,
        to_images=lambda drawn: augment.mix(inputs.images, drawn, m, w),
    )


def check_worst_of_k(config: ConfigDict) -> None:
    """Raises ValueError unless `config.worst_of_k` is valid."""
    check_count("config.worst_of_k.k", config.worst_of_k.k, low=1)


def _build_advmix(setup: Setup) -> Method:
    config = setup.config

    def attack(inputs, keys, chain_keys, logits_fn):
        weight_keys, level_keys = split_keys(keys, 2)
        m, w = augment.sample_mixing_weights(
            weight_keys, inputs.images.shape[0], config.augment.width
        )
        worst = _worst_levels(inputs, logits_fn, chain_keys, level_keys, m, w, config)
        return worst.images, {
            "worst_loss": worst.loss.mean(),
            "first_loss": worst.first_loss.mean(),
        }

    return attacked_method("advmix", setup, attack)


ADVMIX = MethodSpec(
    "advmix",
    "AdvMix",
    with_attacked("advmix", "AdvMix"),
    _build_advmix,
    check_worst_of_k,
    SEARCH_CURVES,
)
"""AdvMix: AugMix's operators and weights with the worst of k draws of the levels."""


def _build_advmax(setup: Setup) -> Method:
    config = setup.config

    def attack(inputs, keys, chain_keys, logits_fn):
        start_keys, target_keys, level_keys = split_keys(keys, 3)
        batch = inputs.images.shape[0]
        m, p = adversary.random_start(start_keys, batch, config.augment.width)
        # The draws are judged with the weights from which the ascent starts.
        w = jax.nn.softmax(p)
        worst = _worst_levels(inputs, logits_fn, chain_keys, level_keys, m, w, config)
        mixed = augmax.maximise_from(
            (m, p),
            logits_fn,
            target_keys,
            inputs.images,
            worst.candidate,
            inputs.labels,
            config,
            setup.num_classes,
        )
        warped = adversary.stadv(logits_fn, mixed.images, inputs.labels, **config.stadv)
        return warped.images, {
            **ascent_diagnostics(mixed.steps, config.adversary.steps),
            "skip_weight": mixed.m.mean(),
            "flow": jnp.abs(warped.flow).mean(),
        }

    return attacked_method("advmax", setup, attack)


def _check_advmax(config: ConfigDict) -> None:
    check_worst_of_k(config)
    augmax.check_adversary(config)
    check_settings(**config.stadv, prefix="config.stadv.")


ADVMAX = MethodSpec(
    "advmax",
    "AdvMax",
    with_attacked("advmax", "AdvMax"),
    _build_advmax,
    _check_advmax,
    {**augmax.CURVES, "flow": "Displacement of a pixel by stAdv, mean"},
)
"""AdvMax: the worst of k draws of levels, then learned mixing weights, then stAdv."""
