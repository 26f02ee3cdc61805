"""Training methods: each turns a batch into views of it; one step turns views into a loss.

A view is a batch of images, the norm route it takes, its weight in the classification
loss, and whether it takes part in the consistency term. Every row of the paper's tables
is a method plus a config.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from augmax_jax import adversary, augment
from augmax_jax.config import operator_names
from augmax_jax.errors import check_name

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


# (logits_fn, keys [B], images uint8 [B, H, W, 3], labels [B]) -> views and diagnostics.
# The views are forwarded in the order given.
Method = Callable[
    [RoutedLogitsFn, jax.Array, jax.Array, jax.Array], tuple[list[View], dict[str, jax.Array]]
]


def to_float(images: jax.Array) -> jax.Array:
    """uint8 in 0..255 to float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def chain_settings(config: ConfigDict) -> dict:
    """The keyword arguments of `sample_chains` from `config.augment`."""
    settings = config.augment
    return {
        "width": settings.width,
        "depth": settings.depth,
        "severity": settings.severity,
        "operators": operator_names(config),
    }


def maximise(
    logits_fn: adversary.LogitsFn,
    keys: jax.Array,
    images: jax.Array,
    chains: jax.Array,
    labels: jax.Array,
    config: ConfigDict,
    num_classes: int,
) -> adversary.AugMaxResult:
    """The inner maximisation from a random start, as `config.adversary` sets it."""
    settings = config.adversary
    keys = jax.vmap(jax.random.split)(keys)
    m, p = adversary.random_start(keys[:, 0], images.shape[0], chains.shape[1])
    targets = None
    if settings.targeted:
        targets = adversary.random_targets(keys[:, 1], labels, num_classes)
    return adversary.augmax(
        logits_fn,
        images,
        chains,
        labels,
        m,
        p,
        steps=settings.steps,
        step_size=settings.step_size,
        patience=settings.patience,
        early_stop=settings.early_stop,
        count_initial=settings.count_initial,
        targets=targets,
        compact=settings.compact and (settings.chunk or True),
    )


def normal(config: ConfigDict, num_classes: int) -> Method:
    """Standard training: the clean view alone."""
    del num_classes

    route = routes(config)["clean"]

    def views(logits_fn, keys, images, labels):
        del logits_fn, keys, labels
        return [View("clean", to_float(images), route, 1.0, False)], {}

    return views


def augmix(config: ConfigDict, num_classes: int) -> Method:
    """AugMix: cross-entropy on the clean view, consistency with two random mixes (spec §7)."""
    del num_classes
    chains = chain_settings(config)
    route = routes(config)

    def views(logits_fn, keys, images, labels):
        del logits_fn, labels
        keys = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
        mixes = [augment.augmix(keys[:, i], images, **chains) for i in range(2)]
        return [
            View("augmix_1", mixes[0], route["augmix"], 0.0, True),
            View("augmix_2", mixes[1], route["augmix"], 0.0, True),
            View("clean", to_float(images), route["clean"], 1.0, True),
        ], {}

    return views


def augmax(config: ConfigDict, num_classes: int) -> Method:
    """AugMax: clean, AugMix and adversarially mixed views (Eq. 5, Algorithm 2).

    `config.objective.variant` "paper" puts weight ½ on the clean and ½ on the AugMax
    view and sends both augmented views over the augmented route; "released" does as the
    released code: weight 1 on the clean view alone, the AugMix view over the clean route.
    """
    chains = chain_settings(config)
    route = routes(config)
    variant = VARIANTS[config.objective.variant]

    def views(logits_fn, keys, images, labels):
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        x_augmix = augment.augmix(keys[:, 0], images, **chains)
        result = maximise(
            lambda x: logits_fn(x, route["augmax"]),
            keys[:, 1],
            images,
            augment.sample_chains(keys[:, 2], images, **chains),
            labels,
            config,
            num_classes,
        )
        # The released code's order; it decides only what single-norm statistics see last.
        return [
            View("augmax", result.images, route["augmax"], variant.augmax_weight, True),
            View("augmix", x_augmix, route["augmix"], 0.0, True),
            View("clean", to_float(images), route["clean"], variant.clean_weight, True),
        ], {"ascent_steps": result.steps.mean(), "skip_weight": result.m.mean()}

    return views


class Variant(NamedTuple):
    """Where the paper and its released code differ in the objective (spec §4, §10)."""

    clean_weight: float
    augmax_weight: float
    routes: dict[str, str]


VARIANTS = {
    "paper": Variant(0.5, 0.5, {"clean": "clean", "augmix": "augmented", "augmax": "augmented"}),
    "released": Variant(1.0, 0.0, {"clean": "clean", "augmix": "clean", "augmax": "augmented"}),
}


def routes(config: ConfigDict) -> dict[str, str]:
    """The norm route of each kind of view: the variant's, unless the config names one."""
    chosen = dict(VARIANTS[config.objective.variant].routes)
    chosen.update({view: route for view, route in config.objective.routes.items() if route})
    return chosen


METHODS: dict[str, Callable[[ConfigDict, int], Method]] = {
    "normal": normal,
    "augmix": augmix,
    "augmax": augmax,
}


def create(config: ConfigDict, num_classes: int) -> Method:
    """The method that `config.method` names.

    Raises:
        ValueError: the name is unknown.
    """
    check_name("method", config.method, METHODS)
    return METHODS[config.method](config, num_classes)
