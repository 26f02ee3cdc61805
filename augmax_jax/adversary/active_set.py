"""Inner maximisation that spends work on unfinished samples only.

The network is in eval mode, so samples do not see each other: each can run Algorithm 1 at its
own pace. A chunk of slots goes through the network again and again; a sample that is finished
leaves its slot to the next one in the queue. One compiled body of fixed shape, whose number of
runs is the number of evaluations that the samples need, divided by the slots, plus at most
`steps` runs in which the queue is empty and slots idle.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# (rows, m, p) -> (∂L/∂m, ∂L/∂p, misclassified) of those rows of the batch. Rows past the end
# of the batch are allowed and their results are not used.
Evaluate = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


def ascend(
    m: jax.Array,
    p: jax.Array,
    grad_m: jax.Array,
    grad_p: jax.Array,
    active: jax.Array,
    step_size: float,
) -> tuple[jax.Array, jax.Array]:
    """One sign-gradient step of the active samples: m stays in [0, 1], p is free.

    Args:
        m: skip weights, float32 `[B]`.
        p: chain logits, float32 `[B, K]`.
        grad_m: gradient, like m.
        grad_p: gradient, like p.
        active: bool `[B]`; the others keep their m and p.
        step_size: α of both.

    Returns:
        The new m and p.
    """
    return (
        jnp.where(active, jnp.clip(m + step_size * jnp.sign(grad_m), 0.0, 1.0), m),
        jnp.where(active[:, None], p + step_size * jnp.sign(grad_p), p),
    )


def default_chunk(batch: int) -> int:
    """Number of slots where the caller does not choose it.

    Few slots follow the active samples closely, many keep the device busy. Measured on CPU
    (docs/performance.md); on accelerators a quarter of the batch, not measured.

    Args:
        batch: number of samples.
    """
    return min(batch, 16) if jax.default_backend() == "cpu" else -(-batch // 4)


def maximise(
    evaluate: Evaluate,
    m: jax.Array,
    p: jax.Array,
    *,
    steps: int,
    step_size: float,
    patience: int,
    count_initial: bool,
    chunk: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Algorithm 1 of all samples, a chunk of unfinished ones at a time.

    Args:
        evaluate: gradients and misclassification of some rows of the batch.
        m: starting skip weights, float32 `[B]`.
        p: starting chain logits, float32 `[B, K]`.
        steps: most ascent steps of a sample.
        step_size: α.
        patience: misclassifications after which a sample stops.
        count_initial: whether a misclassified start counts.
        chunk: number of slots, at most B.

    Returns:
        The last m and p, and the steps that each sample took, int32 `[B]`.
    """
    batch = m.shape[0]
    if steps == 0:
        return m, p, jnp.zeros(batch, jnp.int32)

    def unfinished(state):
        rows, *_ = state
        return jnp.any(rows < batch)

    def step(state):
        rows, queued, m, p, evaluated, mistakes, taken = state
        own = lambda values: values.at[rows].get(mode="clip")  # noqa: E731
        own_m, own_p, own_evaluated, own_mistakes = map(own, (m, p, evaluated, mistakes))
        grad_m, grad_p, wrong = evaluate(rows, own_m, own_p)
        own_mistakes += wrong & (count_initial | (own_evaluated > 0))
        active = own_mistakes < patience
        own_m, own_p = ascend(own_m, own_p, grad_m, grad_p, active, step_size)

        m = m.at[rows].set(own_m, mode="drop")
        p = p.at[rows].set(own_p, mode="drop")
        evaluated = evaluated.at[rows].add(1, mode="drop")
        mistakes = mistakes.at[rows].set(own_mistakes, mode="drop")
        taken = taken.at[rows].add(active.astype(jnp.int32), mode="drop")

        # The last iterate is not evaluated, as its misclassification would change nothing.
        finished = ~active | (own_evaluated + 1 == steps)
        waiting = queued + jnp.cumsum(finished) - 1
        rows = jnp.where(finished, jnp.minimum(waiting, batch), rows)
        return rows, queued + finished.sum(), m, p, evaluated, mistakes, taken

    zeros = jnp.zeros(batch, jnp.int32)
    start = (jnp.arange(chunk), jnp.asarray(chunk), m, p, zeros, zeros, zeros)
    _, _, m, p, _, _, taken = jax.lax.while_loop(unfinished, step, start)
    return m, p, taken
