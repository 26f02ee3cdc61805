"""MaxUp (Gong et al., CVPR 2021): cross-entropy on the worst of several AugMix images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from augmax_jax import adversary, augment
from augmax_jax.methods.advmix import SEARCH_CURVES
from augmax_jax.methods.base import (
    Diagnostics,
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    View,
    ViewSpec,
    stateless,
)
from augmax_jax.methods.settings import chain_settings
from augmax_jax.runtime.checks import check_count

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def _build(setup: Setup) -> Method:
    chains = chain_settings(setup.config)
    copies = setup.config.maxup.copies
    route = setup.routes["maxup"]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        # The network judges the copies in eval mode, as in every attack here.
        worst = adversary.worst_of_k(
            inputs.keys,
            lambda x: inputs.logits_fn(x, route),
            lambda keys: augment.augmix(keys, inputs.images, **chains),
            inputs.labels,
            k=copies,
        )
        return [View("maxup", worst.images, route, 1.0, False)], {
            "worst_loss": worst.loss.mean(),
            "first_loss": worst.first_loss.mean(),
        }

    return stateless(views)


def _check(config: ConfigDict) -> None:
    check_count("config.maxup.copies", config.maxup.copies, low=1)


MAXUP = MethodSpec(
    "maxup", "MaxUp", (ViewSpec("maxup", "MaxUp", "clean"),), _build, _check, SEARCH_CURVES
)
"""MaxUp: cross-entropy on the worst of several random AugMix images alone."""
