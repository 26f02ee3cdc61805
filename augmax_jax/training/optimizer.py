"""SGD as the reference implementations run it, AdamW, learning-rate schedules, averaged weights.

The paper trains with SGD; its schedules are in its Sec. 5: cosine on CIFAR, steps on ImageNet and
Tiny ImageNet. The rest is described in docs/optimisation.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from augmax_jax.runtime.checks import check_count, check_number
from augmax_jax.runtime.epochs import Epochs
from augmax_jax.runtime.errors import check_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

OPTIMIZERS = ("sgd", "adamw")
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
    check_name("config.optimizer.name", config.name, OPTIMIZERS)
    check_name("config.optimizer.schedule", config.schedule, SCHEDULES)
    check_name("config.optimizer.schedule_unit", config.schedule_unit, UNITS)
    check_name("config.optimizer.on_nonfinite", config.on_nonfinite, ON_NONFINITE)
    for name in ("learning_rate", "weight_decay", "factor", "warmup_epochs", "clip_norm"):
        check_number(f"config.optimizer.{name}", config[name], low=0)
    for name in ("momentum", "b1", "b2", "ema"):
        check_number(f"config.optimizer.{name}", config[name], low=0, high=1, below_high=True)
    check_number("config.optimizer.eps", config.eps, low=0, above_low=True)
    check_count("config.optimizer.micro_batches", config.micro_batches, low=1)
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
    counted = Epochs(batch_size, examples)

    def rate(step):
        # The first example of the step decides its epoch.
        epoch = counted.passed(jnp.asarray(step, jnp.float32))
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
            scale = scale * counted.rise(epoch, config.warmup_epochs)
        return config.learning_rate * scale

    return rate


def create(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """SGD or AdamW with weight decay on every parameter, also of norms and biases.

    The update of SGD is that of the released code: `g ← g + wd·θ, v ← momentum·v + g,
    θ ← θ − lr·v`, or Nesterov's form of it. AdamW is that of Loshchilov and Hutter (ICLR 2019) as
    PyTorch and optax have it: the decay is `lr·wd·θ`, apart from the gradient. A gradient whose
    norm, over all parameters together, is above `clip_norm` is scaled down to it first.

    Args:
        config: `config.optimizer`: name, weight_decay, nesterov, clip_norm; momentum of SGD; b1, b2
            and eps of AdamW.
        schedule: learning rate as a function of the step.

    Raises:
        ValueError: as in `check`.
    """
    check(config)
    # What is off is left out, so that the state is the same as without the setting.
    parts = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "adamw":
        adamw = optax.adamw(
            schedule,
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )
        return optax.chain(*parts, adamw)
    return optax.chain(
        *parts,
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(schedule, momentum=config.momentum, nesterov=config.nesterov),
    )


def averaged(average: Any, new: Any, decay: float, step: jax.Array) -> Any:
    """The exponential moving average after one more step, without bias to where it began.

    The weights of steps 1 to t are `decay^(t - i)`, scaled so that they sum to 1: those of
    `optax.ema(decay, debias=True)`.

    Args:
        average: the average before, a pytree of floats; after the first step it does not count.
        new: the values after the step, of the same structure.
        decay: in (0, 1).
        step: number t of the step, from 1; int32 scalar.
    """
    # (1 - d) / (1 - d^t), where 1 - d^t keeps its digits for a decay near 1.
    share = (decay - 1) / jnp.expm1(step.astype(jnp.float32) * math.log(decay))
    return optax.incremental_update(new, average, share)
