"""AugMax as one call, for other people's training loops."""

from collections.abc import Sequence

import jax

from augmax_jax import adversary, augment
from augmax_jax.augment import AUGMIX, Operator
from augmax_jax.runtime.keys import example_keys


def augmax(
    key: jax.Array,
    logits_fn: adversary.LogitsFn,
    images: jax.Array,
    labels: jax.Array,
    *,
    width: int = 3,
    depth: int | None = None,
    severity: float = 3,
    operators: Sequence[str | Operator] = AUGMIX,
    steps: int = 10,
    step_size: float = 0.1,
    patience: int = 1,
    early_stop: str = "sample",
    count_initial: bool = False,
    targets: jax.Array | None = None,
) -> adversary.AugMaxResult:
    """Random chains, a random start, and Algorithm 1 (paper, Algorithm 1 and 2).

        def logits_fn(x):  # the network in eval mode, on the augmented route
            return model.apply(variables, x, route="augmented", train=False)

        x_star = augmax_jax.augmax(key, logits_fn, images, labels).images

    Args:
        key: one key, or one per example `[B]`.
        logits_fn: float32 `[B', H, W, 3]` in [0, 1] to logits `[B', num_classes]`; examples
            must not influence each other, so batch norm is in eval mode.
        images: uint8 `[B, H, W, 3]`.
        labels: int `[B]`.
        width: chains per image.
        depth: operators per chain; None draws 1, 2 or 3 for each chain.
        severity: of the operators, in [0.1, 10].
        operators: names, or `Operator` records of your own.
        steps: as are the following, see `adversary.augmax`.
        step_size: α.
        patience: k.
        early_stop: "sample", "batch" or "none".
        count_initial: whether the starting mix counts as misclassified.
        targets: classes to ascend towards, or None.

    Returns:
        The images x* and how they were mixed.

    Raises:
        ValueError: an argument is not as described.
    """
    keys = jax.vmap(jax.random.split)(example_keys(key, images.shape[0]))
    chains = augment.sample_chains(
        keys[:, 0], images, width=width, depth=depth, severity=severity, operators=operators
    )
    m, p = adversary.random_start(keys[:, 1], images.shape[0], width)
    return adversary.augmax(
        logits_fn,
        images,
        chains,
        labels,
        m,
        p,
        steps=steps,
        step_size=step_size,
        patience=patience,
        early_stop=early_stop,
        count_initial=count_initial,
        targets=targets,
    )
