"""The methods by name, and the lists derived from their records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from augmax_jax.methods.advmix import ADVMAX, ADVMIX
from augmax_jax.methods.ant import ANT
from augmax_jax.methods.augmax import AUGMAX
from augmax_jax.methods.augmix import AUGMIX
from augmax_jax.methods.base import (
    RELEASED,
    Diagnostics,
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    View,
)
from augmax_jax.methods.fat import FAT
from augmax_jax.methods.maxup import MAXUP
from augmax_jax.methods.normal import NORMAL
from augmax_jax.methods.pgd import AUGMIX_PGD, PGD_AT
from augmax_jax.methods.settings import check_augment, check_compaction, check_objective
from augmax_jax.models import statistics_collections
from augmax_jax.runtime.epochs import Epochs
from augmax_jax.runtime.errors import check_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

METHODS: dict[str, MethodSpec] = {
    spec.name: spec
    for spec in (
        NORMAL, AUGMIX, AUGMAX, PGD_AT, FAT, AUGMIX_PGD, ADVMIX, ADVMAX, ANT, MAXUP,
    )
}  # fmt: skip


def register(spec: MethodSpec) -> None:
    """Makes a method known by its name: to configs, checks, reports and benchmarks.

    Call it before `config.defaults()`, so that the config has a route for each of its views.

    Raises:
        ValueError: another method has this name.
    """
    if METHODS.get(spec.name, spec) is not spec:
        raise ValueError(f"there is already a method {spec.name!r}: choose another name")
    METHODS[spec.name] = spec


def create(config: ConfigDict, num_classes: int, *, examples: int | None = None) -> Method:
    """The method that `config.method` names.

    Args:
        config: the run's config.
        num_classes: number of classes of the dataset.
        examples: number of examples in an epoch; None: one epoch is one step.

    Raises:
        ValueError: the name is unknown.
    """
    check_name("method", config.method, METHODS)
    epochs = Epochs(config.batch_size, examples or config.batch_size)
    spec = METHODS[config.method]
    method = spec.build(Setup(config, num_classes, routes(config), epochs))
    weights = _weights(config, spec)
    return _weighted(method, weights) if weights else method


def _weights(config: ConfigDict, spec: MethodSpec) -> dict[str, float]:
    """Name of a view in the log -> its weight, for the views that the config gives one."""
    return {
        name: weight
        for view in spec.views
        if (weight := config.objective.weights.get(view.name)) is not None
        for name in view.log_names
    }


def _weighted(method: Method, weights: Mapping[str, float]) -> Method:
    """A method whose views have other weights in the classification loss."""

    def views(inputs: StepInputs, state: Any) -> tuple[list[View], Diagnostics, Any]:
        made, diagnostics, after = method.views(inputs, state)
        chosen = [view._replace(weight=weights.get(view.name, view.weight)) for view in made]
        if not any(view.weight for view in chosen):
            raise ValueError(
                "config.objective.weights must leave a view with a weight above 0, from whose "
                f"labels the network learns, got 0 for all of {', '.join(v.name for v in made)}"
            )
        return chosen, diagnostics, after

    return Method(views, method.init)


def view_names() -> tuple[str, ...]:
    """The kinds of views of all methods, each of which `config.objective.routes` has."""
    return tuple(dict.fromkeys(view.name for spec in METHODS.values() for view in spec.views))


def view_labels() -> dict[str, str]:
    """Name of each view of any method in the log -> its name in reports."""
    return {name: label for spec in METHODS.values() for name, label in spec.view_labels.items()}


def curves() -> dict[str, str]:
    """Scalars that methods log and reports draw -> title of the curve."""
    return {name: title for spec in METHODS.values() for name, title in spec.curves.items()}


def routes(config: ConfigDict) -> dict[str, str]:
    """The norm route of each kind of view of the method: the config's, or else the method's own.

    Methods with a single view send it over the clean route, which evaluation uses. Other methods
    send unchanged images over the clean route and images that they made over the augmented route;
    `config.objective.variant` decides for the AugMix view. A network with a single batch norm
    ignores routes.
    """
    released = config.objective.variant == RELEASED
    chosen = {}
    for view in METHODS[config.method].views:
        usual = (view.released_route or view.route) if released else view.route
        chosen[view.name] = config.objective.routes.get(view.name) or usual
    return chosen


def check(config: ConfigDict) -> None:
    """Checks every setting that says how a batch becomes views and views become a loss.

    These are `method`, `objective`, `augment`, `compaction`, and the own sections of every
    method, also of those that are not chosen: a wrong value is an error even if it is not used.

    Args:
        config: the run's config; `config.model.norm` must have been checked.

    Raises:
        ValueError: a setting is not valid; the message has its name, value and what is allowed.
    """
    check_name("method", config.method, METHODS)
    check_objective(config)
    check_augment(config)
    check_compaction(config)
    for spec in METHODS.values():
        spec.check(config)
    _check_routes(config)


def _check_routes(config: ConfigDict) -> None:
    """A network with two batch norms must be trained on the one that evaluation uses."""
    used = routes(config)
    if len(statistics_collections(config.model.norm)) > 1 and "clean" not in used.values():
        listed = ", ".join(f"{view} -> {route}" for view, route in used.items())
        raise ValueError(
            f"config.model.norm={config.model.norm!r} keeps a batch norm for each route and "
            f"evaluation uses the clean one, which method {config.method!r} would never train "
            f"({listed}): set config.objective.routes.{next(iter(used))}='clean', or a norm "
            "with one batch norm (bn or ibn)"
        )
