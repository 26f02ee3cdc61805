"""For each sample, the random candidate with the highest loss among k: a search without gradients.

AdvMix and the first half of AdvMax search the levels of AugMix's operators (AugMax paper,
App. B), MaxUp (Gong et al., CVPR 2021) searches whole augmentations, and the spatial attack
(`spatial`) searches rotations and translations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.adversary.inputs import (
    LogitsFn,
    checked,
    cross_entropies,
    refuse_nan,
)
from augmax_jax.runtime.checks import check_count, check_labels
from augmax_jax.runtime.keys import example_keys


class WorstOfKResult(NamedTuple):
    """The candidate with the highest loss, for each sample.

    Attributes:
        images: float32 `[B, H, W, 3]` in [0, 1].
        candidate: what `draw` returned for the worst candidates: arrays `[B, ...]`.
        loss: cross-entropy of the worst candidate, float32 `[B]`.
        first_loss: cross-entropy of the first candidate, never above `loss`, float32 `[B]`.
        choice: index of the draw that is the worst, in 0..k-1, int32 `[B]`.
    """

    images: jax.Array
    candidate: Any
    loss: jax.Array
    first_loss: jax.Array
    choice: jax.Array


class Worst(NamedTuple):
    """What `search` found for each sample.

    Attributes:
        found: what `attempt` returned beside the loss, for the worst attempt; arrays `[B, ...]`.
        loss: loss of the worst attempt, float32 `[B]`.
        first_loss: loss of the first attempt, float32 `[B]`.
        choice: index of the worst attempt, in 0..k-1, int32 `[B]`.
    """

    found: Any
    loss: jax.Array
    first_loss: jax.Array
    choice: jax.Array


def search(attempt: Callable[[jax.Array], tuple[Any, jax.Array]], k: int) -> Worst:
    """Makes k attempts on a batch and keeps, for each sample, the one with the highest loss.

    It makes one attempt at a time, so memory does not grow with k. Among equally bad attempts the
    first is kept. A loss of NaN counts as the worst, so that the result shows it.

    Args:
        attempt: takes the number of the attempt (int32 scalar, traced) and returns any pytree of
            arrays `[B, ...]`, and the loss of each sample, float32 `[B]`.
        k: number of attempts, at least 1.

    Returns:
        The worst attempt of each sample.

    Raises:
        ValueError: `k` is no whole number of at least 1.
    """
    check_count("k", k, low=1)

    def tried(j: jax.Array) -> Worst:
        found, loss = attempt(j)
        return Worst(found, loss, loss, jnp.broadcast_to(jnp.asarray(j, jnp.int32), loss.shape))

    def keep_worse(worst: Worst, j: jax.Array) -> tuple[Worst, None]:
        new = tried(j)
        first = j == 0
        worse = first | (new.loss > worst.loss) | jnp.isnan(new.loss)

        def choose(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(worse.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        chosen = jax.tree.map(choose, new, worst)
        return chosen._replace(first_loss=jnp.where(first, new.loss, worst.first_loss)), None

    # The first attempt goes through the loop too, so that there is one compiled body.
    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(tried, jnp.int32(0))
    )
    return jax.lax.scan(keep_worse, nothing, jnp.arange(k, dtype=jnp.int32))[0]


def worst_of_k(
    key: jax.Array,
    logits_fn: LogitsFn,
    draw: Callable[[jax.Array], Any],
    labels: jax.Array,
    *,
    k: int = 5,
    to_images: Callable[[Any], jax.Array] = lambda candidate: candidate,
) -> WorstOfKResult:
    """Draws k candidates per sample and keeps the one with the highest loss.

    Args:
        key: one key, or one per example `[B]`; draw j of an example uses the example's key
            folded with j.
        logits_fn: the network in eval mode, float32 `[B, H, W, 3]` in [0, 1] to float logits
            `[B, C]`.
        draw: takes typed keys `[B]` and returns a candidate for every sample: an array
            `[B, ...]`, or any pytree of them.
        labels: int `[B]` in [0, C). The range, and that the logits are not NaN, can be
            checked only where values are known, so not under `jit`.
        k: number of draws, at least 1; the first of equally bad ones is kept.
        to_images: turns candidates into images for the network, float32 `[B, H, W, 3]` in
            [0, 1]; not needed if candidates are such images.

    Returns:
        A `WorstOfKResult`; no gradient flows back through it.

    Raises:
        ValueError: an argument is not as described, or `logits_fn` does not return such logits.
    """
    check_count("k", k, low=1)
    for name, function in (("draw", draw), ("to_images", to_images)):
        if not callable(function):
            raise ValueError(f"{name} must be a function, got {type(function).__name__}")
    network = checked(logits_fn, labels)
    batch = np.shape(labels)[0] if np.ndim(labels) else 0
    labels = check_labels(labels, batch)
    keys = example_keys(key, batch)

    def attempt(j: jax.Array) -> tuple[Any, jax.Array]:
        candidate = draw(jax.vmap(lambda key: jax.random.fold_in(key, j))(keys))
        images = to_images(candidate)
        return (images, candidate), cross_entropies(network(images), labels)

    worst = jax.lax.stop_gradient(search(attempt, k))
    refuse_nan(worst.loss)
    images, candidate = worst.found
    return WorstOfKResult(images, candidate, worst.loss, worst.first_loss, worst.choice)
