"""What a run carries from step to step, and how it starts."""

import dataclasses
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from augmax_jax.runtime import compiler


@flax.struct.dataclass
class TrainState:
    """All that a run carries from step to step.

    Attributes:
        step: steps taken, int32 scalar.
        params: the network's parameters.
        statistics: its collections of running statistics, by collection name.
        opt_state: the optimizer's state.
        method_state: the training method's own state; None for most methods.
        average: moving average of parameters and statistics, as `variables` has them; None without
            `config.optimizer.ema`.
    """

    step: jax.Array
    params: Any
    statistics: dict[str, Any]
    opt_state: optax.OptState
    method_state: Any = None
    average: dict[str, Any] | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that `model.apply` takes."""
        return {"params": self.params, **self.statistics}

    def with_variables(self, variables: dict[str, Any]) -> "TrainState":
        """The same state with other parameters and statistics."""
        statistics = dict(variables)
        params = statistics.pop("params")
        return dataclasses.replace(self, params=params, statistics=statistics)


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    image_shape: tuple[int, int, int],
) -> TrainState:
    """Initialises a network, its statistics and the optimizer's state.

    Args:
        model: from `models.create`.
        optimizer: from `optimizer.create`.
        key: one key.
        image_shape: (H, W, 3).

    Returns:
        The state before the first step, on one device.
    """
    # Inside another traced function (`jax.eval_shape`) the outer one has the compiler's options.
    outermost = not isinstance(key, jax.core.Tracer)
    init = jax.jit(
        lambda key: model.init(key, jnp.zeros((1, *image_shape)), route="clean"),
        compiler_options=compiler.jit_options(jax.default_backend(), once=True)
        if outermost
        else {},
    )
    statistics = dict(init(key))
    params = statistics.pop("params")
    return TrainState(jnp.zeros((), jnp.int32), params, statistics, optimizer.init(params))
