"""Plans which images share damaged weights; the seed alone decides.

The published script goes through the set in random order, and draws new weights before an image
with probability 0.05. Here the set is put in a random order and cut into runs. The images of a run
share weights, and a run is the unit of work. Damage to activations depends on an image's index. So
neither an interruption nor the division of runs among machines changes a result.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

REDRAW = 0.05
_REDRAWS, _WEIGHTS, _IMAGES = range(3)


class Run(NamedTuple):
    """Images that share weights.

    Attributes:
        number: number of the run, from 0.
        indices: indices of its images, int `[N]`, in the order of the work.
    """

    number: int
    indices: np.ndarray


class Plan(NamedTuple):
    """The work and its keys.

    Attributes:
        runs: all runs, in order.
        weights_key: key of all weight damage; fold in the number of a run.
        images_key: key of all activation damage; fold in the index of an image.
    """

    runs: list[Run]
    weights_key: jax.Array
    images_key: jax.Array

    def run_key(self, run: Run) -> jax.Array:
        """The key of a run's weights."""
        return jax.random.fold_in(self.weights_key, run.number)

    def image_keys(self, indices: np.ndarray) -> jax.Array:
        """The keys of some images, `[N]`."""
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        return fold(self.images_key, jnp.asarray(indices, jnp.uint32))


def make(
    key: jax.Array, images: int, *, network: int = 0, limit: int = 0, shuffle: bool = True
) -> Plan:
    """Plans the work.

    Args:
        key: one key, for all draws.
        images: number of images in the set.
        network: number of the network. All networks have the same order of images, so the same
            images under a limit; their other draws differ.
        limit: number of images to use; 0: all.
        shuffle: whether the order is random; otherwise it is that of the set.
    """
    order_key, key = jax.random.split(key)
    keys = jax.random.split(jax.random.fold_in(key, network), 3)
    order = jax.random.permutation(order_key, images) if shuffle else np.arange(images)
    order = np.asarray(order)[: limit or None]
    redraws = np.array(jax.random.uniform(keys[_REDRAWS], (len(order),)) < REDRAW)
    redraws[:1] = False  # weights are always drawn before the first image
    parts = np.split(order, np.flatnonzero(redraws))
    runs = [Run(number, indices) for number, indices in enumerate(parts)]
    return Plan(runs, keys[_WEIGHTS], keys[_IMAGES])
