"""Projected gradient ascent in an l-infinity ball, for adversarial training.

Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018. With
a budget per sample it is the friendly attack of Zhang et al., "Attacks which do not kill
training make adversarial learning stronger", ICML 2020 (FAT): once the network gets a sample
wrong, the sample takes only as many more such steps as its budget allows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.adversary import active_set
from augmax_jax.adversary.inputs import (
    LogitsFn,
    as_float,
    checked,
    cross_entropies,
    misclassified,
    refuse_nan,
)
from augmax_jax.runtime.checks import check_count, check_flag, check_labels, check_number
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
) -> PGDResult:
    """Signed gradient ascent on the cross-entropy, clipped to the ball and to [0, 1].

    Args:
        key: one key, or one per example `[B]`; it is unused without
            `random_start` and `jitter`.
        logits_fn: the network in eval mode, float32 `[B', H, W, 3]` in [0, 1] to float logits
            `[B', C]`; examples must not influence each other.
        images: `[B, H, W, 3]`, uint8, or float in [0, 1].
        labels: int `[B]` in [0, C). The range, and that the logits are not NaN, can be
            checked only where values are known, so not under `jit`.
        eps: radius of the ball on the [0, 1] scale, in [0, 1].
        step_size: length of each step on the [0, 1] scale, in [0, 1].
        steps: the most steps; 0 returns the start.
        random_start: whether to start at a uniform point of the ball, clipped to [0, 1],
            instead of at the image.
        budget: None: every sample takes all steps. Otherwise FAT's τ, one number or int
            `[B]`; it may be traced. Before each step, a misclassified sample stops if its
            budget is 0; otherwise the budget falls by 1 and the sample goes on. A
            misclassified start counts too.
        jitter: standard deviation of normal noise added after each step, before clipping
            (FAT's ω).
        compact: whether to evaluate unfinished samples only (`active_set`); the results are the
            same. True, or the number of samples that go through the network together once few
            are unfinished. It has no effect without a budget.

    Returns:
        A `PGDResult`.

    Raises:
        ValueError: a shape, dtype or setting is not as described.
    """
    check_settings(
        eps=eps, step_size=step_size, steps=steps, random_start=random_start, jitter=jitter
    )
    clean = as_float(images)
    batch = clean.shape[0]
    network = checked(logits_fn, labels)
    labels = check_labels(labels, batch)
    left = jnp.zeros(batch, jnp.int32)
    if budget is not None:
        left = _check_budget(budget, batch)
    chunk = active_set.chunk_size(compact, batch)
    if budget is None:  # all samples finish together
        chunk = None

    low, high = jnp.maximum(clean - eps, 0), jnp.minimum(clean + eps, 1)
    keys = jax.vmap(jax.random.split)(example_keys(key, batch))
    start = clean
    if random_start:
        noise = jax.vmap(lambda k: jax.random.uniform(k, clean.shape[1:], minval=-1, maxval=1))
        start = jnp.clip(clean + eps * noise(keys[:, 0]), low, high)

    def forward(x, rows):
        logits, own = network(x), active_set.take(labels, rows)
        return cross_entropies(logits, own), misclassified(logits, own)

    def judge(left, taken, wrong):
        stops = wrong & (left == 0)
        left = left - (wrong & ~stops).astype(jnp.int32)
        return left, stops if budget is not None else jnp.zeros_like(stops)

    def move(x, gradient, taken, rows):
        x = x + step_size * jnp.sign(gradient)
        if jitter:
            step_keys = jax.vmap(jax.random.fold_in)(active_set.take(keys[:, 1], rows), taken)
            x += jitter * jax.vmap(lambda k: jax.random.normal(k, x.shape[1:]))(step_keys)
        return jnp.clip(x, active_set.take(low, rows), active_set.take(high, rows))

    x, taken = active_set.ascend(forward, judge, move, start, left, steps=steps, chunk=chunk)
    refuse_nan(x)
    return PGDResult(jax.lax.stop_gradient(x), taken)


def check_settings(
    *,
    eps: float,
    step_size: float,
    steps: int,
    random_start: bool,
    jitter: float = 0.0,
    prefix: str = "",
) -> None:
    """Raises ValueError for a setting of `pgd` that is out of range or of another type.

    Args:
        eps: in [0, 1]; see `pgd` for this and the following.
        step_size: in [0, 1].
        steps: a whole number of at least 0.
        random_start: True or False.
        jitter: at least 0.
        prefix: goes before each name in the message, such as "config.pgd.".
    """
    check_number(f"{prefix}eps", eps, low=0, high=1)
    check_number(f"{prefix}step_size", step_size, low=0, high=1)
    check_count(f"{prefix}steps", steps)
    check_flag(f"{prefix}random_start", random_start)
    check_number(f"{prefix}jitter", jitter, low=0)


def _check_budget(budget: int | jax.Array, batch: int) -> jax.Array:
    """FAT's budgets, int32 `[batch]`; raises ValueError unless they are whole and not negative."""
    known = not isinstance(budget, jax.core.Tracer)
    if known and jnp.ndim(budget) == 0:
        check_count("budget", budget)
    values: Any = np.asarray(budget) if known else budget
    if values.shape not in ((), (batch,)) or not jnp.issubdtype(values.dtype, jnp.integer):
        raise ValueError(
            f"budget must be one number or int [{batch}], got {values.dtype} {list(values.shape)}"
        )
    if known and values.min() < 0:
        raise ValueError(f"budget must be at least 0, got {values.min()}")
    return jnp.broadcast_to(jnp.asarray(values, jnp.int32), (batch,))
