"""Projected gradient ascent in an l-infinity ball, for adversarial training.

Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018. With
a budget per sample it is the friendly attack of Zhang et al., "Attacks which do not kill
training make adversarial learning stronger", ICML 2020 (FAT): a sample that the network
already gets wrong goes on for that many more such steps only.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from augmax_jax.adversary import active_set
from augmax_jax.adversary.augmax import LogitsFn
from augmax_jax.adversary.inputs import as_float, as_labels, check_at_least, cross_entropies
from augmax_jax.runtime.keys import example_keys


class PGDResult(NamedTuple):
    """What the attack found.

    Attributes:
        images: float32 `[B, H, W, 3]` in [0, 1], within eps of the originals; no gradient
            flows back through them.
        steps: ascent steps taken by each sample, int32 `[B]`.
    """

    images: jax.Array
    steps: jax.Array


def pgd(
    key: jax.Array,
    logits_fn: LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    eps: float = 8 / 255,
    step_size: float = 2 / 255,
    steps: int = 10,
    random_start: bool = True,
    budget: int | jax.Array | None = None,
    jitter: float = 0.0,
    compact: bool | int = False,
    first_index: int | jax.Array = 0,
) -> PGDResult:
    """Signed gradient ascent on the cross-entropy, clipped to the ball and to [0, 1].

    Args:
        key: one key, or one per example `[B]`; nothing is drawn from it without
            `random_start` and `jitter`.
        logits_fn: the network in eval mode, float32 `[B', H, W, 3]` in [0, 1] to logits
            `[B', C]`; examples must not influence each other.
        images: `[B, H, W, 3]`, uint8, or float in [0, 1].
        labels: int `[B]`.
        eps: radius of the ball on the [0, 1] scale.
        step_size: of each step, on the same scale.
        steps: most steps; 0 returns the start.
        random_start: start uniform in the ball, clipped to [0, 1], instead of at the image.
        budget: None: every sample takes all steps. Otherwise FAT's τ, one number or int
            `[B]`, and it may be traced: before each step, a sample that is misclassified
            stops if its budget is 0, and else pays 1 and goes on. The start counts too.
        jitter: standard deviation of normal noise added after each step, before clipping
            (FAT's ω).
        compact: spend work on unfinished samples only (`active_set`), with the same results:
            True, or the number of samples that go through the network together once few are
            unfinished. No effect without a budget.
        first_index: place of the first example in the global batch.

    Returns:
        The attacked images, and how many steps each took.

    Raises:
        ValueError: a shape, dtype or setting is not as described.
    """
    clean = as_float(images)
    batch = clean.shape[0]
    labels = as_labels(labels, batch)
    check_at_least(0, eps=eps, step_size=step_size, steps=steps, jitter=jitter)
    left = jnp.zeros(batch, jnp.int32)
    if budget is not None:
        if jnp.shape(budget) not in ((), (batch,)):
            raise ValueError(
                f"budget must be one number or int [{batch}], got shape {list(jnp.shape(budget))}"
            )
        if isinstance(budget, int):
            check_at_least(0, budget=budget)
        left = jnp.broadcast_to(jnp.asarray(budget, jnp.int32), (batch,))
    chunk = active_set.chunk_size(compact, batch)
    if budget is None:  # no sample finishes alone
        chunk = None

    low, high = jnp.maximum(clean - eps, 0), jnp.minimum(clean + eps, 1)
    keys = jax.vmap(jax.random.split)(example_keys(key, batch, first_index=first_index))
    start = clean
    if random_start:
        noise = jax.vmap(lambda k: jax.random.uniform(k, clean.shape[1:], minval=-1, maxval=1))
        start = jnp.clip(clean + eps * noise(keys[:, 0]), low, high)

    def forward(x, rows):
        logits, own = logits_fn(x), active_set.take(labels, rows)
        return cross_entropies(logits, own), jnp.argmax(logits, axis=-1) != own

    def judge(left, taken, wrong):
        stops = wrong & (left == 0)
        return left - (wrong & ~stops), stops if budget is not None else jnp.zeros_like(stops)

    def move(x, gradient, taken, rows):
        x = x + step_size * jnp.sign(gradient)
        if jitter:
            step_keys = jax.vmap(jax.random.fold_in)(active_set.take(keys[:, 1], rows), taken)
            x += jitter * jax.vmap(lambda k: jax.random.normal(k, x.shape[1:]))(step_keys)
        return jnp.clip(x, active_set.take(low, rows), active_set.take(high, rows))

    x, taken = active_set.ascend(forward, judge, move, start, left, steps=steps, chunk=chunk)
    return PGDResult(jax.lax.stop_gradient(x), taken)
