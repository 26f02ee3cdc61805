"""Losses: cross-entropy, Jensen-Shannon consistency, and the objective over views (Eq. 5-6)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from augmax_jax.runtime.checks import (
    check_argument,
    check_flag,
    check_labels,
    check_logits,
    check_number,
)


def cross_entropy(
    logits: jax.Array, labels: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
    """Mean cross-entropy over the batch.

    Args:
        logits: float `[B, C]`; computed in float32.
        labels: int `[B]` in [0, C).
        label_smoothing: share ε in [0, 1) of a label that goes to all C classes evenly, as in
            Szegedy et al. (CVPR 2016), Sec. 7.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: `label_smoothing` is not in [0, 1), `logits` is not float `[B, C]`, or `labels`
            not int `[B]`. Where the values are known (so not under `jit`): a label is not in
            [0, C), or logits are NaN or infinite.
    """
    check_logits(logits)
    batch, classes = logits.shape
    labels = check_labels(labels, batch, num_classes=classes)
    check_number("label_smoothing", label_smoothing, low=0, high=1, below_high=True)
    logits = jnp.asarray(logits, jnp.float32)
    if label_smoothing:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, classes), label_smoothing)
        return optax.softmax_cross_entropy(logits, targets).mean()
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def jensen_shannon(logits_list: Sequence[jax.Array]) -> jax.Array:
    """Jensen-Shannon divergence of softmax predictions, mean over the batch (Eq. 6).

    `JS = (1/V) Σ_v KL(P_v ‖ M)`, where M is the mean of the V predictions. M is clamped to
    [1e-7, 1] before its logarithm, as the reference implementations do. Gradients flow
    through every prediction and through M.

    Args:
        logits_list: V ≥ 2 arrays, float `[B, C]`; computed in float32.

    Returns:
        A float32 scalar in [0, ln V].

    Raises:
        ValueError: there are fewer than two arrays, their shapes differ, or one is not float
            `[B, C]`, or (where the values are known) has NaN or infinity.
    """
    if not isinstance(logits_list, Sequence):
        raise ValueError(f"predictions must be a list of logits, got {type(logits_list).__name__}")
    if len(logits_list) < 2:
        raise ValueError(f"consistency needs at least 2 predictions, got {len(logits_list)}")
    shapes = {jnp.shape(logits) for logits in logits_list}
    if len(shapes) > 1:
        raise ValueError(f"predictions must have one shape, got {sorted(shapes)}")
    for i, logits in enumerate(logits_list):
        check_logits(logits, name=f"predictions[{i}]")
    stacked = jnp.stack([jnp.asarray(logits, jnp.float32) for logits in logits_list])
    log_p = jax.nn.log_softmax(stacked)
    p = jnp.exp(log_p)
    log_mean = jnp.log(jnp.clip(p.mean(axis=0), 1e-7, 1.0))
    return jnp.sum(p * (log_p - log_mean[None]), axis=-1).mean()


def objective(
    logits_list: Sequence[jax.Array],
    labels: jax.Array,
    *,
    weights: Sequence[float],
    consistent: Sequence[bool],
    consistency_weight: float | jax.Array,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`Σ_v weight_v · CE(view_v) + λ · JS(consistent views)`.

    The paper's Eq. 5 has weights ½ on the clean and the AugMax view and 0 on the AugMix view,
    and all three are consistent.

    Args:
        logits_list: one float `[B, C]` per view.
        labels: int `[B]`.
        weights: weight of each view in the classification loss, at least 0.
        consistent: whether each view takes part in the consistency term.
        consistency_weight: λ, at least 0, a number or a traced scalar; the term is left out if
            fewer than two views take part.
        label_smoothing: of the classification loss; see `cross_entropy`.

    Returns:
        The loss, and its parts by name, all float32 scalars.

    Raises:
        ValueError: `weights` or `consistent` has not one entry per view, or a number is not as
            described; `cross_entropy` and `jensen_shannon` say what they refuse.
    """
    if not len(logits_list) == len(weights) == len(consistent):
        raise ValueError(
            f"weights and consistent must have one entry for each of the {len(logits_list)} views, "
            f"got {len(weights)} and {len(consistent)}"
        )
    for i, (weight, use) in enumerate(zip(weights, consistent, strict=True)):
        check_number(f"weights[{i}]", weight, low=0)
        check_flag(f"consistent[{i}]", use)
    check_argument("consistency_weight", consistency_weight, low=0)
    classification = jnp.zeros((), jnp.float32)
    for logits, weight in zip(logits_list, weights, strict=True):
        if weight:
            classification += weight * cross_entropy(
                logits, labels, label_smoothing=label_smoothing
            )
    parts = {"classification": classification}
    chosen = [logits for logits, use in zip(logits_list, consistent, strict=True) if use]
    loss = classification
    if len(chosen) > 1:
        parts["consistency"] = jensen_shannon(chosen)
        loss += consistency_weight * parts["consistency"]
    return loss, {"loss": loss, **parts}
