"""The parts of a method: its inputs, its views and its record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from augmax_jax.models import ROUTES
from augmax_jax.runtime.epochs import Epochs
from augmax_jax.runtime.errors import check_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# (float images [B', H, W, 3], route) -> logits of the network in eval mode.
RoutedLogitsFn = Callable[[jax.Array, str], jax.Array]

Diagnostics = dict[str, jax.Array]


class View(NamedTuple):
    """One version of the batch, and how it goes through the network and into the loss.

    Attributes:
        name: "clean", "augmix_1", "augmax", ...: one of `MethodSpec.view_labels`.
        images: float32 `[B, H, W, 3]` in [0, 1].
        route: norm route, "clean" or "augmented".
        weight: its weight in the classification loss.
        consistent: whether it takes part in the consistency term.
    """

    name: str
    images: jax.Array
    route: str
    weight: float
    consistent: bool


class StepInputs(NamedTuple):
    """The inputs of a method in one step: one device's share of the batch.

    Attributes:
        logits_fn: the present network, in eval mode, on a given route.
        keys: one key per example `[B]`; it does not depend on the example's device.
        images: uint8 `[B, H, W, 3]`, after flip and crop.
        labels: int `[B]`.
        position: index of each example in the global batch, int `[B]`.
        key: one key of the step, the same on every device.
        step: steps taken before this one, int32 scalar.
        mean: averages a pytree over the devices.
    """

    logits_fn: RoutedLogitsFn
    keys: jax.Array
    images: jax.Array
    labels: jax.Array
    position: jax.Array
    key: jax.Array
    step: jax.Array
    mean: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Method:
    """A training method, built for a config.

    Attributes:
        views: function of the inputs of a step and the method's state. It returns the views, in
            the order in which they go through the network, scalars for the log, and the
            next state.
        init: function from a key to the first state, a pytree of arrays; None for most methods.
            The state is the same on every device, and is saved with the run.
    """

    views: Callable[[StepInputs, Any], tuple[list[View], Diagnostics, Any]]
    init: Callable[[jax.Array], Any] = lambda key: None


def stateless(views: Callable[[StepInputs], tuple[list[View], Diagnostics]]) -> Method:
    """A method without a state, from a function of the inputs alone."""
    return Method(lambda inputs, state: (*views(inputs), state))


class Setup(NamedTuple):
    """What a method is built from.

    Attributes:
        config: the run's config.
        num_classes: number of classes of the dataset.
        routes: the norm route of each kind of view of the method.
        epochs: turns steps into epochs, for methods that change with them.
    """

    config: ConfigDict
    num_classes: int
    routes: Mapping[str, str]
    epochs: Epochs


class Variant(NamedTuple):
    """Weights in the classification loss of methods with an attacked view."""

    clean_weight: float
    attacked_weight: float


# The weights of the paper's Eq. 5, and those of its released code (which also sends the AugMix
# view over another route: `ViewSpec.released_route`).
RELEASED = "released"
VARIANTS = {"paper": Variant(0.5, 0.5), RELEASED: Variant(1.0, 0.0)}


class ViewSpec(NamedTuple):
    """A kind of view, as a method's record lists it.

    Attributes:
        name: what `config.objective.routes` calls it.
        label: what reports call it.
        route: its norm route unless the config says otherwise, "clean" or "augmented".
        released_route: the route under `config.objective.variant = "released"`; None: `route`.
        copies: how many views of this kind a step makes. The log calls one view `name`, several
            views `name_1`, `name_2`, ...
    """

    name: str
    label: str
    route: str
    released_route: str | None = None
    copies: int = 1

    @property
    def log_names(self) -> tuple[str, ...]:
        """What the log calls the views of this kind."""
        if self.copies == 1:
            return (self.name,)
        return tuple(f"{self.name}_{i}" for i in range(1, self.copies + 1))


# The views of several methods. The released code sends AugMix images over the clean route.
CLEAN = ViewSpec("clean", "clean", "clean")
AUGMIX = ViewSpec("augmix", "AugMix", "augmented", released_route="clean")


@dataclasses.dataclass(frozen=True)
class MethodSpec:
    """The record of a method: all that the rest of the package knows about it.

    Attributes:
        name: `config.method`.
        label: its name in tables, as the paper writes it.
        views: the kinds of views it makes, in any order.
        build: makes the method; `Setup` has the config, the classes, the routes and the epochs.
        check: raises ValueError unless its own sections of the config are valid.
        curves: scalar that the method logs and reports draw -> title of its curve.
    """

    name: str
    label: str
    views: tuple[ViewSpec, ...]
    build: Callable[[Setup], Method]
    check: Callable[[ConfigDict], None] = lambda config: None
    curves: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for a record that names no view, or a route that does not exist."""
        if not self.views:
            raise ValueError(f"method {self.name!r} must have at least one view")
        for view in self.views:
            for route in (view.route, view.released_route or view.route):
                check_name(f"route of the {view.name} view", route, ROUTES)

    @property
    def view_labels(self) -> dict[str, str]:
        """Name of each view in the log -> its name in reports."""
        return {
            name: f"{view.label} {i}" if view.copies > 1 else view.label
            for view in self.views
            for i, name in enumerate(view.log_names, start=1)
        }


# What `ascent_diagnostics` logs and reports draw.
ASCENT_CURVES = {"ascent_steps": "Ascent steps of a sample, mean"}


def ascent_diagnostics(taken: jax.Array, most: int) -> Diagnostics:
    """The scalars of an ascent for the log: mean length, and the share of samples of each length.

    Args:
        taken: steps that each sample took, int `[B]`.
        most: steps that it could take.

    Returns:
        "ascent_steps", and the shares "ascent_steps/0" to "ascent_steps/<most>", which add up to 1.
    """
    shares = {f"ascent_steps/{t}": jnp.mean(taken == t) for t in range(most + 1)}
    return {"ascent_steps": taken.mean(), **shares}


def split_keys(keys: jax.Array, count: int) -> list[jax.Array]:
    """`count` independent arrays of keys `[B]`."""
    split = jax.vmap(lambda key: jax.random.split(key, count))(keys)
    return [split[:, i] for i in range(count)]
