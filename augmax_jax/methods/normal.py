"""Standard training."""

from augmax_jax.augment import to_float
from augmax_jax.methods.base import (
    CLEAN,
    Diagnostics,
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    View,
    stateless,
)


def _build(setup: Setup) -> Method:
    route = setup.routes["clean"]

    def views(inputs: StepInputs) -> tuple[list[View], Diagnostics]:
        return [View("clean", to_float(inputs.images), route, 1.0, False)], {}

    return stateless(views)


NORMAL = MethodSpec("normal", "Normal", (CLEAN,), _build)
"""Standard training: the clean view alone."""
