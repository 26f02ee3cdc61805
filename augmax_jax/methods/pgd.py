"""PGD in an l-infinity ball: adversarial training (Madry et al., ICLR 2018), and AugMix with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from augmax_jax import adversary, augment
from augmax_jax.adversary.pgd import check_settings
from augmax_jax.methods.base import (
    ASCENT_CURVES,
    AUGMIX,
    CLEAN,
    Diagnostics,
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    View,
    ViewSpec,
    ascent_diagnostics,
    split_keys,
    stateless,
)
from augmax_jax.methods.settings import chain_settings

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def _attack(
    inputs: StepInputs, keys: jax.Array, route: str, config: ConfigDict
) -> tuple[jax.Array, Diagnostics]:
    """PGD by `config.pgd`: the images, and scalars of the ascent for the log."""
    result = adversary.pgd(
        keys, lambda x: inputs.logits_fn(x, route), inputs.images, inputs.labels, **config.pgd
    )
    return result.images, ascent_diagnostics(result.steps, config.pgd.steps)


def _check(config: ConfigDict) -> None:
    check_settings(**config.pgd, prefix="config.pgd.")


def _build_pgd_at(setup: Setup) -> Method:
    route = setup.routes["pgd"]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        images, diagnostics = _attack(inputs, inputs.keys, route, setup.config)
        return [View("pgd", images, route, 1.0, False)], diagnostics

    return stateless(views)


PGD_AT = MethodSpec(
    "pgd_at", "PGDAT", (ViewSpec("pgd", "PGD", "clean"),), _build_pgd_at, _check, ASCENT_CURVES
)
"""Adversarial training: PGD images alone."""


def _build_augmix_pgd(setup: Setup) -> Method:
    chains = chain_settings(setup.config)
    route = setup.routes

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        augmix_keys, pgd_keys = split_keys(inputs.keys, 2)
        x_augmix = augment.augmix(augmix_keys, inputs.images, **chains)
        images, diagnostics = _attack(inputs, pgd_keys, route["pgd"], setup.config)
        return [
            View("pgd", images, route["pgd"], 0.5, True),
            View("augmix", x_augmix, route["augmix"], 0.0, True),
            View("clean", augment.to_float(inputs.images), route["clean"], 0.5, True),
        ], diagnostics

    return stateless(views)


AUGMIX_PGD = MethodSpec(
    "augmix_pgd",
    "AugMix+PGDAT",
    (CLEAN, AUGMIX, ViewSpec("pgd", "PGD", "augmented")),
    _build_augmix_pgd,
    _check,
    ASCENT_CURVES,
)
"""AugMix and PGD images side by side; each is made from the clean image.

The paper only says that both are used. Here the loss is the cross-entropy on the clean and the
PGD view, half each, and the consistency of clean, AugMix and PGD views (docs/methods.md).
"""
