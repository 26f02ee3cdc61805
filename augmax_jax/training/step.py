"""One training step, from a uint8 batch to the new state; pure, and pmapped as a whole."""

from __future__ import annotations

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

    def kept(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

    def kept_but_counts(new: jax.Array, old: jax.Array) -> jax.Array:
        # The optimizer's whole numbers count steps, and so decide the learning rate.
        return kept(new, old) if jnp.issubdtype(new.dtype, jnp.floating) else new

    state = TrainState(
        after.step,
        kept(after.params, before.params),
        kept(after.statistics, before.statistics),
        jax.tree.map(kept_but_counts, after.opt_state, before.opt_state),
        kept(after.method_state, before.method_state),
    )
    return state, ~finite


def make_train_step(
    config: ConfigDict,
    model: nn.Module,
    method: Method,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    share: int,
) -> TrainStep:
    """Builds one device's share of the training step, to be mapped over `parallel.AXIS`.

    Gradients, metrics and running statistics are averaged over the devices. Random
    draws depend on an example's index in the global batch, so they do not depend on the
    number of devices.

    Args:
        config: the run's config; `seed`, `data.train_transform`, `augment.padding`, `objective` and
            `optimizer.on_nonfinite` are used.
        model: the network, from `models.create`.
        method: from `methods.create`.
        optimizer: from `training.optimizer.create`.
        schedule: learning rate as a function of the step, for the log.
        share: number b of examples of a batch that each device gets.

    Returns:
        A function from (state, {"image": uint8 `[b, H, W, 3]`, "label": int32 `[b]`}) to the
        new state and the step's metrics, float32 scalars.
    """
    settings = config.objective
    joint = settings.forwards == "joint"

    def train_step(state: TrainState, batch: Batch):
        key = keys.step_key(config.seed, state.step)
        first_index = jax.lax.axis_index(parallel.AXIS) * share
        example_keys = keys.example_keys(key, share, first_index=first_index)
        split = jax.vmap(jax.random.split)(example_keys)
        images = standard_augmentation(split[:, 0], batch["image"], config)

        def logits_fn(x, route):
            return model.apply(state.variables, x, route=route, train=False)

        inputs = StepInputs(
            logits_fn=logits_fn,
            keys=split[:, 1],
            images=images,
            labels=batch["label"],
            position=first_index + jnp.arange(share),
            key=jax.random.fold_in(key, keys.SHARED),
            step=state.step,
            mean=lambda tree: jax.lax.pmean(tree, parallel.AXIS),
        )
        views, diagnostics, method_state = method.views(inputs, state.method_state)

        def loss_fn(params):
            logits, statistics = forward(model, params, state.statistics, views, joint=joint)
            loss, parts = objective(
                logits,
                batch["label"],
                weights=[view.weight for view in views],
                consistent=[view.consistent for view in views],
                consistency_weight=settings.consistency_weight,
            )
            for view, scores in zip(views, logits, strict=True):
                hit = jnp.argmax(scores, axis=-1) == batch["label"]
                parts[f"accuracy_{view.name}"] = hit.mean()
            return loss, (statistics, parts)

        gradient, (statistics, metrics) = jax.grad(loss_fn, has_aux=True)(state.params)
        gradient, statistics, metrics = jax.lax.pmean(
            (gradient, statistics, metrics | diagnostics), parallel.AXIS
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["learning_rate"] = schedule(state.step)
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        metrics["parameter_norm"] = optax.tree.norm(params)
        new_state = TrainState(state.step + 1, params, statistics, opt_state, method_state)
        if config.optimizer.on_nonfinite == "skip":
            new_state, metrics["skipped"] = unless_nonfinite(state, new_state, metrics)
        return new_state, jax.tree.map(lambda x: x.astype(jnp.float32), metrics)

    return train_step
