"""Adversarial training in an l-infinity ball: PGD-AT, FAT, and AugMix with PGD."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from augmax_jax import adversary, augment
from augmax_jax.methods.base import (
    Clock,
    Diagnostics,
    Method,
    StepInputs,
    View,
    chain_settings,
    routes,
    split_keys,
    stateless,
    step_diagnostics,
    to_float,
)


def _attack(
    inputs: StepInputs, keys: jax.Array, route: str, config: ConfigDict
) -> adversary.PGDResult:
    """PGD as `config.pgd` sets it."""
    return adversary.pgd(
        keys, lambda x: inputs.logits_fn(x, route), inputs.images, inputs.labels, **config.pgd
    )


def pgd_at(config: ConfigDict, num_classes: int) -> Method:
    """Adversarial training of Madry et al. (ICLR 2018): PGD images alone."""
    del num_classes
    route = routes(config)["pgd"]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        result = _attack(inputs, inputs.keys, route, config)
        return [View("pgd", result.images, route, 1.0, False)], {}

    return stateless(views)


def fat(config: ConfigDict, num_classes: int, clock: Clock) -> Method:
    """Friendly adversarial training (Zhang et al., ICML 2020): PGD that stops in time.

    The budget τ of every sample grows over the epochs, as `config.fat` lists.
    """
    del num_classes
    route = routes(config)["fat"]
    settings = config.fat
    budgets = jnp.asarray(settings.budgets, jnp.int32)
    boundaries = jnp.asarray(settings.boundaries, jnp.float32)

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        budget = budgets[jnp.sum(clock.epoch(inputs.step) >= boundaries)]
        result = adversary.pgd(
            inputs.keys,
            lambda x: inputs.logits_fn(x, route),
            inputs.images,
            inputs.labels,
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            random_start=settings.random_start,
            budget=budget,
            jitter=settings.jitter,
            compact=config.adversary.compact and (config.adversary.chunk or True),
        )
        return [View("fat", result.images, route, 1.0, False)], {
            **step_diagnostics(result.steps, settings.steps),
            "budget": budget.astype(jnp.float32),
        }

    return stateless(views)


def augmix_pgd(config: ConfigDict, num_classes: int) -> Method:
    """AugMix and PGD images side by side, each made from the image as it is.

    The paper only says that both are used. Here: cross-entropy on the clean and the PGD view,
    half each, and consistency of clean, AugMix and PGD views (spec §7).
    """
    del num_classes
    chains = chain_settings(config)
    route = routes(config)

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        augmix_keys, pgd_keys = split_keys(inputs.keys, 2)
        x_augmix = augment.augmix(augmix_keys, inputs.images, **chains)
        result = _attack(inputs, pgd_keys, route["pgd"], config)
        return [
            View("pgd", result.images, route["pgd"], 0.5, True),
            View("augmix", x_augmix, route["augmix"], 0.0, True),
            View("clean", to_float(inputs.images), route["clean"], 0.5, True),
        ], {}

    return stateless(views)
