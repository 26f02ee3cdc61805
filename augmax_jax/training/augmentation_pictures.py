"""Pictures of what training does to images: clean, chains, AugMix and AugMax side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax import augment, methods
from augmax_jax.report import pictures
from augmax_jax.runtime import files, parallel
from augmax_jax.training.run import Run

COUNT = 8  # images in the grid


def make_drawer(run: Run, directory: Path) -> Callable[[int, Any], np.ndarray]:
    """Builds the function that draws the grid for a state of the network.

    The images and their chains are the same at every call, so a run's grids differ only by
    what the present network finds hard. Of several processes, the first one draws alone.

    Args:
        run: the run; the images are the first of its training stream.
        directory: the run's directory; the pictures are `pictures/augmentations_<step>.png`.

    Returns:
        A function from (step, replicated state) to the grid, uint8 `[H, W, 3]`.
    """
    config = run.config
    split = run.data.train
    batch = next(iter(split.train_batches(COUNT * split.process_count)))  # COUNT of them are ours
    images, labels = jnp.asarray(batch["image"]), jnp.asarray(batch["label"])
    keys = jax.random.split(jax.random.key(config.seed), (3, COUNT))
    # The route of the AugMax view. A method without such a view uses its route for other views.
    routes = methods.routes(config)
    others = "augmented" if "augmented" in routes.values() else "clean"
    route = routes.get("augmax", others)

    @jax.jit
    def compute(variables):
        chains = augment.sample_chains(keys[0], images, **methods.chain_settings(config))
        m, w = augment.sample_mixing_weights(keys[1], COUNT, config.augment.width)

        def logits_fn(x):
            return run.model.apply(variables, x, route=route, train=False)

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

    def draw(step: int, state: Any) -> np.ndarray:
        chains, augmix, augmax, predictions = jax.device_get(
            compute(parallel.first(state.variables))
        )
        grid = pictures.augmentation_grid(
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
        path = directory / "pictures" / f"augmentations_{step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        contents = pictures.to_png(grid)
        files.write_atomically(path, lambda partial: partial.write_bytes(contents))
        return grid

    return draw
