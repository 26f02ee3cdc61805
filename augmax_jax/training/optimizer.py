"""SGD as the reference implementations run it, with its learning-rate schedules.

The paper's schedules are in its Sec. 5: cosine on CIFAR, steps on ImageNet and Tiny ImageNet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from augmax_jax.runtime.checks import check_number
from augmax_jax.runtime.epochs import Epochs
from augmax_jax.runtime.errors import check_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SCHEDULES = ("cosine", "step", "constant")
UNITS = ("epoch", "step")
ON_NONFINITE = ("stop", "skip")


def check(config: ConfigDict) -> None:
    """Checks the settings of the optimizer.

    Args:
        config: `config.optimizer`.

    Raises:
        ValueError: a setting is not valid; the message has its name, value and what is allowed.
    """
    check_name("config.optimizer.schedule", config.schedule, SCHEDULES)
    check_name("config.optimizer.schedule_unit", config.schedule_unit, UNITS)
    check_name("config.optimizer.on_nonfinite", config.on_nonfinite, ON_NONFINITE)
    for name in ("learning_rate", "weight_decay", "factor", "warmup_epochs"):
        check_number(f"config.optimizer.{name}", config[name], low=0)
    check_number("config.optimizer.momentum", config.momentum, low=0)
    if config.momentum >= 1:
        raise ValueError(f"config.optimizer.momentum must be in [0, 1), got {config.momentum!r}")
    boundaries = tuple(config.boundaries)
    if config.schedule == "step" and (not boundaries or list(boundaries) != sorted(boundaries)):
        raise ValueError(
            "config.optimizer.boundaries must list epochs in rising order for the step schedule, "
            f"got {boundaries}"
        )


def learning_rate(
    config: ConfigDict, *, batch_size: int, examples: int, epochs: float
) -> optax.Schedule:
    """The learning rate as a function of the step.

    `config.schedule`: "cosine" from `learning_rate` to 0; "step", times `factor` at each of
    `boundaries` (epochs); "constant". With `schedule_unit = "epoch"` the rate changes
    once an epoch, as the released code does; with "step" at every step. During the first
    `warmup_epochs` the rate is multiplied by a factor that rises linearly to 1 at every step.

    Args:
        config: `config.optimizer`.
        batch_size: examples in a step.
        examples: examples in an epoch.
        epochs: length of the run in epochs.

    Raises:
        ValueError: as in `check`.
    """
    check(config)
    in_epochs = Epochs(batch_size, examples).passed

    def rate(step):
        # The first example of the step decides its epoch.
        epoch = in_epochs(jnp.asarray(step, jnp.float32))
        # A little more, so that a boundary that is computed as 2.9999998 counts as 3.
        position = jnp.floor(epoch + 1e-4) if config.schedule_unit == "epoch" else epoch
        if config.schedule == "cosine":
            # ½(1 + cos x) as cos²(x/2), which keeps its digits near the end.
            scale = jnp.square(jnp.cos(0.5 * jnp.pi * jnp.clip(position / epochs, 0.0, 1.0)))
        elif config.schedule == "step":
            passed = jnp.sum(position >= jnp.asarray(config.boundaries, jnp.float32))
            scale = jax.lax.pow(jnp.float32(config.factor), passed)
        else:
            scale = jnp.ones(())
        if config.warmup_epochs:
            scale = scale * jnp.clip((epoch + in_epochs(1)) / config.warmup_epochs, 0, 1)
        return config.learning_rate * scale

    return rate


def create(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """SGD with coupled weight decay on every parameter, also of norms and biases.

    The update is that of the released code: `g ← g + wd·θ, v ← momentum·v + g, θ ← θ − lr·v`,
    or Nesterov's form of it.

    Args:
        config: `config.optimizer`: momentum, nesterov, weight_decay.
        schedule: learning rate as a function of the step.

    Raises:
        ValueError: as in `check`.
    """
    check(config)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(schedule, momentum=config.momentum, nesterov=config.nesterov),
    )
