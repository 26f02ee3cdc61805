"""The worst of k random candidates, per sample: attack by search, without gradients.

AdvMix and the first half of AdvMax are this over the levels of AugMix's operators (AugMax
paper, App. B); MaxUp (Gong et al., CVPR 2021) is this over whole augmentations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from augmax_jax.adversary.augmax import LogitsFn
from augmax_jax.adversary.inputs import as_labels, check_at_least, cross_entropies
from augmax_jax.runtime.keys import example_keys


class WorstOfKResult(NamedTuple):
    """The candidate with the highest loss, for each sample.

    Attributes:
        images: float32 `[B, H, W, 3]` in [0, 1].
        candidate: what `draw` returned for it: arrays `[B, ...]`.
        loss: its cross-entropy, float32 `[B]`.
        first_loss: that of the first candidate, never above `loss`, float32 `[B]`.
        choice: which of the k draws it is, int32 `[B]`.
    """

    images: jax.Array
    candidate: Any
    loss: jax.Array
    first_loss: jax.Array
    choice: jax.Array


def worst_of_k(
    key: jax.Array,
    logits_fn: LogitsFn,
    draw: Callable[[jax.Array], Any],
    labels: jax.Array,
    *,
    k: int = 5,
    to_images: Callable[[Any], jax.Array] = lambda candidate: candidate,
    first_index: int | jax.Array = 0,
) -> WorstOfKResult:
    """Draws k candidates per sample and keeps the one the network likes least.

    One candidate at a time is drawn and judged, so memory does not grow with k.

    Args:
        key: one key, or one per example `[B]`; draw j of an example gets its key folded
            with j.
        logits_fn: the network in eval mode, float32 `[B, H, W, 3]` in [0, 1] to `[B, C]`.
        draw: takes typed keys `[B]` and returns a candidate for every sample: an array
            `[B, ...]`, or any pytree of them.
        labels: int `[B]`.
        k: number of draws, at least 1; the first of equally bad ones is kept.
        to_images: makes of a candidate what the network sees, float32 `[B, H, W, 3]` in
            [0, 1]; left out where candidates are images.
        first_index: place of the first example in the global batch.

    Returns:
        The worst candidate of each sample; no gradient flows back through it.

    Raises:
        ValueError: k below 1, or labels that are not int `[B]`.
    """
    check_at_least(1, k=k)
    batch = jnp.shape(labels)[0] if jnp.ndim(labels) else 0
    labels = as_labels(labels, batch)
    keys = example_keys(key, batch, first_index=first_index)

    def attempt(j: jax.Array) -> WorstOfKResult:
        candidate = draw(jax.vmap(lambda key: jax.random.fold_in(key, j))(keys))
        images = to_images(candidate)
        loss = cross_entropies(logits_fn(images), labels)
        choice = jnp.broadcast_to(jnp.asarray(j, jnp.int32), (batch,))
        return WorstOfKResult(images, candidate, loss, loss, choice)

    def keep_worse(worst: WorstOfKResult, j: jax.Array) -> tuple[WorstOfKResult, None]:
        tried = attempt(j)
        first = j == 0
        worse = first | (tried.loss > worst.loss)

        def choose(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(worse.reshape(-1, *[1] * (new.ndim - 1)), new, old)

        chosen = jax.tree.map(choose, tried, worst)
        return chosen._replace(first_loss=jnp.where(first, tried.loss, worst.first_loss)), None

    # The first draw goes through the loop too, so that there is one compiled body.
    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(attempt, jnp.int32(0))
    )
    worst, _ = jax.lax.scan(keep_worse, nothing, jnp.arange(k, dtype=jnp.int32))
    return jax.lax.stop_gradient(worst)
