"""One training step, from a uint8 batch to the new state; pure, and pmapped as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from augmax_jax.augment import standard
from augmax_jax.methods import Method, StepInputs, View
from augmax_jax.models import statistics_collection
from augmax_jax.objectives import objective
from augmax_jax.runtime import keys, parallel
from augmax_jax.runtime.epochs import Epochs
from augmax_jax.training.optimizer import averaged
from augmax_jax.training.state import TrainState

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Batch = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def standard_augmentation(keys: jax.Array, images: jax.Array, config: ConfigDict) -> jax.Array:
    """Flips and crops by `config.data.train_transform`: uint8 `[B, H, W, 3]` to the same."""
    transform = config.data.train_transform
    if transform in ("none", "random_resized_crop"):  # the crop is done while images are read
        return images
    return standard.flip_and_crop(
        keys, images, padding=config.augment.padding, flip=transform == "flip_crop"
    )


def forward(
    model: nn.Module, params: Any, statistics: dict[str, Any], views: list[View], *, joint: bool
) -> tuple[list[jax.Array], dict[str, Any]]:
    """Forward passes of all views in training mode; each starts from the last one's statistics.

    Args:
        model: the network.
        params: its parameters.
        statistics: its collections of running statistics.
        views: the views, in order; each updates only the collection of its own route.
        joint: whether views of one route share a forward pass, and so batch statistics.

    Returns:
        Logits of each view, and the statistics after all of them.
    """
    groups: list[list[int]] = []
    for i, view in enumerate(views):
        home = next((g for g in groups if joint and views[g[0]].route == view.route), None)
        if home is None:
            groups.append([i])
        else:
            home.append(i)

    logits: list[jax.Array] = [None] * len(views)  # type: ignore[list-item]
    for group in groups:
        route = views[group[0]].route
        images = jnp.concatenate([views[i].images for i in group])
        joined, updated = model.apply(
            {"params": params, **statistics},
            images,
            route=route,
            train=True,
            mutable=[statistics_collection(model.norm, route)],
        )
        statistics = {**statistics, **updated}
        for i, part in zip(group, jnp.split(joined, len(group)), strict=True):
            logits[i] = part
    return logits, statistics


def unless_nonfinite(
    before: TrainState, after: TrainState, metrics: dict[str, jax.Array]
) -> tuple[TrainState, jax.Array]:
    """The state after a step; if its loss or gradient is not finite, the one before, a step on.

    Args:
        before: the state before the step.
        after: the state after it.
        metrics: "loss" and "gradient_norm" of the step.

    Returns:
        The state, and whether the step was skipped, a bool scalar.
    """
    finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])

    def is_schedule(part: Any) -> bool:
        return isinstance(part, optax.ScaleByScheduleState)

    def kept(new: Any, old: Any) -> Any:
        # The schedule of the learning rate counts all steps.
        return new if is_schedule(new) else jnp.where(finite, new, old)

    state = jax.tree.map(kept, after, before, is_leaf=is_schedule)
    return dataclasses.replace(state, step=after.step), ~finite


def mean_over_parts(function: Callable[..., Any], parts: int, *arrays: jax.Array) -> Any:
    """The mean of a function over equal parts of a batch, which it takes one after another.

    Args:
        function: takes parts `[B/M, ...]` of the arrays, and returns a pytree of floats.
        parts: M, a divisor of B.
        *arrays: `[B, ...]`; a part is B/M consecutive entries.

    Returns:
        What the function returns, with its shapes and dtypes; only one part's work is in memory at
        a time.
    """
    split = [x.reshape(parts, -1, *x.shape[1:]) for x in arrays]
    shapes = jax.eval_shape(function, *(x[0] for x in split))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add(total: Any, part: list[jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(*part)), None

    total, _ = jax.lax.scan(add, zeros, split)
    return jax.tree.map(lambda x: x / parts, total)


def check_micro_batches(config: ConfigDict, method: Method, share: int) -> None:
    """Checks that a device can go through its share of a batch in micro-batches.

    Args:
        config: the run's config; its other settings must have been checked.
        method: from `methods.create`.
        share: number of examples of a batch that each device gets.

    Raises:
        ValueError: `config.optimizer.micro_batches` does not divide the share, or the method has a
            state, which a step may change only once.
    """
    parts = config.optimizer.micro_batches
    if share % parts:
        raise ValueError(
            f"config.optimizer.micro_batches={parts} cannot divide a device's {share} images of "
            f"config.batch_size={config.batch_size} evenly: use a divisor of {share}"
        )
    if parts > 1 and jax.tree.leaves(jax.eval_shape(method.init, jax.random.key(0))):
        raise ValueError(
            f"config.optimizer.micro_batches must be 1 for method {config.method!r}, got {parts}: "
            "the method learns in every step from the whole batch. Use more devices or a smaller "
            "config.batch_size"
        )


def _make_gradient(
    config: ConfigDict, model: nn.Module, method: Method, epochs: Epochs
) -> Callable[..., Any]:
    """The gradient of the objective, of one device's examples or of some of them.

    Returns:
        A function from (state, key of the step, keys `[b]`, images uint8 `[b, H, W, 3]`, labels
        int32 `[b]`, places in the global batch int32 `[b]`) to the gradient, the statistics
        after the forward passes and the metrics; and the method's next state.
    """
    settings = config.objective
    joint = settings.forwards == "joint"

    def gradient(state: TrainState, key, example_keys, images, labels, position):
        def logits_fn(x, route):
            return model.apply(state.variables, x, route=route, train=False)

        inputs = StepInputs(
            logits_fn=logits_fn,
            keys=example_keys,
            images=images,
            labels=labels,
            position=position,
            key=jax.random.fold_in(key, keys.SHARED),
            step=state.step,
            mean=lambda tree: jax.lax.pmean(tree, parallel.AXIS),
        )
        views, diagnostics, method_state = method.views(inputs, state.method_state)

        consistency_weight = settings.consistency_weight
        if settings.ramp_epochs:
            consistency_weight *= epochs.rise(epochs.passed(state.step), settings.ramp_epochs)
            diagnostics = {**diagnostics, "consistency_weight": consistency_weight}

        def loss_fn(params):
            logits, statistics = forward(model, params, state.statistics, views, joint=joint)
            loss, parts = objective(
                logits,
                labels,
                weights=[view.weight for view in views],
                consistent=[view.consistent for view in views],
                consistency_weight=consistency_weight,
                label_smoothing=settings.label_smoothing,
            )
            for view, scores in zip(views, logits, strict=True):
                hit = jnp.argmax(scores, axis=-1) == labels
                parts[f"accuracy_{view.name}"] = hit.mean()
            return loss, (statistics, parts)

        found, (statistics, metrics) = jax.grad(loss_fn, has_aux=True)(state.params)
        return (found, statistics, metrics | diagnostics), method_state

    return gradient


def make_train_step(
    config: ConfigDict,
    model: nn.Module,
    method: Method,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    share: int,
    *,
    examples: int | None = None,
) -> TrainStep:
    """Builds one device's share of the training step, to be mapped over `parallel.AXIS`.

    Gradients, metrics and running statistics are averaged over the devices. Random
    draws depend on an example's index in the global batch, so they do not depend on the
    number of devices. A micro-batch is to a device what a device is to the step: the means over
    both are the same.

    Args:
        config: the run's config; `seed`, `data.train_transform`, `augment.padding`, `objective`,
            and of `optimizer` `micro_batches`, `ema` and `on_nonfinite` are used.
        model: the network, from `models.create`.
        method: from `methods.create`.
        optimizer: from `training.optimizer.create`.
        schedule: learning rate as a function of the step, for the log.
        share: number b of examples of a batch that each device gets.
        examples: number of examples in an epoch, for `objective.ramp_epochs`; None: one epoch is
            one step.

    Returns:
        A function from (state, {"image": uint8 `[b, H, W, 3]`, "label": int32 `[b]`}) to the
        new state and the step's metrics, float32 scalars.
    """
    epochs = Epochs(config.batch_size, examples or config.batch_size)
    gradient_of = _make_gradient(config, model, method, epochs)
    settings = config.optimizer

    def train_step(state: TrainState, batch: Batch):
        key = keys.step_key(config.seed, state.step)
        first_index = jax.lax.axis_index(parallel.AXIS) * share
        example_keys = keys.example_keys(key, share, first_index=first_index)
        split = jax.vmap(jax.random.split)(example_keys)
        images = standard_augmentation(split[:, 0], batch["image"], config)
        examples = (split[:, 1], images, batch["label"], first_index + jnp.arange(share))
        if settings.micro_batches == 1:
            found, method_state = gradient_of(state, key, *examples)
        else:  # the method has no state, as `check_micro_batches` ensures
            found = mean_over_parts(
                lambda *part: gradient_of(state, key, *part)[0], settings.micro_batches, *examples
            )
            method_state = state.method_state
        gradient, statistics, metrics = jax.lax.pmean(found, parallel.AXIS)
        with jax.numpy_dtype_promotion("standard"):  # AdamW raises a float to an int32 count
            updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["learning_rate"] = schedule(state.step)
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        metrics["parameter_norm"] = optax.tree.norm(params)
        new_state = TrainState(state.step + 1, params, statistics, opt_state, method_state)
        if settings.ema:
            average = averaged(state.average, new_state.variables, settings.ema, new_state.step)
            new_state = dataclasses.replace(new_state, average=average)
        if settings.on_nonfinite == "skip":
            new_state, metrics["skipped"] = unless_nonfinite(state, new_state, metrics)
        return new_state, jax.tree.map(lambda x: x.astype(jnp.float32), metrics)

    return train_step
