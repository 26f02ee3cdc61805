"""Gradients of the unfinished samples of a batch only, for the price of so many.

The network is in eval mode, so samples do not see each other and any company gives a sample the
same result. Two compiled bodies do the work: one evaluates the whole batch, while most samples are
unfinished, and one gathers the unfinished samples into chunks of a fixed size, as many as it takes.
A sample that stops needs no gradient any more, but that is known only after its forward pass: so
the backward pass of the whole batch is skipped if few samples go on, and those are evaluated
again in chunks.

XLA may sum the values of a sample in another order when it compiles for another number of samples,
so a sample's gradient depends on its company by rounding. m and p see nothing but signs:
compacted runs equal the plain loop bit for bit unless a component of the gradient lies within
rounding of zero, and none did in what tests/adversary/test_active_set.py and
docs/performance.md compare. Very small batches get quite other kernels, so a chunk has 8 samples at
least.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# (variables of some samples, the rows of these in the batch or None for all of it) -> what each
# sample ascends on, float `[R]`, and whether it is misclassified, bool `[R]`.
Forward = Callable[[Any, jax.Array | None], tuple[jax.Array, jax.Array]]

SMALLEST = 8
CPU_CHUNK = 8

# Shares of the batch, from the cost of a sample in a chunk of 8: 1.2 times that in the whole batch,
# of which the backward pass is half (docs/performance.md).
MANY_ACTIVE = 0.8  # with more unfinished samples the whole batch is evaluated
MANY_MOVING = 0.4  # with more samples that go on its backward pass is taken


def default_chunk(batch: int) -> int:
    """Samples per chunk where the caller does not say.

    Small chunks follow the number of active samples closely, large ones use the device better.
    On the CPU 8 has been measured to be best (docs/performance.md); for accelerators, a quarter of
    the batch is a guess that has not been measured.

    Args:
        batch: number of samples, at least 1.

    Returns:
        Samples per chunk, at least 1; `active_gradients` keeps it between 8 and `batch`.
    """
    return CPU_CHUNK if jax.default_backend() == "cpu" else -(-batch // 4)


def gradients(
    forward: Forward, variables: Any, rows: jax.Array | None = None
) -> tuple[Any, jax.Array]:
    """Gradients of each sample's own objective, and whether it is misclassified.

    Args:
        forward: the attack's objective; samples must not influence each other.
        variables: what it is differentiated by, arrays `[R, ...]`.
        rows: where the samples lie in the batch, int32 `[R]`; None: they are all of it.

    Returns:
        Gradients like `variables`, and bool `[R]`.
    """
    objective, backward, wrong = jax.vjp(lambda v: forward(v, rows), variables, has_aux=True)
    return backward(jnp.ones_like(objective))[0], wrong


def active_gradients(
    forward: Forward,
    variables: Any,
    active: jax.Array,
    stops: Callable[[jax.Array], jax.Array],
    chunk: int,
) -> tuple[Any, jax.Array]:
    """`gradients` of the active samples that go on, for the work that these take.

    Args:
        forward: as in `gradients`. Rows past the end of the batch fill the last chunk; what is
            returned for them is dropped.
        variables: of the batch, arrays `[B, ...]`.
        active: bool `[B]`, samples that may need a gradient.
        stops: takes who is misclassified, bool `[B]`, and tells which of the active samples need no
            gradient then.
        chunk: samples that are evaluated together while few are active, made at least 8 and at
            most B.

    Returns:
        Gradients like `variables`, of any value for samples that are not active or stop, and who is
        misclassified, bool `[B]`, False for samples that are not active.
    """
    batch = active.shape[0]
    chunk = min(max(chunk, SMALLEST), batch)
    zeros = jax.tree.map(jnp.zeros_like, variables)

    def evaluate_all():
        objective, backward, wrong = jax.vjp(lambda v: forward(v, None), variables, has_aux=True)
        moves = active & ~stops(wrong)
        worth = moves.sum() > MANY_MOVING * batch
        gradient = jax.lax.cond(worth, lambda: backward(jnp.ones_like(objective))[0], lambda: zeros)
        return gradient, wrong, moves & ~worth

    def evaluate_none():
        return zeros, jnp.zeros_like(active), active

    gradient, wrong, left = jax.lax.cond(
        active.sum() > MANY_ACTIVE * batch, evaluate_all, evaluate_none
    )
    # The rows that are left, then as many ends as the last chunk may need.
    queue = jnp.nonzero(left, size=batch + chunk, fill_value=batch)[0].astype(jnp.int32)
    total = left.sum()

    def run(state):
        start, *results = state
        rows = jax.lax.dynamic_slice_in_dim(queue, start, chunk)
        own = jax.tree.map(lambda v: v.at[rows].get(mode="clip"), variables)
        results = jax.tree.map(
            lambda whole, part: whole.at[rows].set(part, mode="drop"),
            tuple(results),
            gradients(forward, own, rows),
        )
        return start + chunk, *results

    _, gradient, wrong = jax.lax.while_loop(
        lambda state: state[0] < total, run, (jnp.int32(0), gradient, wrong)
    )
    return gradient, wrong & active
