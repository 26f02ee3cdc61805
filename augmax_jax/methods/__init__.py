"""Training methods: each turns a batch into views of it; one step turns views into a loss.

A view is a batch of images, the norm route it takes, its weight in the classification
loss, and whether it takes part in the consistency term. Every row of the paper's tables
is a method plus a config. docs/methods.md says what each method does and costs.
"""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from augmax_jax.methods.adversarial import augmix_pgd, fat, pgd_at
from augmax_jax.methods.ant import ant
from augmax_jax.methods.base import (
    VARIANTS,
    VIEWS_OF,
    Clock,
    Method,
    RoutedLogitsFn,
    StepInputs,
    Variant,
    View,
    chain_settings,
    routes,
    to_float,
)
from augmax_jax.methods.mixing import advmax, advmix, augmax, augmix, maximise, maxup, normal
from augmax_jax.runtime.errors import check_name

__all__ = [
    "METHODS",
    "VARIANTS",
    "VIEWS_OF",
    "Clock",
    "Method",
    "RoutedLogitsFn",
    "StepInputs",
    "Variant",
    "View",
    "chain_settings",
    "create",
    "maximise",
    "routes",
    "to_float",
]

METHODS: dict[str, Callable[..., Method]] = {
    "normal": normal,
    "augmix": augmix,
    "augmax": augmax,
    "pgd_at": pgd_at,
    "fat": fat,
    "augmix_pgd": augmix_pgd,
    "advmix": advmix,
    "advmax": advmax,
    "ant": ant,
    "maxup": maxup,
}
# Methods that change with the epoch.
_TIMED = ("ant", "fat")


def create(config: ConfigDict, num_classes: int, *, examples: int | None = None) -> Method:
    """The method that `config.method` names.

    Args:
        config: the run's.
        num_classes: of the dataset.
        examples: in an epoch; None: one epoch lasts one step.

    Raises:
        ValueError: the name is unknown.
    """
    check_name("method", config.method, METHODS)
    options: dict[str, Any] = {}
    if config.method in _TIMED:
        options["clock"] = Clock(config.batch_size, examples or config.batch_size)
    return METHODS[config.method](config, num_classes, **options)
