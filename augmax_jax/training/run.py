"""Builds a run from a config: data, network, optimizer and method, all checked."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from augmax_jax import config as configs
from augmax_jax import data, evaluation, methods, models
from augmax_jax.evaluation.run import Subject
from augmax_jax.runtime import compiler, following, keys, parallel
from augmax_jax.runtime.checks import check_count, check_number
from augmax_jax.runtime.epochs import Epochs
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.progress import Announced
from augmax_jax.training import optimizer, pretrained
from augmax_jax.training.state import TrainState, create_state
from augmax_jax.training.step import TrainStep, check_micro_batches, make_train_step

if TYPE_CHECKING:
    from ml_collections import ConfigDict

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """A config, and all objects that are built from it.

    Attributes:
        config: the settings, validated.
        devices: those that a batch is split over, of all processes.
        data: the dataset's splits.
        model: the network.
        method: the training method: its views, and its state.
        schedule: learning rate as a function of the step.
        optimizer: the optimizer.
        total_steps: steps of the whole schedule, cut at `config.max_steps`.
    """

    config: ConfigDict
    devices: Sequence[jax.Device]
    data: data.Data
    model: nn.Module
    method: methods.Method
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    total_steps: int

    @property
    def subject(self) -> Subject:
        """The parts of the run that evaluation needs."""
        return Subject(self.config, self.devices, self.data, self.model)

    def train_step(self) -> TrainStep:
        """One device's share of the training step; see `step.make_train_step`."""
        return make_train_step(
            self.config,
            self.model,
            self.method,
            self.optimizer,
            self.schedule,
            self.config.batch_size // len(self.devices),
            examples=len(self.data.train),
        )

    def mapped_step(self, like: TrainState) -> TrainStep:
        """The training step over the run's devices, which reuses the memory of the old state.

        Its compilation is announced.

        Args:
            like: a state, or its shapes and dtypes, with which it is traced beside what the caller
                does next.
        """
        step = parallel.pmap(
            self.train_step(),
            self.devices,
            donate=(0,),
            compiler_options=compiler.jit_options(self.devices[0].platform),
        )
        share, side = self.config.batch_size // len(self.devices), self.config.data.image_size
        batch = {
            "image": jax.ShapeDtypeStruct((share, side, side, 3), jnp.uint8),
            "label": jax.ShapeDtypeStruct((share,), jnp.int32),
        }
        arguments = parallel.abstract((like, batch), self.devices)
        return Announced(compiler.traced_ahead(step, *arguments), lambda *_: "the training step")

    def initial_state(self) -> TrainState:
        """Freshly initialised parameters, or those of `config.init_from`."""
        state = self._created()
        if self.config.init_from:
            new = self.load(self.config.init_from, state, new_head=True)
            state = self._averaged(state.with_variables(new))
        return state

    def abstract_state(self) -> TrainState:
        """Shapes and dtypes of a state, for restoring one: nothing is computed."""
        return jax.eval_shape(self._created)

    def _created(self) -> TrainState:
        side = self.config.data.image_size
        key = jax.random.fold_in(jax.random.key(self.config.seed), keys.INITIALISATION)
        state = create_state(self.model, self.optimizer, key, (side, side, 3))
        shared = jax.random.fold_in(key, keys.SHARED)
        return self._averaged(dataclasses.replace(state, method_state=self.method.init(shared)))

    def _averaged(self, state: TrainState) -> TrainState:
        """A state whose average starts at its variables, if the run keeps one."""
        if not self.config.optimizer.ema:
            return state
        return dataclasses.replace(state, average=state.variables)

    def load(self, directory: str | Path, state: TrainState, *, new_head: bool) -> dict[str, Any]:
        """Variables for this run's network from a directory; see `pretrained.load`."""
        return pretrained.load(
            directory, state.variables, model=self.config.model, new_head=new_head
        )

    def epoch(self, step: int) -> float:
        """Passes over the training set after `step` steps."""
        return Epochs(self.config.batch_size, len(self.data.train)).passed(step)

    def due(self, step: int, every_epochs: float) -> bool:
        """Whether this step is due for an action every so many epochs, or is the last step."""
        if step == self.total_steps:
            return True
        if every_epochs <= 0:
            return False
        return math.floor(self.epoch(step) / every_epochs) > math.floor(
            self.epoch(step - 1) / every_epochs
        )


def check(config: ConfigDict) -> None:
    """Checks every setting that can be checked without data or devices.

    Raises:
        ValueError: a setting is not valid; the message has its name, value and what is allowed.
    """
    configs.check_keys(config)
    configs.check_types(config)
    _check_run(config)
    optimizer.check(config.optimizer)
    check_name("model", config.model.name, models.MODELS)
    check_name("norm", config.model.norm, models.NORMS)
    methods.check(config)
    data.check(config.data.to_dict())
    evaluation.check(config)


def _check_run(config: ConfigDict) -> None:
    """Checks the settings that belong to no other package."""
    check_name("config.dtype", config.dtype, ("float32", "bfloat16"))
    check_name("config.select_on", config.select_on, ("holdout", "test"))
    check_count("config.seed", config.seed, high=2**32 - 1)  # JAX would drop higher bits
    for name, low in {
        "batch_size": 1,
        "epochs": 0,
        "max_steps": 0,
        "num_devices": 0,
        "eval_every_epochs": 0,
        "eval_batch_size": 1,
        "log_every": 1,
        "pictures_every_epochs": 0,
    }.items():
        check_number(f"config.{name}", config[name], low=low)
    check_number("config.checkpoint.every_epochs", config.checkpoint.every_epochs, low=0)
    check_count("config.checkpoint.keep", config.checkpoint.keep, low=1)
    if config.select_on == "holdout" and config.data.holdout == 0:
        raise ValueError(
            "config.data.holdout is 0, so nothing is held out to select the best checkpoint on: "
            "set it, or config.select_on='test'"
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
        FileNotFoundError: the dataset does not exist; the message says how to get it.
    """
    check(config)
    if followed := following.describe(config):
        logger.info("Settings that follow others unless set: %s", followed)
    devices = parallel.all_devices(config.num_devices)
    if config.batch_size % len(devices):
        raise ValueError(
            f"config.batch_size={config.batch_size} cannot be split evenly over {len(devices)} "
            f"devices: use a multiple of {len(devices)}, or set config.num_devices"
        )
    # First built with any class count, so that a wrong option raises before data is read.
    create_model(config, 2)
    share = config.batch_size // len(devices)
    check_micro_batches(config, methods.create(config, 2), share)
    methods.check_share(config, share // config.optimizer.micro_batches)
    dataset = data.load(
        config.data.to_dict(),
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
