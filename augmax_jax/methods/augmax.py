"""AugMax: mixing weights learned against the network (paper, Algorithm 1 and 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from augmax_jax import adversary
from augmax_jax.adversary.augmax import check_settings
from augmax_jax.methods.attacked import attacked_method, with_attacked
from augmax_jax.methods.base import (
    ASCENT_CURVES,
    Method,
    MethodSpec,
    Setup,
    ascent_diagnostics,
    split_keys,
)
from augmax_jax.methods.settings import compaction
from augmax_jax.runtime.checks import check_flag

if TYPE_CHECKING:
    from ml_collections import ConfigDict

CURVES = {**ASCENT_CURVES, "skip_weight": "Skip weight m after the ascent, mean"}


def maximise(
    logits_fn: adversary.LogitsFn,
    keys: jax.Array,
    images: jax.Array,
    chains: jax.Array,
    labels: jax.Array,
    config: ConfigDict,
    num_classes: int,
) -> adversary.AugMaxResult:
    """The inner maximisation from a random start, as `config.adversary` sets it.

    Args:
        logits_fn: the network in eval mode, on the attacked view's route.
        keys: one key per example, `[B]`.
        images: uint8 `[B, H, W, 3]`.
        chains: uint8 `[B, K, H, W, 3]`.
        labels: int `[B]`.
        config: the run's config.
        num_classes: number of classes of the dataset.

    Returns:
        What `adversary.augmax` found.
    """
    start_keys, target_keys = split_keys(keys, 2)
    start = adversary.random_start(start_keys, images.shape[0], chains.shape[1])
    return maximise_from(start, logits_fn, target_keys, images, chains, labels, config, num_classes)


def maximise_from(
    start: tuple[jax.Array, jax.Array],
    logits_fn: adversary.LogitsFn,
    keys: jax.Array,
    images: jax.Array,
    chains: jax.Array,
    labels: jax.Array,
    config: ConfigDict,
    num_classes: int,
) -> adversary.AugMaxResult:
    """`maximise` from a given start (m, p); the keys are for random targets, if there are any."""
    settings = config.adversary
    targets = None
    if settings.targeted:
        targets = adversary.random_targets(keys, labels, num_classes)
    return adversary.augmax(
        logits_fn,
        images,
        chains,
        labels,
        *start,
        steps=settings.steps,
        step_size=settings.step_size,
        patience=settings.patience,
        early_stop=settings.early_stop,
        count_initial=settings.count_initial,
        targets=targets,
        compact=compaction(config),
    )


def check_adversary(config: ConfigDict) -> None:
    """Raises ValueError unless `config.adversary` is valid."""
    settings = config.adversary
    check_settings(
        steps=settings.steps,
        step_size=settings.step_size,
        patience=settings.patience,
        early_stop=settings.early_stop,
        count_initial=settings.count_initial,
        prefix="config.adversary.",
    )
    check_flag("config.adversary.targeted", settings.targeted)


def _build(setup: Setup) -> Method:
    config = setup.config

    def attack(inputs, keys, chains, logits_fn):
        result = maximise(
            logits_fn,
            keys,
            inputs.images,
            chains,
            inputs.labels,
            config,
            setup.num_classes,
        )
        return result.images, {
            **ascent_diagnostics(result.steps, config.adversary.steps),
            "skip_weight": result.m.mean(),
        }

    return attacked_method("augmax", setup, attack, draws_chains=True)


AUGMAX = MethodSpec(
    "augmax", "AugMax", with_attacked("augmax", "AugMax"), _build, check_adversary, CURVES
)
"""AugMax: mixing weights learned against the network."""
