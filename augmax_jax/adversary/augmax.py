"""The inner maximisation of AugMax (paper, Algorithm 1 and Sec. 4.1).

Each image owns a skip weight m and chain logits p (the chain weights are
w = softmax(p)); sign-gradient ascent on the classification loss moves both. A sample
stops once it has been misclassified `patience` times.

One iteration is one forward and one backward pass of the network. The forward pass that
computes the next gradient also shows whether the sample is misclassified after its last
update.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.adversary import active_set
from augmax_jax.adversary.inputs import (
    LogitsFn,
    checked,
    cross_entropies,
    misclassified,
    refuse_nan,
)
from augmax_jax.augment.mixing import mix
from augmax_jax.runtime.checks import (
    check_count,
    check_flag,
    check_floats,
    check_images,
    check_labels,
    check_number,
    check_weights,
)
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.keys import example_keys

EARLY_STOP = ("sample", "batch", "none")


class AugMaxResult(NamedTuple):
    """What the inner maximisation found.

    Attributes:
        images: the mixed images x*, float32 `[B, H, W, 3]` in [0, 1]; no gradient flows
            back through them.
        m: skip weights, float32 `[B]` in [0, 1].
        p: chain logits, float32 `[B, K]`; the chain weights are `softmax(p)`.
        steps: ascent steps taken by each sample, int32 `[B]`.
    """

    images: jax.Array
    m: jax.Array
    p: jax.Array
    steps: jax.Array


def random_start(key: jax.Array, batch: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Draws the starting point: m and every entry of p uniform in [0, 1) (Sec. 4.1).

    Args:
        key: one key, or one per example `[batch]`.
        batch: number of examples B, at least 1.
        width: number of chains K, at least 1.

    Returns:
        m, float32 `[B]`, and p, float32 `[B, K]`.

    Raises:
        ValueError: a number is below 1, or `key` is neither one key nor `batch` keys.
    """
    check_count("batch", batch, low=1)
    check_count("width", width, low=1)
    draws = jax.vmap(lambda k: jax.random.uniform(k, (1 + width,)))(example_keys(key, batch))
    return draws[:, 0], draws[:, 1:]


