"""Pictures of what training does to images: the views of the method side by side."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax import augment, methods
from augmax_jax.data import Batch
from augmax_jax.report import pictures
from augmax_jax.runtime import compiler, files, parallel, storage
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.progress import Announced
from augmax_jax.training.run import Run
from augmax_jax.training.state import TrainState

COUNT = 8  # images in the grid


def make_drawer(run: Run, directory: RunPath) -> Callable[[int, Any], np.ndarray]:
    """Builds the function that draws the grid for a state of the network.

    AugMax's grid has the chains and the weights too, other methods' their views alone: nothing is
    computed that the method does not use. The images and their random draws are the same at every
    call, so a run's grids differ only by what the present network finds hard. Nothing is compiled
    before the first call. Of several processes, the first one draws alone.

    Args:
        run: the run; the images are the first of its training stream.
        directory: the run's directory; the pictures are `pictures/augmentations_<step>.png`.

    Returns:
        A function from (step, replicated state) to the grid, uint8 `[H, W, 3]`.
    """
    split = run.data.train
    batch = next(iter(split.train_batches(COUNT * split.process_count)))  # COUNT of them are ours
    make = _augmax_grid if "augmax" in methods.routes(run.config) else _views_grid
    grid = make(run, batch)

    def draw(step: int, state: Any) -> np.ndarray:
        picture = grid(parallel.first(state))
        path = directory / "pictures" / f"augmentations_{step:07d}.png"
        storage.make(path.parent)
        contents = pictures.to_png(picture)
        files.write_atomically(path, lambda partial: partial.write_bytes(contents))
        return picture

    return draw


def _compiled(function: Callable[[TrainState], Any]) -> Callable[[TrainState], Any]:
    options = compiler.jit_options(jax.default_backend(), once=True)  # it seldom runs
    program = jax.jit(function, compiler_options=options)
    return Announced(program, lambda _: "the pictures of augmentations")


def _augmax_grid(run: Run, batch: Batch) -> Callable[[TrainState], np.ndarray]:
    config, route = run.config, methods.routes(run.config)["augmax"]
    images, labels = jnp.asarray(batch["image"]), jnp.asarray(batch["label"])

    def compute(state: TrainState) -> Any:
        keys = jax.random.split(jax.random.key(config.seed), (3, COUNT))
        chains = augment.sample_chains(keys[0], images, **methods.chain_settings(config))
        m, w = augment.sample_mixing_weights(keys[1], COUNT, config.augment.width)

        def logits_fn(x: jax.Array) -> Any:
            return run.model.apply(state.variables, x, route=route, train=False)

        result = methods.maximise(
            logits_fn, keys[2], images, chains, labels, config, run.data.num_classes
        )
        predictions = {
            "clean": logits_fn(augment.to_float(images)).argmax(-1),
            "augmax": logits_fn(result.images).argmax(-1),
        }
        mixed = augment.mix(images, chains, m, w)
        learned = (result.m, jax.nn.softmax(result.p))
        return chains, (mixed, m, w), (result.images, *learned), predictions

    program = _compiled(compute)

    def grid(state: TrainState) -> np.ndarray:
        chains, augmix, augmax, predictions = jax.device_get(program(state))
        return pictures.augmentation_grid(
            batch["image"],
            chains,
            augmix[0],
            augmax[0],
            augmix_weights=augmix[1:],
            augmax_weights=augmax[1:],
            labels=batch["label"],
            class_names=run.data.class_names,
            predictions=predictions,
        )

    return grid


def _views_grid(run: Run, batch: Batch) -> Callable[[TrainState], np.ndarray]:
    key = jax.random.key(run.config.seed)
    labels = methods.METHODS[run.config.method].view_labels

    def compute(state: TrainState) -> dict[str, Any]:
        def logits_fn(x: jax.Array, route: str) -> Any:
            return run.model.apply(state.variables, x, route=route, train=False)

        inputs = methods.StepInputs(
            logits_fn=logits_fn,
            keys=jax.random.split(key, COUNT),
            images=jnp.asarray(batch["image"]),
            labels=jnp.asarray(batch["label"]),
            position=jnp.arange(COUNT),
            key=key,
            step=state.step,
            mean=lambda tree: tree,
        )
        views, _, _ = run.method.views(inputs, state.method_state)
        return {v.name: (v.images, logits_fn(v.images, v.route).argmax(-1)) for v in views}

    program = _compiled(compute)

    def grid(state: TrainState) -> np.ndarray:
        found = jax.device_get(program(state))
        # In the order of the method's record, as a program sorts its results by name.
        return pictures.views_grid(
            {label: found[name] for name, label in labels.items() if name in found},
            labels=batch["label"],
            class_names=run.data.class_names,
        )

    return grid
