"""What a training step is built from, without data: benchmarks bring their own batches."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax
from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax import methods
from augmax_jax.runtime import compiler, parallel
from augmax_jax.training import optimizer as optimizers
from augmax_jax.training.run import create_model
from augmax_jax.training.state import TrainState, create_state
from augmax_jax.training.step import make_train_step

CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Parts:
    """A config, and its network, method and optimizer, on some devices."""

    config: ConfigDict
    devices: Sequence[jax.Device]
    model: nn.Module
    method: methods.Method
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation

    def initial_state(self, key: jax.Array, side: int) -> TrainState:
        """The state of a new network for images of `side` pixels, and of its optimizer."""
        return create_state(self.model, self.optimizer, key, (side, side, 3))

    def step(self, *, donate: tuple[int, ...] = (0,)) -> Callable:
        """The whole training step, mapped over the devices, as training compiles it."""
        return parallel.pmap(
            make_train_step(
                self.config,
                self.model,
                self.method,
                self.optimizer,
                self.schedule,
                self.config.batch_size // len(self.devices),
            ),
            self.devices,
            donate=donate,
            compiler_options=compiler.jit_options(self.devices[0].platform),
        )


def make_parts(
    model: str,
    batch: int,
    *,
    method: str = "augmax",
    remat: bool = False,
    dtype: str = "float32",
    compact: bool = True,
    chunk: int = 0,
    settings: Mapping[str, Any] | None = None,
    devices: Sequence[jax.Device] | None = None,
    classes: int = CLASSES,
    **adversary: Any,
) -> Parts:
    """Makes the parts of a training step.

    Args:
        model: name of the network.
        batch: batch size.
        method: name of the training method.
        remat: whether to recompute activations in the backward pass.
        dtype: dtype of convolutions and activations.
        compact: whether to evaluate unfinished samples only.
        chunk: samples at a time once few are unfinished; 0: a number for the backend.
        settings: further settings by name, such as "model.options.depth".
        devices: those that share the batch; None: one of this process.
        classes: number of classes.
        **adversary: settings of `config.adversary`.
    """
    config = configs.defaults()
    config.method, config.batch_size, config.dtype = method, batch, dtype
    config.model.name, config.model.remat = model, remat
    config.data.train_transform = "crop"
    config.optimizer.learning_rate, config.optimizer.schedule = 0.05, "constant"
    config.compaction.enabled, config.compaction.chunk = compact, chunk
    for name, value in (settings or {}).items():
        configs.set_setting(config, name, value)
    config.adversary.update(adversary)
    return parts_of(config, devices or parallel.local_devices(1), classes)


def parts_of(config: ConfigDict, devices: Sequence[jax.Device], classes: int) -> Parts:
    """The parts of a training step that a config describes.

    Args:
        config: with the batch size of all devices together.
        devices: those that share a batch.
        classes: number of classes.
    """
    rate = optimizers.learning_rate(
        config.optimizer, batch_size=config.batch_size, examples=50_000, epochs=1
    )
    return Parts(
        config=config,
        devices=devices,
        model=create_model(config, classes),
        method=methods.create(config, classes),
        schedule=rate,
        optimizer=optimizers.create(config.optimizer, rate),
    )
