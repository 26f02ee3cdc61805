"""Evaluating only the unfinished samples of a batch, for the price of so many.

The network is in eval mode, so samples do not see each other and any company gives a sample the
same result: the unfinished ones are gathered into chunks of a fixed size, and a loop runs over
as many chunks as it takes. There is one compiled body whatever the number of samples.

XLA may sum the values of a sample in another order when it compiles for another number of samples,
so a sample's gradient depends on its company by rounding. m and p see nothing but signs:
compacted runs equal the plain loop bit for bit unless a component of the gradient lies within
rounding of zero, and none did in what tests/adversary/test_active_set.py and
docs/performance.md compare. Very small batches get quite other kernels, so a chunk has 8 samples at
least.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

SMALLEST = 8
CPU_CHUNK = 16


def default_chunk(batch: int) -> int:
    """Samples per chunk where the caller does not say.

    Small chunks follow the number of active samples closely, large ones use the device better.
    On CPU a sample costs 9% more in a chunk of 16 than in a batch of 64 and 21% more in one of 8
    (docs/performance.md); for accelerators, a quarter of the batch is a guess that has not been
    measured.

    Args:
        batch: number of samples, at least 1.

    Returns:
        Samples per chunk, at least 1; `evaluate_active` keeps it between 8 and `batch`.
    """
    return CPU_CHUNK if jax.default_backend() == "cpu" else -(-batch // 4)


def evaluate_active(
    evaluate: Callable[[jax.Array], tuple[jax.Array, ...]],
    active: jax.Array,
    chunk: int,
    *,
    order: jax.Array | None = None,
) -> tuple[jax.Array, ...]:
    """Calls `evaluate` on the active samples, chunk by chunk.

    Args:
        evaluate: takes int32 `[chunk]`, rows of the batch, and returns arrays with one value (or
            row of values) for each. Rows past the end of the batch fill the last chunk; what is
            returned for them is dropped.
        active: bool `[B]`.
        chunk: rows per call, made at least 8 and at most B.
        order: float `[B]`, samples with close values go together; None: as they lie.

    Returns:
        What `evaluate` returns, `[B, ...]`, zeros (False) for samples that are not active.
    """
    batch = active.shape[0]
    chunk = min(max(chunk, SMALLEST), batch)
    # Rows of the active samples in order, then as many ends as the last chunk may need.
    order = jnp.zeros(batch) if order is None else order
    rows = jnp.lexsort((order, ~active))
    total = active.sum()
    rows = jnp.where(jnp.arange(batch) < total, rows, batch)
    queue = jnp.pad(rows, (0, chunk), constant_values=batch).astype(jnp.int32)

    def run(state):
        start, results = state
        rows = jax.lax.dynamic_slice_in_dim(queue, start, chunk)
        results = tuple(
            whole.at[rows].set(part, mode="drop")
            for whole, part in zip(results, evaluate(rows), strict=True)
        )
        return start + chunk, results

    empty = tuple(
        jnp.zeros((batch, *part.shape[1:]), part.dtype)
        for part in jax.eval_shape(evaluate, queue[:chunk])
    )
    return jax.lax.while_loop(lambda state: state[0] < total, run, (jnp.int32(0), empty))[1]
