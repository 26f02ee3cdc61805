"""AugMix (Hendrycks et al., ICLR 2020): consistency with two random mixes."""

from augmax_jax import augment
from augmax_jax.methods import base
from augmax_jax.methods.base import (
    CLEAN,
    Diagnostics,
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    View,
    split_keys,
    stateless,
)
from augmax_jax.methods.drawing import draw
from augmax_jax.methods.settings import chain_settings


def _build(setup: Setup) -> Method:
    chains = chain_settings(setup.config)
    route = setup.routes

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        mixes, _ = draw(inputs.images, chains, mixes=split_keys(inputs.keys, 2))
        return [
            View("augmix_1", mixes[0], route["augmix"], 0.0, True),
            View("augmix_2", mixes[1], route["augmix"], 0.0, True),
            View("clean", augment.to_float(inputs.images), route["clean"], 1.0, True),
        ], {}

    return stateless(views)


AUGMIX = MethodSpec("augmix", "AugMix", (CLEAN, base.AUGMIX._replace(copies=2)), _build)
"""AugMix: cross-entropy on the clean view, and consistency with two random mixes."""
