"""Settings that several methods share: how they are read and what they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from augmax_jax.augment.arguments import check_chain_settings
from augmax_jax.augment.operators import ALL, SETS
from augmax_jax.methods.base import VARIANTS
from augmax_jax.models import ROUTES
from augmax_jax.runtime.checks import check_count, check_flag, check_number
from augmax_jax.runtime.errors import check_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

FORWARDS = ("separate", "joint")


def operator_names(config: ConfigDict) -> tuple[str, ...]:
    """The operators that `config.augment.operators` names: a set's name, or names.

    Raises:
        ValueError: the setting is neither text nor a sequence of names, has no name, or has an
            unknown one.
    """
    value = config.augment.operators
    if isinstance(value, str):
        if value in SETS:
            return SETS[value]
        value = value.split(",")
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"config.augment.operators must be one of {', '.join(map(repr, SETS))}, or operators "
            f"separated by commas, got {value!r}"
        )
    names = tuple(name.strip() for name in value)
    if not names:
        raise ValueError("config.augment.operators must name at least one operator, got none")
    for name in names:
        check_name("operator", name, ALL)
    return names


def chain_settings(config: ConfigDict) -> dict[str, Any]:
    """The keyword arguments of `augment.sample_chains`, from `config.augment`."""
    settings = config.augment
    return {
        "width": settings.width,
        "depth": settings.depth,
        "severity": settings.severity,
        "operators": operator_names(config),
    }


def compaction(config: ConfigDict) -> bool | int:
    """The `compact` of an adversary, from `config.compaction`."""
    settings = config.compaction
    return (settings.chunk or True) if settings.enabled else False


def check_augment(config: ConfigDict) -> None:
    """Raises ValueError unless `config.augment` is valid."""
    settings = config.augment
    check_chain_settings(
        settings.width, settings.depth, settings.severity, prefix="config.augment."
    )
    check_count("config.augment.padding", settings.padding)
    operator_names(config)


def check_compaction(config: ConfigDict) -> None:
    """Raises ValueError unless `config.compaction` is valid."""
    check_flag("config.compaction.enabled", config.compaction.enabled)
    check_count("config.compaction.chunk", config.compaction.chunk)


def check_objective(config: ConfigDict) -> None:
    """Raises ValueError unless `config.objective` is valid; routes are checked with the method."""
    settings = config.objective
    check_name("objective variant", settings.variant, VARIANTS)
    check_name("objective.forwards", settings.forwards, FORWARDS)
    check_number("config.objective.consistency_weight", settings.consistency_weight, low=0)
    check_number("config.objective.ramp_epochs", settings.ramp_epochs, low=0)
    check_number(
        "config.objective.label_smoothing",
        settings.label_smoothing,
        low=0,
        high=1,
        below_high=True,
    )
    for name in ("routes", "weights"):
        if not hasattr(settings[name], "items"):  # a mapping or a ConfigDict
            raise ValueError(
                f"config.objective.{name} must map views to {name}, got {settings[name]!r}"
            )
    for view, weight in settings.weights.items():
        if weight is not None:
            check_number(f"config.objective.weights.{view}", weight, low=0)
    for view, route in settings.routes.items():
        if route:
            check_name(f"route of the {view} view", route, ROUTES)
        elif route is not None and route != "":
            raise ValueError(
                f"config.objective.routes.{view} must be one of {', '.join(ROUTES)}, or None for "
                f"the method's own, got {route!r}"
            )
