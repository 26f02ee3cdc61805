"""Ascent of many samples at once, for the work of those that are still going.

The network is in eval mode, so samples do not see each other and any company gives a sample the
same result. That leaves free which samples are evaluated together, and when. While most are
unfinished, the whole batch is. After that, chunks of a fixed size hold the samples that have
the most steps before them: so the chunks are full until the end, though some samples are then a
step ahead of others. A sample that stops needs no gradient any more, but that is known only after
its forward pass: so the backward pass of the whole batch is skipped if few samples go on, and
those are evaluated again in chunks.

XLA may sum the values of a sample in another order when it compiles for another number of samples,
so a sample's gradient depends on its company by rounding. Signed steps see nothing but signs:
compacted runs equal the plain loop bit for bit unless a component of the gradient lies within
rounding of zero, and none did in what tests/adversary/test_active_set.py and
docs/performance_log.md compare. Very small batches get quite other kernels, so a chunk has at
least 8 samples.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# (variables of some samples, the rows of these in the batch or None for all of it) -> what each
# sample ascends on, float `[R]`, and whether it is misclassified, bool `[R]`.
Forward = Callable[[Any, jax.Array | None], tuple[jax.Array, jax.Array]]

# (memory, steps taken, who is misclassified now; each `[R]`) -> memory, and who stops here.
Judge = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

# (variables, their gradients, steps taken before, rows as above) -> variables after one step.
Move = Callable[[Any, Any, jax.Array, jax.Array | None], Any]

SMALLEST = 8
CPU_CHUNK = 8

# Shares of the batch, from the cost of a sample in a chunk of 8: 1.2 times that in the whole batch,
# of which the backward pass is half (docs/performance_log.md).
MANY_ACTIVE = 0.8  # with more unfinished samples the whole batch is evaluated
MANY_MOVING = 0.4  # with more samples that go on its backward pass is taken


class _State(NamedTuple):
    """What ascends, what `Judge` remembers, steps taken, who has stopped; each `[R, ...]`."""

    variables: Any
    memory: jax.Array
    taken: jax.Array
    stopped: jax.Array


def chunk_size(compact: bool | int, batch: int) -> int | None:
    """The `chunk` of `ascend` that a user's `compact` asks for.

    Small chunks follow the number of active samples closely, large ones use the device better.
    On the CPU 8 has been measured to be best (docs/performance_log.md); for accelerators, a quarter
    of the batch is a guess that has not been measured.

    Args:
        compact: samples per chunk; True: as many as suit the device; False or 0: no chunks.
        batch: number of samples, at least 1.

    Returns:
        Samples per chunk, at least 1, which `ascend` keeps between 8 and `batch`, or None.

    Raises:
        ValueError: `compact` is neither a bool nor a number that is not negative.
    """
    if not isinstance(compact, bool | int | np.integer) or compact < 0:
        raise ValueError(f"compact must be True, False or a positive number, got {compact!r}")
    if compact is True:
        return CPU_CHUNK if jax.default_backend() == "cpu" else -(-batch // 4)
    return int(compact) or None


def take(values: jax.Array, rows: jax.Array | None) -> jax.Array:
    """Some samples' part of the values of a batch.

    Args:
        values: `[B, ...]`.
        rows: int32 `[R]`, of which those past the end mean the last; None: all of the batch.

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

    A sample is evaluated (`forward`), judged, and moved along its gradient unless it stops; again,
    until it stops or has taken all steps. The point after its last possible step is not evaluated.

    Args:
        forward: the attack's objective; samples must not influence each other. Rows past the end
            of the batch fill up a chunk; what is returned for them is dropped.
        judge: decides who stops. With a chunk, a sample's result must not depend on the others'.
        move: one step.
        variables: starting point, arrays `[B, ...]`.
        memory: what `judge` remembers of a sample at the start, `[B]`.
        steps: most steps.
        chunk: None: always evaluates the whole batch, until no sample is left. Otherwise samples
            that are evaluated together while few are active, made at least 8 and at most B.

    Returns:
        The variables at the end, and the steps that each sample took, int32 `[B]`.
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
        # Those that go on are judged in their chunk, when they are not moved here.
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
    """What computes the gradient of each sample's own objective, and who is misclassified."""
    objective, backward, wrong = jax.vjp(lambda v: forward(v, rows), variables, has_aux=True)
    return lambda: backward(jnp.ones_like(objective))[0], wrong
