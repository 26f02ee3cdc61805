"""Methods that mix an image with its augmentations: AugMix, AugMax, AdvMix, AdvMax, MaxUp."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from augmax_jax import adversary, augment
from augmax_jax.methods.base import (
    VARIANTS,
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

# (inputs, two arrays of keys [B], route of the view) -> images float32 [B, H, W, 3], and scalars.
Attack = Callable[[StepInputs, list[jax.Array], str], tuple[jax.Array, Diagnostics]]


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
    start_keys, target_keys = split_keys(keys, 2)
    start = adversary.random_start(start_keys, images.shape[0], chains.shape[1])
    return _ascend(
        logits_fn, target_keys, images, chains, labels, start, config.adversary, num_classes
    )


def _ascend(
    logits_fn: adversary.LogitsFn,
    keys: jax.Array,
    images: jax.Array,
    chains: jax.Array,
    labels: jax.Array,
    start: tuple[jax.Array, jax.Array],
    settings: ConfigDict,
    num_classes: int,
) -> adversary.AugMaxResult:
    """The inner maximisation from a given start (m, p); keys draw targets, if any."""
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
        compact=settings.compact and (settings.chunk or True),
    )


def normal(config: ConfigDict, num_classes: int) -> Method:
    """Standard training: the clean view alone."""
    del num_classes
    route = routes(config)["clean"]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        return [View("clean", to_float(inputs.images), route, 1.0, False)], {}

    return stateless(views)


def augmix(config: ConfigDict, num_classes: int) -> Method:
    """AugMix: cross-entropy on the clean view, consistency with two random mixes (spec §7)."""
    del num_classes
    chains = chain_settings(config)
    route = routes(config)

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        mixes = [
            augment.augmix(keys, inputs.images, **chains) for keys in split_keys(inputs.keys, 2)
        ]
        return [
            View("augmix_1", mixes[0], route["augmix"], 0.0, True),
            View("augmix_2", mixes[1], route["augmix"], 0.0, True),
            View("clean", to_float(inputs.images), route["clean"], 1.0, True),
        ], {}

    return stateless(views)


def _with_attack(name: str, config: ConfigDict, attack: Attack) -> Method:
    """Clean, AugMix and attacked views under the AugMax objective (Eq. 5, Algorithm 2).

    `config.objective.variant` "paper" puts weight ½ on the clean and ½ on the attacked view
    and sends both augmented views over the augmented route; "released" does as the released
    code: weight 1 on the clean view alone, the AugMix view over the clean route.
    """
    chains = chain_settings(config)
    route = routes(config)
    variant = VARIANTS[config.objective.variant]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        augmix_keys, *attack_keys = split_keys(inputs.keys, 3)
        x_augmix = augment.augmix(augmix_keys, inputs.images, **chains)
        attacked, diagnostics = attack(inputs, attack_keys, route[name])
        # The released code's order; it decides only what single-norm statistics see last.
        return [
            View(name, attacked, route[name], variant.augmax_weight, True),
            View("augmix", x_augmix, route["augmix"], 0.0, True),
            View("clean", to_float(inputs.images), route["clean"], variant.clean_weight, True),
        ], diagnostics

    return stateless(views)


def augmax(config: ConfigDict, num_classes: int) -> Method:
    """AugMax: mixing weights learned against the network (Algorithm 1)."""
    chains = chain_settings(config)

    def attack(inputs, keys, route):
        ascent_keys, chain_keys = keys
        result = maximise(
            lambda x: inputs.logits_fn(x, route),
            ascent_keys,
            inputs.images,
            augment.sample_chains(chain_keys, inputs.images, **chains),
            inputs.labels,
            config,
            num_classes,
        )
        return result.images, {
            **step_diagnostics(result.steps, config.adversary.steps),
            "skip_weight": result.m.mean(),
        }

    return _with_attack("augmax", config, attack)


def _worst_levels(
    inputs: StepInputs,
    logits_fn: adversary.LogitsFn,
    chain_keys: jax.Array,
    level_keys: jax.Array,
    m: jax.Array,
    w: jax.Array,
    config: ConfigDict,
) -> adversary.WorstOfKResult:
    """Chains of fixed operators at the worst of k draws of their levels and signs.

    Args:
        inputs: of the step.
        logits_fn: the network.
        chain_keys: draw depths and operators, `[B]`.
        level_keys: draw levels and signs, `[B]`.
        m: skip weights with which each draw is judged, `[B]`.
        w: chain weights likewise, `[B, K]`.
        config: the run's.
    """
    chains = chain_settings(config)
    return adversary.worst_of_k(
        level_keys,
        logits_fn,
        lambda keys: augment.sample_chains(chain_keys, inputs.images, **chains, level_key=keys),
        inputs.labels,
        k=config.worst_of_k.k,
        to_images=lambda drawn: augment.mix(inputs.images, drawn, m, w),
    )


def advmix(config: ConfigDict, num_classes: int) -> Method:
    """AdvMix: AugMix's operators and weights, the worst of k draws of levels (App. B)."""
    del num_classes

    def attack(inputs, keys, route):
        weight_keys, level_keys = split_keys(keys[0], 2)
        m, w = augment.sample_mixing_weights(
            weight_keys, inputs.images.shape[0], config.augment.width
        )
        worst = _worst_levels(
            inputs, lambda x: inputs.logits_fn(x, route), keys[1], level_keys, m, w, config
        )
        return worst.images, {
            "worst_loss": worst.loss.mean(),
            "first_loss": worst.first_loss.mean(),
        }

    return _with_attack("advmix", config, attack)