def random_targets(key: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """Draws a wrong class for each example, uniform over all other classes.

    These are the targets of the released code's targeted attack; the paper's Algorithm 1 has none.

    Args:
        key: one key, or one per example `[B]`.
        labels: int `[B]` in [0, num_classes).
        num_classes: at least 2.

    Returns:
        int32 `[B]`, never equal to `labels`.

    Raises:
        ValueError: there are fewer than two classes, `labels` is not int `[B]` or (where the
            values are known) out of range, or `key` is neither one key nor B keys.
    """
    check_count("num_classes", num_classes, low=2)
    batch = np.shape(labels)[0] if np.ndim(labels) else 0
    labels = check_labels(labels, batch, num_classes=num_classes)
    keys = example_keys(key, batch)
    shift = jax.vmap(lambda k: jax.random.randint(k, (), 1, num_classes))(keys)
    return ((labels + shift) % num_classes).astype(jnp.int32)


def augmax(
    logits_fn: LogitsFn,
    images: jax.Array,
    chains: jax.Array,
    labels: jax.Array,
    m: jax.Array,
    p: jax.Array,
    *,
    steps: int = 10,
    step_size: float = 0.1,
    patience: int = 1,
    early_stop: str = "sample",
    count_initial: bool = False,
    targets: jax.Array | None = None,
    compact: bool | int = False,
) -> AugMaxResult:
    """Runs Algorithm 1 from the given start; the inputs determine the result exactly.

    Args:
        logits_fn: the network in eval mode, float32 `[B', H, W, 3]` in [0, 1] to float logits
            `[B', num_classes]`; examples must not influence each other.
        images: uint8 `[B, H, W, 3]`.
        chains: augmented versions, uint8 `[B, K, H, W, 3]`.
        labels: true classes, int `[B]` in [0, num_classes). The range, and that the logits
            are not NaN, can be checked only where values are known, so not under `jit`.
        m: starting skip weights, float `[B]` in [0, 1].
        p: starting chain logits, float `[B, K]`.
        steps: the most ascent steps (the paper's n); 0 returns the starting mix.
        step_size: α, for both m and p; above 0.
        patience: misclassifications after which a sample stops (the paper's k).
        early_stop: "sample" freezes each sample by itself (Algorithm 1); "batch" moves
            every sample until all have used up their patience (what the released code
            does); "none" always takes `steps` steps.
        count_initial: also count a misclassification of the starting mix, as the
            released code does, so that a sample may take no step at all. The paper
            tests after each update only.
        targets: int `[B]`, or None. If given, the ascent is on minus the loss of these classes
            instead of the loss of the labels. A sample still counts as misclassified when the
            network does not give its label.
        compact: whether to evaluate unfinished samples only (`active_set`); the results are
            the same. True, or the number of samples that go through the network together
            once few are unfinished. It has an effect only if `early_stop` is "sample",
            because otherwise all samples finish together.

    Returns:
        An `AugMaxResult`.

    Raises:
        ValueError: a shape, dtype or setting is not as described.
    """
    check_settings(
        steps=steps,
        step_size=step_size,
        patience=patience,
        early_stop=early_stop,
        count_initial=count_initial,
    )
    images = check_images(images)
    batch = images.shape[0]
    chains = _check_chains(chains, images)
    network = checked(logits_fn, labels, targets)
    labels = check_labels(labels, batch)
    ascended = labels if targets is None else check_labels(targets, batch, name="targets")
    check_weights("m", m, (batch,))
    check_floats("p", p, (batch, chains.shape[1]))
    m, p = jnp.asarray(m, jnp.float32), jnp.asarray(p, jnp.float32)
    chunk = active_set.chunk_size(compact, batch)
    if early_stop != "sample":  # all samples finish together
        chunk = None

    def forward(variables, rows):
        """The objective of some samples (None: all), and which of them are misclassified."""
        m, p = variables
        own = functools.partial(active_set.take, rows=rows)
        logits = network(mix(own(images), own(chains), m, jax.nn.softmax(p)))
        logits = logits.astype(jnp.float32)
        loss = cross_entropies(logits, own(ascended))
        return loss if targets is None else -loss, misclassified(logits, own(labels))

    def judge(mistakes, taken, wrong):
        counts = wrong & (count_initial | (taken > 0))
        mistakes = mistakes + counts.astype(jnp.int32)
        stops = mistakes >= patience
        if early_stop == "batch":
            stops = jnp.broadcast_to(jnp.all(stops), stops.shape)
        elif early_stop == "none":
            stops = jnp.zeros_like(stops)
        return mistakes, stops

    def move(variables, gradients, taken, rows):
        (m, p), (grad_m, grad_p) = variables, gradients
        m = jnp.clip(m + step_size * jnp.sign(grad_m), 0.0, 1.0)
        return m, p + step_size * jnp.sign(grad_p)

    mistakes = jnp.zeros(batch, jnp.int32)
    (m, p), taken = active_set.ascend(
        forward, judge, move, (m, p), mistakes, steps=steps, chunk=chunk
    )
    refuse_nan(p)
    x = jax.lax.stop_gradient(mix(images, chains, m, jax.nn.softmax(p)))
    return AugMaxResult(x, m, p, taken)


def check_settings(
    *,
    steps: int,
    step_size: float,
    patience: int,
    early_stop: str,
    count_initial: bool,
    prefix: str = "",
) -> None:
    """Raises ValueError for a setting of `augmax` that is out of range or of another type.

    Args:
        steps: a whole number of at least 0; see `augmax` for this and the following.
        step_size: α, above 0.
        patience: k, at least 1.
        early_stop: one of `EARLY_STOP`.
        count_initial: True or False.
        prefix: goes before each name in the message, such as "config.adversary.".
    """
    check_count(f"{prefix}steps", steps)
    check_number(f"{prefix}step_size", step_size, low=0, above_low=True)
    check_count(f"{prefix}patience", patience, low=1)
    check_name(f"{prefix}early_stop", early_stop, EARLY_STOP)
    check_flag(f"{prefix}count_initial", count_initial)


def _check_chains(chains: jax.Array, images: jax.Array) -> jax.Array:
    """The chains as an array; raises ValueError unless they are chains of these images."""
    shape, dtype = np.shape(chains), getattr(chains, "dtype", type(chains).__name__)
    if (
        dtype != jnp.uint8
        or len(shape) != 5
        or not shape[1]
        or (shape[0], *shape[2:]) != images.shape
    ):
        raise ValueError(
            f"chains must be uint8 [B, K, H, W, 3] of the images' {list(images.shape)}, "
            f"got {dtype} {list(shape)}"
        )
    return jnp.asarray(chains)
