"""The inner maximisation of AugMax (paper, Algorithm 1 and Sec. 4.1).

Each image owns a skip weight m and chain logits p (the chain weights are
w = softmax(p)); sign-gradient ascent on the classification loss moves both. A sample
stops once it has been misclassified `patience` times.

One iteration is one forward and one backward pass of the network: the logits that
decide whether a sample has been misclassified after its last update are those of the
pass that computes the next gradient.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from augmax_jax.adversary import active_set
from augmax_jax.augment.mixing import mix
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.keys import example_keys

LogitsFn = Callable[[jax.Array], jax.Array]

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


def random_start(
    key: jax.Array, batch: int, width: int, *, first_index: int | jax.Array = 0
) -> tuple[jax.Array, jax.Array]:
    """Draws the starting point: m and every entry of p uniform in [0, 1) (Sec. 4.1).

    Args:
        key: one key, or one per example `[batch]`.
        batch: number of examples B.
        width: number of chains K.
        first_index: place of the first example in the global batch.

    Returns:
        m, float32 `[B]`, and p, float32 `[B, K]`.
    """
    keys = example_keys(key, batch, first_index=first_index)
    draws = jax.vmap(lambda k: jax.random.uniform(k, (1 + width,)))(keys)
    return draws[:, 0], draws[:, 1:]


def random_targets(
    key: jax.Array, labels: jax.Array, num_classes: int, *, first_index: int | jax.Array = 0
) -> jax.Array:
    """Draws a wrong class for each example, uniform over the others (spec §3.2, targeted).

    Args:
        key: one key, or one per example `[B]`.
        labels: int `[B]` in [0, num_classes).
        num_classes: at least 2.
        first_index: place of the first example in the global batch.

    Returns:
        int32 `[B]`, never equal to `labels`.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to have a target, got {num_classes}")
    keys = example_keys(key, labels.shape[0], first_index=first_index)
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
    """Algorithm 1 from the given start; exactly determined by its inputs.

    Args:
        logits_fn: the network in eval mode, float32 `[B', H, W, 3]` in [0, 1] to logits
            `[B', num_classes]`; examples must not influence each other.
        images: uint8 `[B, H, W, 3]`.
        chains: augmented versions, uint8 `[B, K, H, W, 3]`.
        labels: true classes, int `[B]`.
        m: starting skip weights, float `[B]` in [0, 1].
        p: starting chain logits, float `[B, K]`.
        steps: most ascent steps (the paper's n); 0 returns the starting mix.
        step_size: α of both m and p.
        patience: misclassifications after which a sample stops (the paper's k).
        early_stop: "sample" freezes each sample by itself (Algorithm 1); "batch" moves
            every sample until all have used up their patience (what the released code
            does); "none" always takes `steps` steps.
        count_initial: also count a misclassification of the starting mix, as the
            released code does, so that a sample may take no step at all. The paper
            tests after each update only.
        targets: if given, int `[B]`: ascend on minus the loss of these classes instead
            of the loss of the labels. Misclassified still means: not the label.
        compact: spend work on unfinished samples only (`active_set`), with the same
            results: True, or the number of samples that go through the network together
            once few are unfinished. No effect unless `early_stop` is "sample": otherwise no
            sample finishes alone.

    Returns:
        An `AugMaxResult`.

    Raises:
        ValueError: a shape, dtype or setting is not as described.
    """
    _check(images, chains, labels, m, p, steps, step_size, patience, early_stop, targets)
    images, chains, labels = jnp.asarray(images), jnp.asarray(chains), jnp.asarray(labels)
    ascended = labels if targets is None else jnp.asarray(targets)
    m, p = jnp.asarray(m, jnp.float32), jnp.asarray(p, jnp.float32)
    batch = images.shape[0]
    chunk = active_set.chunk_size(compact, batch)
    if early_stop != "sample":  # no sample finishes alone
        chunk = None

    def forward(variables, rows):
        """What some samples of the batch (None: all) ascend on, and who is misclassified."""
        m, p = variables
        own = functools.partial(active_set.take, rows=rows)
        logits = logits_fn(mix(own(images), own(chains), m, jax.nn.softmax(p)))
        logits = logits.astype(jnp.float32)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, own(ascended))
        return loss if targets is None else -loss, jnp.argmax(logits, axis=-1) != own(labels)

    def judge(mistakes, taken, wrong):
        mistakes = mistakes + (wrong & (count_initial | (taken > 0)))
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
    x = jax.lax.stop_gradient(mix(images, chains, m, jax.nn.softmax(p)))
    return AugMaxResult(x, m, p, taken)


def _check(images, chains, labels, m, p, steps, step_size, patience, early_stop, targets) -> None:
    """Raises ValueError unless the arguments of `augmax` fit together."""
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != jnp.uint8:
        raise ValueError(
            f"images must be uint8 [B, H, W, 3], got {images.dtype} {list(images.shape)}"
        )
    batch = images.shape[0]
    if batch == 0:
        raise ValueError("images must hold at least one example, got an empty batch")
    if (
        chains.ndim != 5
        or chains.dtype != jnp.uint8
        or (chains.shape[0], *chains.shape[2:]) != images.shape
    ):
        raise ValueError(
            f"chains must be uint8 [B, K, H, W, 3] of the images' {list(images.shape)}, "
            f"got {chains.dtype} {list(chains.shape)}"
        )
    expected = {"labels": (batch,), "m": (batch,), "p": (batch, chains.shape[1])}
    given = {"labels": labels, "m": m, "p": p}
    if targets is not None:
        expected["targets"], given["targets"] = (batch,), targets
    for name, shape in expected.items():
        if jnp.shape(given[name]) != shape:
            raise ValueError(
                f"{name} must have shape {list(shape)}, got {list(jnp.shape(given[name]))}"
            )
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    if step_size <= 0:
        raise ValueError(f"step_size must be positive, got {step_size}")
    if patience < 1:
        raise ValueError(f"patience must be at least 1, got {patience}")
    check_name("early_stop", early_stop, EARLY_STOP)
