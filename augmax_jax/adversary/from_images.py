"""AugMax from the images alone, in one call: `augmax_jax.augmax`, for other people's loops."""

from collections.abc import Sequence

import jax

from augmax_jax import adversary, augment
from augmax_jax.adversary.augmax import check_settings
from augmax_jax.adversary.inputs import checked
from augmax_jax.augment import AUGMIX, Operator
from augmax_jax.runtime.checks import check_images, check_labels
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
    """Draws random chains and a random start, and runs Algorithm 1 (paper, Algorithm 1 and 2).

        def logits_fn(x):  # the network in eval mode, on the augmented route
            return model.apply(variables, x, route="augmented", train=False)

        x_star = augmax_jax.augmax(key, logits_fn, images, labels).images

    Args:
        key: one key, or one per example `[B]`.
        logits_fn: float32 `[B', H, W, 3]` in [0, 1] to float logits `[B', num_classes]`;
            examples must not influence each other, so batch norm is in eval mode.
        images: uint8 `[B, H, W, 3]`.
        labels: int `[B]` in [0, num_classes). The range, and that the logits are not NaN,
            can be checked only where values are known, so not under `jit`.
        width: chains per image, at least 1.
        depth: operators per chain; None draws 1, 2 or 3 for each chain.
        severity: strength of the operators, in [0.1, 10].
        operators: names, or `Operator` records of your own.
        steps: the most ascent steps n; `adversary.augmax` describes this and the following.
        step_size: α.
        patience: k, misclassifications after which a sample stops.
        early_stop: "sample", "batch" or "none".
        count_initial: whether a misclassification of the starting mix counts.
        targets: classes to ascend towards, int `[B]`, or None.

    Returns:
        The images x*, float32 `[B, H, W, 3]` in [0, 1], and how they were mixed.

    Raises:
        ValueError: an argument is not as described, or `logits_fn` does not return such logits.
    """
    # Checked before the chains are drawn, which takes a while to compile.
    images = check_images(images)
    check_settings(
        steps=steps,
        step_size=step_size,
        patience=patience,
        early_stop=early_stop,
        count_initial=count_initial,
    )
    checked(logits_fn)
    check_labels(labels, images.shape[0])
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
