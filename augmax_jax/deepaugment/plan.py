"""Plans which images share damaged weights; the seed alone decides.

The published script draws new weights before an image with probability 0.05, and goes through the
set in random order. So here: the set is put in a random order and cut into runs; the images of a
run share weights, and the run is the unit of work. Damage to activations hangs off an image's
index. Neither where an interrupted job stopped nor how the runs are shared out changes anything.
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
        number: from 0.
        indices: of the images, in the order of the work.
    """

    number: int
    indices: np.ndarray


class Plan(NamedTuple):
    """The work and its keys.

    Attributes:
        runs: all of them.
        weights_key: of all weight damage; fold in the number of a run.
        images_key: of all activation damage; fold in the index of an image.
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
        key: of everything.
        network: number of the network. Networks have the same order, so the same images under a
            limit, and draws of their own for the rest.
        images: in the set.
        limit: how many of them to take; 0: all.
        shuffle: whether the order is random; otherwise as they come.
    """
    order_key, key = jax.random.split(key)
    keys = jax.random.split(jax.random.fold_in(key, network), 3)
    order = jax.random.permutation(order_key, images) if shuffle else np.arange(images)
    order = np.asarray(order)[: limit or None]
    redraws = np.array(jax.random.uniform(keys[_REDRAWS], (len(order),)) < REDRAW)
    redraws[:1] = False  # damaged weights are drawn before the first image anyway
    parts = np.split(order, np.flatnonzero(redraws))
    runs = [Run(number, indices) for number, indices in enumerate(parts)]
    return Plan(runs, keys[_WEIGHTS], keys[_IMAGES])
