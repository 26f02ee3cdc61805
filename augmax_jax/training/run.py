"""From a config to a run: its settings checked, and data, network, optimizer and method built."""

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
from augmax_jax import data, evaluation, methods, models
from augmax_jax.adversary.augmax import EARLY_STOP
from augmax_jax.augment import operators
from augmax_jax.data.config import DataConfig
from augmax_jax.evaluation.run import Subject
from augmax_jax.methods.settings import operator_names
from augmax_jax.runtime import keys, parallel
from augmax_jax.runtime.errors import check_name, check_range
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


def check(config: ConfigDict) -> None:
    """Checks every setting that can be checked without data or devices.

    Raises:
        ValueError: naming the setting, its value and what is allowed.
    """
    configs.check_keys(config)
    configs.check_types(config)
    _check_run(config)
    optimizer.check(config.optimizer)
    _check_other_sections(config)


def _check_run(config: ConfigDict) -> None:
    """The settings that belong to no other room."""
    check_name("config.dtype", config.dtype, ("float32", "bfloat16"))
    check_name("config.select_on", config.select_on, ("holdout", "test"))
    check_range("config.seed", config.seed, 0, 2**32 - 1)  # JAX would drop the bits beyond
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
        check_range(f"config.{name}", config[name], low)
    check_range("config.checkpoint.every_epochs", config.checkpoint.every_epochs, 0)
    check_range("config.checkpoint.keep", config.checkpoint.keep, 1)
    if config.select_on == "holdout" and config.data.holdout == 0:
        raise ValueError(
            "config.data.holdout is 0, so nothing is held out to select the best checkpoint on: "
            "set it, or config.select_on='test'"
        )


def _check_other_sections(config: ConfigDict) -> None:
    """The settings of other rooms, block by block, until each room checks its own."""
    _check_models(config)
    _check_methods(config)
    _check_data(config)
    evaluation.check(config)


# models
def _check_models(config: ConfigDict) -> None:
    check_name("model", config.model.name, models.MODELS)
    check_name("norm", config.model.norm, models.NORMS)


# methods: method, objective, routes, augment, adversary and the sections of the methods
def _check_methods(config: ConfigDict) -> None:
    check_name("method", config.method, methods.METHODS)
    check_name("early_stop", config.adversary.early_stop, EARLY_STOP)
    check_name("objective variant", config.objective.variant, methods.VARIANTS)
    check_name("objective.forwards", config.objective.forwards, ("separate", "joint"))
    for view, route in methods.routes(config).items():
        check_name(f"route of the {view} view", route, models.ROUTES)
    _check_routes(config)
    for name in operator_names(config):
        check_name("operator", name, operators.ALL)
    limits: dict[str, dict[str, tuple[float, ...]]] = {
        "augment": {"padding": (0,), "width": (1,), "severity": (0.1, 10)},
        "adversary": {"steps": (0,), "step_size": (1e-9,), "patience": (1,), "chunk": (0,)},
        "objective": {"consistency_weight": (0,)},
        "pgd": {"eps": (0, 1), "step_size": (0, 1), "steps": (0,)},
        "fat": {"eps": (0, 1), "step_size": (0, 1), "steps": (0,), "jitter": (0,)},
        "worst_of_k": {"k": (1,)},
        "stadv": {"steps": (0,), "step_size": (0,), "max_flow": (0,), "smoothness": (0,)},
        "maxup": {"copies": (1,)},
        "ant": {
            "rms": (1e-6, 1),
            "share": (0, 1),
            "replay_share": (0, 0.5),
            "learning_rate": (0,),
            "retrain_steps": (0,),
            "retrain_learning_rate": (0,),
            "history": (1,),
        },
    }
    for group, ranges in limits.items():
        for name, low_high in ranges.items():
            check_range(f"config.{group}.{name}", config[group][name], *low_high)
    if config.augment.depth is not None:
        check_range("config.augment.depth", config.augment.depth, 1)
    _check_ant_and_fat(config)


def _check_routes(config: ConfigDict) -> None:
    """A network with two batch norms must be trained on the one that evaluation uses."""
    used = {view: methods.routes(config)[view] for view in methods.VIEWS_OF[config.method]}
    if len(models.statistics_collections(config.model.norm)) > 1 and "clean" not in used.values():
        listed = ", ".join(f"{view} -> {route}" for view, route in used.items())
        raise ValueError(
            f"config.model.norm={config.model.norm!r} keeps a batch norm for each route and "
            f"evaluation uses the clean one, which method {config.method!r} would never train "
            f"({listed}): set config.objective.routes.{next(iter(used))}='clean', or a norm "
            "with one batch norm (bn or ibn)"
        )


def _check_ant_and_fat(config: ConfigDict) -> None:
    if config.ant.kernel not in (1, 3):
        raise ValueError(f"config.ant.kernel must be 1 or 3, got {config.ant.kernel!r}")
    if config.ant.share + 2 * config.ant.replay_share > 1 + 1e-9:
        raise ValueError(
            "config.ant.share + 2 config.ant.replay_share must be at most 1, "
            f"got {config.ant.share} + 2 * {config.ant.replay_share}"
        )
    budgets, boundaries = tuple(config.fat.budgets), tuple(config.fat.boundaries)
    if not all(isinstance(budget, int) and budget >= 0 for budget in budgets):
        raise ValueError(f"config.fat.budgets must be whole numbers of at least 0, got {budgets}")
    if len(budgets) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
        raise ValueError(
            "config.fat.boundaries must be epochs in rising order, one fewer than "
            f"config.fat.budgets, got {boundaries} and {budgets}"
        )


# data
def _check_data(config: ConfigDict) -> None:
    DataConfig.from_mapping(config.data.to_dict())


def create_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """The network that `config.model` names."""
    return models.create(
        config.model.name,
        num_classes,
        norm=config.model.norm,
        dtype=jnp.dtype(config.dtype),
        axis_name=parallel.AXIS if config.sync_batch_norm else None,
        mean=tuple(config.model.mean),
        std=tuple(config.model.std),
        remat=config.model.remat,
        **config.model.options.to_dict(),
    )


def build(config: ConfigDict) -> Run:
    """Builds a run, after checking all that can be checked before any work.

    Raises:
        ValueError: a setting is unknown, out of range, or does not fit the others.
        FileNotFoundError: the dataset is not there; says what would provide it.
    """
    check(config)
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
