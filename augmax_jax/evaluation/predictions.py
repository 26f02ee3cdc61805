"""Predicts a whole split, every example exactly once."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment import to_float
from augmax_jax.data import Batch, Split
from augmax_jax.evaluation import metrics
from augmax_jax.runtime import compiler, parallel, progress

# uint8 [B, H, W, 3] -> logits float32 [B, C], on the host.
Score = Callable[[np.ndarray], np.ndarray]
# (batch with its mask, logits of the batch) -> None; called for every batch.
Observe = Callable[[Batch, np.ndarray], None]


def model_score(
    model: nn.Module, devices: Sequence[jax.Device], *, routes: Sequence[str] = ("clean",)
) -> Callable[[Any], Score]:
    """A pmapped forward pass in eval mode, compiled once for all sets of one batch size.

    Args:
        model: the network.
        devices: devices over which a batch is split.
        routes: norm routes; the paper evaluates on the clean one. Of several, the probabilities are
            averaged, and the logits are the logarithm of the average.

    Returns:
        A function from replicated variables to a `Score`.
    """

    def logits(variables, images):
        pixels = to_float(images)
        found: list[Any] = [model.apply(variables, pixels, route=r, train=False) for r in routes]
        return found[0] if len(found) == 1 else log_mean_probabilities(found)

    step = parallel.pmap(
        logits, devices, compiler_options=compiler.jit_options(devices[0].platform)
    )

    def run(images: np.ndarray, variables: Any) -> np.ndarray:
        return parallel.gather(step(variables, parallel.shard(images, devices)))

    announced = progress.Announced(
        run, lambda images, _: f"the network for batches of {len(images)}"
    )

    def with_variables(variables: Any) -> Score:
        return lambda images: announced(images, variables)

    return with_variables


def log_mean_probabilities(logits: Sequence[jax.Array]) -> jax.Array:
    """The logarithm of the mean of several predictions' probabilities.

    Args:
        logits: float `[B, C]` each.

    Returns:
        float32 `[B, C]`, logits whose softmax is the mean of the softmaxes.
    """
    every = jax.nn.log_softmax(jnp.stack(logits).astype(jnp.float32))
    return jax.nn.logsumexp(every, axis=0) - math.log(len(logits))


def predict(
    score: Score,
    split: Split,
    batch_size: int,
    *,
    devices: int = 1,
    observe: Observe | None = None,
    advance: Callable[[float], None] = lambda share: None,
    what: str = "the images",
) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a whole split.

    All batches have one size; the last one is padded and masked. So no example is dropped or
    counted twice. If the split is shared among several processes, each predicts its share, and
    all get the predictions of the whole split.

    Args:
        score: the network.
        split: the split to predict.
        batch_size: the most examples of this process at a time.
        devices: number of this process's devices; the batch size is rounded up to a multiple of it.
        observe: called with every batch of this process and its logits.
        advance: called after every batch with its share of all batches.
        what: name of the images in messages.

    Returns:
        Logits float32 `[N, C]` and labels int32 `[N]`, in the order of the split.

    Raises:
        ValueError: the network gives NaN or infinity for some images, which have no prediction.
    """
    processes = split.process_count
    size = -(-min(batch_size, -(-len(split) // processes)) // devices) * devices
    columns = []
    share = 1 / -(-len(split) // (size * processes))
    for batch in split.eval_batches(size * processes):
        logits = score(batch["image"])
        if observe is not None and not _useless(logits[batch["mask"]]).any():
            observe(batch, logits)
        columns.append((logits, batch["label"], batch["mask"], batch["index"]))
        advance(share)
    whole = tuple(np.concatenate(column) for column in zip(*columns, strict=True))
    if processes > 1:
        whole = parallel.all_processes(whole)
        order = np.argsort(whole[-1], kind="stable")
        whole = tuple(column[order] for column in whole)
    logits, labels, real, _ = whole
    logits, labels = logits[real], labels[real]
    useless = int(_useless(logits).sum())
    if useless:
        raise ValueError(
            f"the network gives NaN or infinity for {useless} of {len(logits)} images of {what}: "
            "they have no prediction, and accuracy would mean nothing. Look for an overflow or a "
            "diverged training"
        )
    return logits, labels


def _useless(logits: np.ndarray) -> np.ndarray:
    """Whether logits have no most likely class: a NaN, a +inf, or only -inf; bool `[N]`."""
    return ~np.isfinite(logits.max(-1))


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, loss and calibration of predictions.

    Args:
        logits: float `[N, C]`.
        labels: int `[N]`.

    Returns:
        {"accuracy", "loss" (mean negative log-likelihood), "ece", "count"}.
    """
    return scores_of(metrics.tally(logits, labels))


def scores_of(sums: metrics.Tally) -> dict[str, float]:
    """The scores of `scores`, from sums over examples."""
    return {
        "accuracy": sums.accuracy,
        "loss": sums.negative_log_likelihood,
        "ece": sums.calibration_error,
        "count": int(sums.count),
    }
