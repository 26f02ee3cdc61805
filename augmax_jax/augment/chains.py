"""Draws random chains of operators and applies them to images (AugMix and AugMax).

AugMix draws them so (Hendrycks et al., ICLR 2020, Algorithm 1, and its published code), and AugMax
uses the same chains (paper, Algorithm 2).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment.arguments import LOWEST_LEVEL, check_chain_settings
from augmax_jax.augment.engine import Draws, run
from augmax_jax.augment.mixing import mix, sample_mixing_weights
from augmax_jax.augment.operators import AUGMIX, Operator, resolve
from augmax_jax.runtime.checks import check_images
from augmax_jax.runtime.keys import example_keys

MAX_DEPTH = 3  # the longest chain when depths are drawn


def sample_chains(
    key: jax.Array,
    images: jax.Array,
    *,
    width: int = 3,
    depth: int | None = None,
    severity: float = 3,
    operators: Sequence[str | Operator] = AUGMIX,
    level_key: jax.Array | None = None,
) -> jax.Array:
    """Sends every image through `width` independent random chains of operators.

    Each chain starts from the image; each of its operators is drawn uniformly with
    replacement, with a level drawn uniformly from [0.1, severity).

    Args:
        key: one key, folded with the examples' indices, or one per example `[B]`. The
            chains of an example depend on its own key only.
        images: uint8 `[B, H, W, 3]`.
        width: number of chains K per image.
        depth: operators per chain; None draws 1, 2 or 3 for each chain.
        severity: upper end of the levels, in [0.1, 10].
        operators: names from `operators.ALL`, or `Operator` records of your own.
        level_key: if given, levels and signs are drawn from this key, so that several calls
            can share depths and operators. With `key` itself the result is the same as without.

    Returns:
        uint8 `[B, K, H, W, 3]`.

    Raises:
        ValueError: an argument is not as described.
    """
    images = check_images(images)
    records = resolve(operators)
    check_chain_settings(width, depth, severity)
    batch, height, image_width, _ = images.shape
    draws = jax.vmap(
        lambda k, levels: draw_chains(
            k, levels, width, depth, severity, records, height, image_width
        )
    )(example_keys(key, batch), example_keys(key if level_key is None else level_key, batch))
    flat = jax.tree.map(lambda x: x.reshape(batch * width, *x.shape[2:]), draws)
    chains = run(images, flat, records)
    return chains.reshape(batch, width, height, image_width, 3)


def augmix(
    key: jax.Array,
    images: jax.Array,
    *,
    width: int = 3,
    depth: int | None = None,
    severity: float = 3,
    operators: Sequence[str | Operator] = AUGMIX,
    alpha: float = 1.0,
) -> jax.Array:
    """AugMix: random chains, randomly mixed with the image.

    Args:
        key: one key, folded with the examples' indices, or one per example `[B]`.
        images: uint8 `[B, H, W, 3]`.
        width: number of chains per image.
        depth: operators per chain; None draws 1, 2 or 3 for each chain.
        severity: upper end of the levels, in [0.1, 10].
        operators: names from `operators.ALL`, or `Operator` records of your own.
        alpha: chain weights are Dirichlet(alpha), the skip weight Beta(alpha, alpha).

    Returns:
        float32 `[B, H, W, 3]` in [0, 1].

    Raises:
        ValueError: an argument is not as described.
    """
    images = check_images(images)
    keys = jax.vmap(jax.random.split)(example_keys(key, images.shape[0]))
    chains = sample_chains(
        keys[:, 0], images, width=width, depth=depth, severity=severity, operators=operators
    )
    m, w = sample_mixing_weights(keys[:, 1], images.shape[0], width, alpha=alpha)
    return mix(images, chains, m, w)


def draw_chains(
    key: jax.Array,
    level_key: jax.Array,
    width: int,
    depth: int | None,
    severity: float,
    records: tuple[Operator, ...],
    height: int,
    image_width: int,
) -> Draws:
    """Draws the K chains of one example.

    Args:
        key: one key, for depths and operators.
        level_key: one key, for levels and signs; usually the same as `key`.
        width: chains K.
        depth: operators per chain; None draws 1, 2 or 3 for each chain.
        severity: upper end of the levels.
        records: the operators to draw from.
        height: height of the images.
        image_width: width of the images.

    Returns:
        `Draws` with arrays `[K]` and `[K, D]`.
    """
    longest = MAX_DEPTH if depth is None else depth
    depth_key, choice_key, _, _ = jax.random.split(key, 4)
    _, _, level_key, sign_key = jax.random.split(level_key, 4)
    shape = (width, longest)
    if depth is None:
        lengths = jax.random.randint(depth_key, (width,), 1, longest + 1)
    else:
        lengths = jnp.full(width, depth, jnp.int32)
    choices = jax.random.randint(choice_key, shape, 0, len(records))
    # Rounding may turn a draw into the open end of the interval.
    top = np.nextafter(np.float32(severity), np.float32(0))
    levels = jax.random.uniform(level_key, shape, jnp.float32, LOWEST_LEVEL, severity)
    levels = jnp.minimum(levels, max(top, np.float32(LOWEST_LEVEL)))
    signs = jnp.where(jax.random.bernoulli(sign_key, 0.5, shape), -1.0, 1.0)

    arguments = jnp.zeros(shape, jnp.float32)
    for index, record in enumerate(records):
        if record.argument is not None:
            argument = record.argument(levels, height, image_width)
            argument = argument * signs if record.signed else argument
            arguments = jnp.where(choices == index, argument, arguments)
    return Draws(lengths, choices, arguments)