def advmax(config: ConfigDict, num_classes: int) -> Method:
    """AdvMax: the worst of k draws of levels, then learned mixing weights, then stAdv (App. B).

    The draws are judged with the weights from which the ascent starts.
    """

    def attack(inputs, keys, route):
        def logits_fn(x):
            return inputs.logits_fn(x, route)

        start_keys, target_keys, level_keys = split_keys(keys[0], 3)
        batch = inputs.images.shape[0]
        m, p = adversary.random_start(start_keys, batch, config.augment.width)
        w = jax.nn.softmax(p)
        worst = _worst_levels(inputs, logits_fn, keys[1], level_keys, m, w, config)
        mixed = _ascend(
            logits_fn,
            target_keys,
            inputs.images,
            worst.candidate,
            inputs.labels,
            (m, p),
            config.adversary,
            num_classes,
        )
        settings = config.stadv
        warped = adversary.stadv(
            logits_fn,
            mixed.images,
            inputs.labels,
            steps=settings.steps,
            step_size=settings.step_size,
            max_flow=settings.max_flow,
            smoothness=settings.smoothness,
        )
        return warped.images, {
            **step_diagnostics(mixed.steps, config.adversary.steps),
            "skip_weight": mixed.m.mean(),
            "flow": jnp.abs(warped.flow).mean(),
        }

    return _with_attack("advmax", config, attack)


def maxup(config: ConfigDict, num_classes: int) -> Method:
    """MaxUp: cross-entropy on the worst of several random AugMix images alone.

    After Gong et al., "MaxUp", CVPR 2021, whose augmentations are others. The network judges
    the copies in eval mode, as in every attack here.
    """
    del num_classes
    chains = chain_settings(config)
    route = routes(config)["maxup"]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        worst = adversary.worst_of_k(
            inputs.keys,
            lambda x: inputs.logits_fn(x, route),
            lambda keys: augment.augmix(keys, inputs.images, **chains),
            inputs.labels,
            k=config.maxup.copies,
        )
        return [View("maxup", worst.images, route, 1.0, False)], {
            "worst_loss": worst.loss.mean(),
            "first_loss": worst.first_loss.mean(),
        }

    return stateless(views)
