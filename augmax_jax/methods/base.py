"""What a method is: from a batch to views of it, with a state of its own if it needs one."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from augmax_jax.methods.settings import operator_names

# (float images [B', H, W, 3], route) -> logits of the network in eval mode.
RoutedLogitsFn = Callable[[jax.Array, str], jax.Array]


class View(NamedTuple):
    """One version of the batch on its way through the network.

    Attributes:
        name: "clean", "augmix", "augmax", ...
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
    """What a method gets to see of a step: one device's share of the batch.

    Attributes:
        logits_fn: the network as it stands, in eval mode, on the route asked for.
        keys: one key per example `[B]`, whatever the device it lies on.
        images: uint8 `[B, H, W, 3]`, after flip and crop.
        labels: int `[B]`.
        place: place of each example in the global batch, int `[B]`.
        key: one key of the step, the same on every device.
        step: steps taken before this one, int32 scalar.
        mean: averages a pytree over the devices.
    """

    logits_fn: RoutedLogitsFn
    keys: jax.Array
    images: jax.Array
    labels: jax.Array
    place: jax.Array
    key: jax.Array
    step: jax.Array
    mean: Callable[[Any], Any]


class Clock(NamedTuple):
    """Turns steps into epochs: the epoch of a step is that of its first example.

    Attributes:
        batch_size: examples in a step.
        examples: examples in an epoch.
    """

    batch_size: int
    examples: int

    def epoch(self, step: jax.Array) -> jax.Array:
        """Epochs completed before this step, counted from 0."""
        return step * self.batch_size // self.examples

    def starts_epoch(self, step: jax.Array) -> jax.Array:
        """Whether this is the first step of an epoch."""
        return (step == 0) | (self.epoch(step) != self.epoch(step - 1))


Diagnostics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Method:
    """A training method.

    Attributes:
        views: from the inputs of a step and the method's state to the views, in the order
            in which they are forwarded, scalars for the log, and the next state.
        init: from a key to the first state, a pytree of arrays; None for most methods. The
            state is the same on every device, and is saved with the run.
    """

    views: Callable[[StepInputs, Any], tuple[list[View], Diagnostics, Any]]
    init: Callable[[jax.Array], Any] = lambda key: None


def stateless(views: Callable[[StepInputs], tuple[list[View], Diagnostics]]) -> Method:
    """A method without a state, from a function of the inputs alone."""
    return Method(lambda inputs, state: (*views(inputs), state))


def to_float(images: jax.Array) -> jax.Array:
    """uint8 in 0..255 to float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def split_keys(keys: jax.Array, count: int) -> list[jax.Array]:
    """`count` independent arrays of keys `[B]`."""
    split = jax.vmap(lambda key: jax.random.split(key, count))(keys)
    return [split[:, i] for i in range(count)]


def step_diagnostics(taken: jax.Array, most: int) -> Diagnostics:
    """What the log keeps of an ascent: its mean length, and the share of samples of each length.

    Args:
        taken: steps that each sample took, int `[B]`.
        most: steps that it could take.

    Returns:
        "ascent_steps", and "ascent_steps/0" to "ascent_steps/<most>", which add up to 1.
    """
    shares = {f"ascent_steps/{t}": jnp.mean(taken == t) for t in range(most + 1)}
    return {"ascent_steps": taken.mean(), **shares}


def chain_settings(config: ConfigDict) -> dict:
    """The keyword arguments of `sample_chains` from `config.augment`."""
    settings = config.augment
    return {
        "width": settings.width,
        "depth": settings.depth,
        "severity": settings.severity,
        "operators": operator_names(config),
    }


class Variant(NamedTuple):
    """Where the paper and its released code differ in the objective (spec §4, §10)."""

    clean_weight: float
    augmax_weight: float
    augmix_route: str


VARIANTS = {
    "paper": Variant(clean_weight=0.5, augmax_weight=0.5, augmix_route="augmented"),
    "released": Variant(clean_weight=1.0, augmax_weight=0.0, augmix_route="clean"),
}

# What each method's views are called where the config speaks of routes.
VIEWS_OF = {
    "normal": ("clean",),
    "augmix": ("clean", "augmix"),
    "augmax": ("clean", "augmix", "augmax"),
    "pgd_at": ("pgd",),
    "fat": ("fat",),
    "augmix_pgd": ("clean", "augmix", "pgd"),
    "advmix": ("clean", "augmix", "advmix"),
    "advmax": ("clean", "augmix", "advmax"),
    "ant": ("ant",),
    "maxup": ("maxup",),
}


def routes(config: ConfigDict) -> dict[str, str]:
    """The norm route of each kind of view: as the config names it, or the method's own.

    Methods with a single view send it over the clean route, which evaluation uses. Others
    send the images as they are over the clean route and what they make of them over the
    augmented one; the variant decides for the AugMix view. Networks with a single batch
    norm take no notice.
    """
    single = len(VIEWS_OF[config.method]) == 1
    chosen = {}
    for view, route in config.objective.routes.items():
        if route:
            chosen[view] = route
        elif view == "clean" or single:
            chosen[view] = "clean"
        elif view == "augmix":
            chosen[view] = VARIANTS[config.objective.variant].augmix_route
        else:
            chosen[view] = "augmented"
    return chosen
