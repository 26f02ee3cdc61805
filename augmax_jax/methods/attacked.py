"""The AugMax objective with an attacked view in AugMax's place (paper, Eq. 5 and Algorithm 2)."""

from collections.abc import Callable

import jax

from augmax_jax import adversary, augment
from augmax_jax.methods.base import (
    AUGMIX,
    CLEAN,
    VARIANTS,
    Diagnostics,
    Method,
    Setup,
    StepInputs,
    View,
    ViewSpec,
    split_keys,
    stateless,
)
from augmax_jax.methods.drawing import draw
from augmax_jax.methods.settings import chain_settings

# (inputs, keys [B], keys or chains, network on the attacked view's route)
# -> images float32 [B, H, W, 3] in [0, 1], and scalars for the log.
Attack = Callable[
    [StepInputs, jax.Array, jax.Array, adversary.LogitsFn], tuple[jax.Array, Diagnostics]
]


def with_attacked(name: str, label: str) -> tuple[ViewSpec, ...]:
    """The views of a method with an attacked view of this name."""
    return CLEAN, AUGMIX, ViewSpec(name, label, "augmented")


def attacked_method(
    name: str, setup: Setup, attack: Attack, *, draws_chains: bool = False
) -> Method:
    """Clean, AugMix and attacked views under the AugMax objective.

    `config.objective.variant` "paper" puts weight ½ on the clean and ½ on the attacked view
    and sends both augmented views over the augmented route. "released" does what the released
    code does: weight 1 on the clean view alone, and the AugMix view over the clean route.

    Args:
        name: name of the attacked view.
        setup: what the method is built from.
        attack: makes the attacked images.
        draws_chains: whether `attack` takes chains, uint8 `[B, K, H, W, 3]`, in place of its second
            keys, with which they are drawn.
    """
    chains = chain_settings(setup.config)
    route = setup.routes
    variant = VARIANTS[setup.config.objective.variant]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        augmix_keys, attack_keys, second = split_keys(inputs.keys, 3)
        (x_augmix,), drawn = draw(
            inputs.images, chains, mixes=[augmix_keys], chains=[second] if draws_chains else []
        )
        images, diagnostics = attack(
            inputs,
            attack_keys,
            drawn[0] if draws_chains else second,
            lambda x: inputs.logits_fn(x, route[name]),
        )
        # The released code's order; it matters only to the running statistics of single norms.
        return [
            View(name, images, route[name], variant.attacked_weight, True),
            View("augmix", x_augmix, route["augmix"], 0.0, True),
            View(
                "clean",
                augment.to_float(inputs.images),
                route["clean"],
                variant.clean_weight,
                True,
            ),
        ], diagnostics

    return stateless(views)
