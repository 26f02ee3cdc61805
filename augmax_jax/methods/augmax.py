"""AugMax: mixing weights learned against the network (paper, Algorithm 1 and 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from augmax_jax import adversary, augment
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
from augmax_jax.runtime.checks import check_count, check_flag

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
    check_count("config.adversary.every", settings.every, low=1)
    if settings.every > 1 and config.method == "advmax":
        raise ValueError(
            f"config.adversary.every must be 1 for method 'advmax', got {settings.every}: only "
            "'augmax' attacks a part of the batch"
        )


def check_share(config: ConfigDict, images: int) -> None:
    """Checks that the images of a batch that are attacked do not depend on how it is split.

    Args:
        config: the run's config; its other settings must have been checked.
        images: how many a device, or one of its micro-batches, gets of a batch.

    Raises:
        ValueError: `config.adversary.every` does not divide them.
    """
    every = config.adversary.every
    if config.method == "augmax" and images % every:
        raise ValueError(
            f"config.adversary.every={every} cannot divide the {images} images that a device takes "
            f"at a time of config.batch_size={config.batch_size} evenly: use a divisor of {images}"
        )


def _build(setup: Setup) -> Method:
    config = setup.config
    every = config.adversary.every

    def attack(inputs, keys, chains, logits_fn):
        chosen = (keys, inputs.images, chains, inputs.labels)
        if every > 1:
            chosen = tuple(x[::every] for x in chosen)
        result = maximise(logits_fn, *chosen, config, setup.num_classes)
        images = result.images
        if every > 1:
            images = _between(images, keys, inputs.images, chains)
        return images, {
            **ascent_diagnostics(result.steps, config.adversary.steps),
            "skip_weight": result.m.mean(),
        }

    return attacked_method("augmax", setup, attack, draws_chains=True)


def _between(
    attacked: jax.Array, keys: jax.Array, images: jax.Array, chains: jax.Array
) -> jax.Array:
    """Attacked images, each followed by AugMix images of the examples up to the next one.

    Args:
        attacked: of the examples 0, k, 2k, ...: float32 `[B/k, H, W, 3]` in [0, 1].
        keys: one key per example, `[B]`.
        images: uint8 `[B, H, W, 3]`.
        chains: uint8 `[B, K, H, W, 3]`.

    Returns:
        float32 `[B, H, W, 3]` in [0, 1], in the order of the examples.
    """
    groups = len(attacked)

    def others(x: jax.Array) -> jax.Array:
        apart = x.reshape(groups, -1, *x.shape[1:])[:, 1:]
        return apart.reshape(-1, *x.shape[1:])

    own, rest = others(images), others(chains)
    weights = augment.sample_mixing_weights(others(keys), *rest.shape[:2])
    mixed = augment.mix(own, rest, *weights).reshape(groups, -1, *images.shape[1:])
    return jnp.concatenate([attacked[:, None], mixed], axis=1).reshape(images.shape)


AUGMAX = MethodSpec(
    "augmax", "AugMax", with_attacked("augmax", "AugMax"), _build, check_adversary, CURVES
)
"""AugMax: mixing weights learned against the network."""
