"""Gradient ascent on many samples at once that evaluates unfinished samples only.

The network is in eval mode, so a sample's result does not depend on the samples that are evaluated
with it. This module therefore chooses which samples are evaluated together, and when. While most
samples are unfinished, it evaluates the whole batch. After that, it evaluates chunks of a fixed
size, which take the samples with the most steps left. So the chunks are full until the end, though
some samples are then a step ahead of others. A sample that stops needs no gradient, but only its
forward pass shows that it stops. So if few samples go on, the backward pass of the whole batch is
skipped, and these samples are evaluated again in chunks.

XLA may sum the values of a sample in another order when it compiles for another number of samples,
so a sample's gradient may change by rounding. Signed steps use only the signs of the gradient.
So a compacted run equals the plain loop bit for bit, unless rounding turns the sign of a component
that is nearly zero. That did not happen in the comparisons of tests/adversary/test_active_set.py
and docs/performance_log.md. XLA uses other kernels for very small batches, so a chunk has at least
8 samples.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# (variables of some samples, their rows in the batch or None for all of it) -> the objective of
# each sample, float `[R]`, and whether it is misclassified, bool `[R]`.
Forward = Callable[[Any, jax.Array | None], tuple[jax.Array, jax.Array]]

# (memory, steps taken, which are misclassified now; each `[R]`) -> memory, and which stop here.
Judge = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

# (variables, their gradients, steps taken before, rows as above) -> variables after one step.
Move = Callable[[Any, Any, jax.Array, jax.Array | None], Any]

SMALLEST = 8
CPU_CHUNK = 8

# Shares of the batch, from the cost of a sample in a chunk of 8: 1.2 times that in the whole batch,
# of which the backward pass is half (docs/performance_log.md).
MANY_ACTIVE = 0.8  # above this share of unfinished samples the whole batch is evaluated
MANY_MOVING = 0.4  # above this share of samples that go on its backward pass is taken


class _State(NamedTuple):
    """The variables, `Judge`'s memory, steps taken, and which samples stopped; each `[R, ...]`."""

    variables: Any
    memory: jax.Array
    taken: jax.Array
    stopped: jax.Array


def chunk_size(compact: bool | int, batch: int) -> int | None:
    """The `chunk` of `ascend` that a user's `compact` asks for.

    Small chunks follow the number of active samples closely; large ones use the device better.
    On the CPU, 8 was measured to be best (docs/performance_log.md). For accelerators a quarter of
    the batch is used; that is a guess without a measurement.

    Args:
        compact: samples per chunk; True: a number that suits the device; False or 0: no chunks.
        batch: number of samples, at least 1.

    Returns:
        Samples per chunk, at least 1, which `ascend` limits to 8 ... `batch`; None: no chunks.

    Raises:
        ValueError: `compact` is neither a bool nor a whole number of at least 0.
    """
    if not isinstance(compact, bool | int | np.integer) or compact < 0:
        raise ValueError(f"compact must be True, False or a positive number, got {compact!r}")
    if compact is True:
        return CPU_CHUNK if jax.default_backend() == "cpu" else -(-batch // 4)
    return int(compact) or None


def take(values: jax.Array, rows: jax.Array | None) -> jax.Array:
    """The rows of some samples in the values of a batch.

    Args:
        values: `[B, ...]`.
        rows: int32 `[R]`; a row past the end means the last one. None: all of the batch.

    Returns:
        `[R, ...]`, or `values`.
    """
    return values if rows is None else values.at[rows].get(mode="clip")


def ascend(
    forward: Forward,
    judge: Judge,
    move: Move,
    variables: Any,
    memory: jax.Array,
    *,
    steps: int,
    chunk: int | None = None,
) -> tuple[Any, jax.Array]:
    """Takes up to `steps` steps with each sample, fewer if `judge` stops it.

    A sample is evaluated (`forward`), judged, and moved along its gradient unless it stops. This
    repeats until it stops or has taken all steps. The point after step `steps` is not evaluated.

    Args:
        forward: the attack's objective; samples must not influence each other. Rows past the end
            of the batch fill up a chunk; what is returned for them is dropped.
        judge: decides which samples stop. With a chunk, a sample's result must not depend on
            the others'.
        move: one step.
        variables: starting point, arrays `[B, ...]`.
        memory: what `judge` remembers of a sample at the start, `[B]`.
        steps: the most steps of a sample.
        chunk: None: the whole batch is evaluated until no sample is left. Otherwise: number of
            samples that are evaluated together while few are active, limited to 8 ... B.

    Returns:
        The variables at the end, as `variables`; and the steps that each sample took, int32 `[B]`.
    """
    batch = memory.shape[0]

    def active(state: _State) -> jax.Array:
        return ~state.stopped & (state.taken < steps)

    def judged(state: _State, wrong: jax.Array) -> _State:
        memory, stops = judge(state.memory, state.taken, wrong)
        return state._replace(memory=memory, stopped=state.stopped | stops)

    def moved(state: _State, gradient: Any, rows: jax.Array | None = None) -> _State:
        moves = active(state)
        variables = jax.tree.map(
            lambda new, old: jnp.where(moves.reshape(-1, *[1] * (old.ndim - 1)), new, old),
            move(state.variables, gradient, state.taken, rows),
            state.variables,
        )
        return state._replace(variables=variables, taken=state.taken + moves.astype(jnp.int32))

    def of_whole_batch(state: _State) -> _State:
        gradient, wrong = _evaluate(forward, state.variables, None)
        after = judged(state, wrong)
        if chunk is None:
            return moved(after, gradient())
        # Samples that go on but are not moved here are judged in their chunk.
        return jax.lax.cond(
            active(after).sum() > math.floor(MANY_MOVING * batch),
            lambda: moved(after, gradient()),
            lambda: state._replace(stopped=after.stopped),
        )

    def of_chunk(state: _State) -> _State:
        ahead, rows = jax.lax.top_k(jnp.where(active(state), steps - state.taken, 0), size)
        rows = jnp.where(ahead > 0, rows, batch)
        own = jax.tree.map(lambda whole: take(whole, rows), state)
        gradient, wrong = _evaluate(forward, own.variables, rows)
        own = moved(judged(own, wrong), gradient(), rows)
        return jax.tree.map(lambda whole, part: whole.at[rows].set(part, mode="drop"), state, own)

    state = _State(variables, memory, jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool))
    many = 0 if chunk is None else math.floor(MANY_ACTIVE * batch)
    state = jax.lax.while_loop(lambda s: active(s).sum() > many, of_whole_batch, state)
    if chunk is not None:
        size = min(max(chunk, SMALLEST), batch)
        state = jax.lax.while_loop(lambda s: jnp.any(active(s)), of_chunk, state)
    return state.variables, state.taken


def _evaluate(
    forward: Forward, variables: Any, rows: jax.Array | None
) -> tuple[Callable[[], Any], jax.Array]:
    """A function that gives each sample's gradient, and which samples are misclassified."""
    objective, backward, wrong = jax.vjp(lambda v: forward(v, rows), variables, has_aux=True)
    return lambda: backward(jnp.ones_like(objective))[0], wrong
