"""The batches of a run, on its devices."""

from collections.abc import Iterator

import jax
import numpy as np

from augmax_jax.runtime import parallel
from augmax_jax.training.run import Run
from augmax_jax.training.step import Batch


def host_batch(run: Run, step: int) -> dict[str, np.ndarray]:
    """The batch of one step as this process reads it.

    Args:
        run: the run.
        step: the step, from 1.

    Returns:
        "image", uint8 `[B, H, W, 3]`, and "label", int32 `[B]`.
    """
    return dict(next(run.data.train.train_batches(run.config.batch_size, start_step=step - 1)))


def device_batches(run: Run, start_step: int) -> Iterator[Batch]:
    """The batches of a run from a step on, on the devices.

    A resident training set is copied to every device once; then the host sends only the indices
    of a batch. For a streamed set the host sends the images.

    Args:
        run: the run.
        start_step: number of steps done before.

    Yields:
        Endless batches, with a share of b examples for each of D devices, over all processes:
        "image", uint8 `[D, b, H, W, 3]`, and "label", int32 `[D, b]`.
    """
    split, size = run.data.train, run.config.batch_size
    if not split.resident:
        for batch in split.train_batches(size, start_step=start_step):
            yield parallel.shard(batch, run.devices)
    images, labels = split.arrays()
    held = parallel.replicate({"image": images, "label": labels}, run.devices)
    take = parallel.pmap(lambda held, index: jax.tree.map(lambda x: x[index], held), run.devices)
    mine = slice(
        size * jax.process_index() // jax.process_count(),
        size * (jax.process_index() + 1) // jax.process_count(),
    )
    step = start_step
    while True:
        yield take(held, parallel.shard(split.indices(step, size)[mine], run.devices))
        step += 1
