"""What a config stands for: data, network, optimizer and method, built and checked."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax import data, methods, models
from augmax_jax.evaluation.run import Subject
from augmax_jax.runtime import keys, parallel
from augmax_jax.training import optimizer, pretrained, step

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """A config with everything it names.

    Attributes:
        config: the settings, validated.
        devices: this process's devices.
        data: the dataset's splits.
        model: the network.
        method: batch to views, and the state it carries.
        schedule: learning rate by step.
        optimizer: the optimizer.
        total_steps: steps of the whole schedule, cut at `config.max_steps`.
    """

    config: ConfigDict
    devices: Sequence[jax.Device]
    data: "data.Data"
    model: nn.Module
    method: methods.Method
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    total_steps: int

    @property
    def subject(self) -> Subject:
        """What evaluation needs of the run."""
        return Subject(self.config, self.devices, self.data, self.model)

    def initial_state(self) -> step.TrainState:
        """Freshly initialised parameters, or those of `config.init_from`."""
        config = self.config
        side = config.data.image_size
        key = jax.random.fold_in(jax.random.key(config.seed), keys.INITIALISATION)
        state = step.create_state(self.model, self.optimizer, key, (side, side, 3))
        state = dataclasses.replace(
            state, method_state=self.method.init(jax.random.fold_in(key, keys.SHARED))
        )
        if not config.init_from:
            return state
        return state.with_variables(self.load(config.init_from, state, new_head=True))

    def load(
        self, directory: str | Path, state: step.TrainState, *, new_head: bool
    ) -> dict[str, Any]:
        """Variables from elsewhere for this run's network; see `pretrained.load`."""
        return pretrained.load(
            directory, state.variables, model=self.config.model, new_head=new_head
        )

    def epoch(self, step: int) -> float:
        """Passes over the training set after `step` steps."""
        return step * self.config.batch_size / len(self.data.train)

    def due(self, step: int, every_epochs: float) -> bool:
        """Whether something done every so many epochs falls on this step, or it is the last."""
        if step == self.total_steps:
            return True
        if every_epochs <= 0:
            return False
        return math.floor(self.epoch(step) / every_epochs) > math.floor(
            self.epoch(step - 1) / every_epochs
        )


def create_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The network that `config.model` names."""
    return models.create(
        config.model.name,
        num_classes,
        norm=config.model.norm,
        dtype=jnp.dtype(config.dtype),
        axis_name=parallel.AXIS if config.sync_batch_norm else None,
        mean=config.model.mean,
        std=config.model.std,
        remat=config.model.remat,
        **config.model.options.to_dict(),
    )


def build(config: ConfigDict) -> Run:
    """Builds a run, after checking all that can be checked before any work.

    Raises:
        ValueError: a setting is unknown, out of range, or does not fit the others.
        FileNotFoundError: the dataset is not there; says what would provide it.
    """
    configs.validate(config)
    devices = parallel.local_devices(config.num_devices)
    shares = len(devices) * jax.process_count()
    if config.batch_size % shares:
        raise ValueError(
            f"config.batch_size={config.batch_size} cannot be split evenly over {shares} "
            f"devices: use a multiple of {shares}, or set config.num_devices"
        )
    # Built with a stand-in class count first, so that a wrong option shows before data is read.
    create_model(config, 2)
    methods.create(config, 2)
    settings = config.data.to_dict()
    if settings["resident"] is None:
        settings["resident"] = "auto"
    dataset = data.load(
        settings,
        seed=config.seed,
        batch_size=config.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    if config.batch_size > len(dataset.train):
        raise ValueError(
            f"config.batch_size={config.batch_size} is larger than the training set of "
            f"{len(dataset.train)} images"
        )
    total = math.ceil(config.epochs * len(dataset.train) / config.batch_size)
    schedule = optimizer.learning_rate(
        config.optimizer,
        batch_size=config.batch_size,
        examples=len(dataset.train),
        epochs=config.epochs,
    )
    return Run(
        config=config,
        devices=devices,
        data=dataset,
        model=create_model(config, dataset.num_classes),
        method=methods.create(config, dataset.num_classes, examples=len(dataset.train)),
        schedule=schedule,
        optimizer=optimizer.create(config.optimizer, schedule),
        total_steps=min(total, config.max_steps) if config.max_steps else total,
    )
