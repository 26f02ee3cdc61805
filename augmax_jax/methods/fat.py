"""Friendly adversarial training (Zhang et al., ICML 2020): PGD that stops in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from augmax_jax import adversary
from augmax_jax.adversary.pgd import check_settings
from augmax_jax.methods.base import (
    ASCENT_CURVES,
    Diagnostics,
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    View,
    ViewSpec,
    ascent_diagnostics,
    stateless,
)
from augmax_jax.methods.settings import compaction
from augmax_jax.runtime.checks import check_count, check_number

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def _build(setup: Setup) -> Method:
    route = setup.routes["fat"]
    settings = setup.config.fat
    compact = compaction(setup.config)
    budgets = jnp.asarray(settings.budgets, jnp.int32)
    boundaries = jnp.asarray(settings.boundaries, jnp.float32)

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        # The budget of every sample grows over the epochs.
        epoch = setup.epochs.completed(inputs.step).astype(jnp.float32)
        budget = budgets[jnp.sum(epoch >= boundaries)]
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
            compact=compact,
        )
        return [View("fat", result.images, route, 1.0, False)], {
            **ascent_diagnostics(result.steps, settings.steps),
            "budget": budget.astype(jnp.float32),
        }

    return stateless(views)


def _check(config: ConfigDict) -> None:
    settings = config.fat
    check_settings(
        eps=settings.eps,
        step_size=settings.step_size,
        steps=settings.steps,
        random_start=settings.random_start,
        jitter=settings.jitter,
        prefix="config.fat.",
    )
    for name in ("budgets", "boundaries"):
        if not isinstance(settings[name], list | tuple):
            raise ValueError(f"config.fat.{name} must be a tuple, got {settings[name]!r}")
    budgets, boundaries = tuple(settings.budgets), tuple(settings.boundaries)
    try:
        for i, budget in enumerate(budgets):
            check_count(f"config.fat.budgets[{i}]", budget)
    except ValueError as error:
        raise ValueError(
            f"config.fat.budgets must be whole numbers of at least 0, got {budgets}"
        ) from error
    for i, boundary in enumerate(boundaries):
        check_number(f"config.fat.boundaries[{i}]", boundary, low=0)
    if len(budgets) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
        raise ValueError(
            "config.fat.boundaries must be epochs in rising order, one fewer than "
            f"config.fat.budgets, got {boundaries} and {budgets}"
        )


FAT = MethodSpec(
    "fat",
    "FAT",
    (ViewSpec("fat", "FAT", "clean"),),
    _build,
    _check,
    {**ASCENT_CURVES, "budget": "Budget τ of a sample"},
)
"""Friendly adversarial training: PGD that goes on for τ steps after the first success."""
