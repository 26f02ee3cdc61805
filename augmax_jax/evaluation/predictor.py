"""Wraps any network as a `Score`: JAX functions are compiled, others are called on the host."""

import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment import to_float
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.progress import Announced

logger = logging.getLogger(__name__)

OUTPUTS = ("auto", "logits", "probabilities")
_SUM_TOLERANCE = 1e-2  # distance of a row's sum from 1; in half precision it is a few thousandths
_SMALLEST = np.finfo(np.float32).tiny  # a probability of 0 has no logarithm

Predictor = Callable[[Any], Any]


class AnyNetwork:
    """A predictor, compiled or called on the host, whose outputs are checked.

    The predictor is traced once with abstract images. If that works, it is compiled. Otherwise it
    is no JAX function: it is called on the host with NumPy arrays.

    Args:
        predictor: function from float32 images `[B, H, W, 3]` in [0, 1] to `[B, C]`.
        batch: shape of the images that it will be called with.
        classes: the least number of classes C, which the labels show.
        outputs: "logits", "probabilities" or "auto". Until `settle` decides what "auto" means,
            `score` returns the predictor's outputs unchanged.

    Attributes:
        traced: whether the predictor is compiled.
        outputs: "logits", "probabilities" or "auto".

    Raises:
        ValueError: the predictor is not callable, `outputs` is unknown, or a traced predictor
            does not give `[B, C]` with enough classes.
    """

    def __init__(
        self,
        predictor: Predictor,
        batch: tuple[int, int, int, int],
        *,
        classes: int,
        outputs: str = "auto",
    ) -> None:
        if not callable(predictor):
            raise ValueError(
                f"predictor must be a function of images, got {type(predictor).__name__}"
            )
        check_name("outputs", outputs, OUTPUTS)
        self.outputs = outputs
        self._predictor, self._classes = predictor, classes
        self._refusal = ""
        try:
            found = jax.eval_shape(predictor, jax.ShapeDtypeStruct(batch, jnp.float32))
        except Exception as error:  # other functions than JAX's may raise anything for a tracer
            self._refusal = f"{type(error).__name__}: {_first_line(error)}"
        self.traced = not self._refusal
        if self.traced:
            self._check(getattr(found, "shape", None), getattr(found, "dtype", None), batch[0])
            step = jax.jit(lambda images: predictor(to_float(images)))
            self._call: Callable[[np.ndarray], Any] = Announced(
                step, lambda images: f"the predictor for batches of {len(images)}"
            )
        else:
            logger.info(
                "the predictor cannot be traced by JAX (%s); it is called on the host with "
                "batches of %d",
                self._refusal,
                batch[0],
            )
            self._call = self._on_host

    def score(self, images: np.ndarray) -> np.ndarray:
        """Logits float32 `[B, C]` of uint8 images `[B, H, W, 3]`.

        Raises:
            ValueError: the predictor fails, or its output is not numbers `[B, C]`.
        """
        found = np.asarray(self._call(images))
        self._check(found.shape, found.dtype, len(images))
        found = found.astype(np.float32, copy=False)
        if self.outputs != "probabilities":
            return found
        # NaN passes here: `predict` counts it and names the images.
        if not (_are_probabilities(found) | np.isnan(found).any(-1)).all():
            raise ValueError(
                "outputs='probabilities', but the predictor gives values below 0 or above 1, or "
                "rows that do not sum to 1: use outputs='logits'"
            )
        return _logarithm(found)

    def settle(self, logits: np.ndarray) -> np.ndarray:
        """Decides what "auto" means, from the outputs for the clean images.

        If all rows are in [0, 1] and sum to 1, they are probabilities. Otherwise they are
        logits; log-probabilities are logits too.

        Args:
            logits: outputs of `score`, float32 `[N, C]`.

        Returns:
            Logits float32 `[N, C]`.
        """
        if self.outputs != "auto":
            return logits
        if not _are_probabilities(logits).all():
            self.outputs = "logits"
            return logits
        self.outputs = "probabilities"
        logger.info("the outputs sum to 1, so they count as probabilities and not as logits")
        return _logarithm(logits)

    def _on_host(self, images: np.ndarray) -> np.ndarray:
        batch = images.astype(np.float32) / np.float32(255)
        try:
            found = self._predictor(batch)
        except Exception as error:
            raise ValueError(
                f"the predictor fails on a NumPy batch float32 {list(batch.shape)} in [0, 1]: "
                f"{type(error).__name__}: {_first_line(error)} (and JAX cannot trace it: "
                f"{self._refusal}). docs/evaluate_any_network.md shows how to wrap a network"
            ) from error
        try:
            return np.asarray(found)
        except Exception as error:
            raise ValueError(
                f"the predictor gives {type(found).__name__}, which NumPy cannot read: "
                f"{_first_line(error)}. Give a NumPy array, such as logits.detach().cpu().numpy()"
            ) from error

    def _check(self, shape: Any, dtype: Any, batch: int) -> None:
        """Raises ValueError unless an output is numbers `[batch, C]` with enough classes."""
        if shape is None or len(shape) != 2 or shape[0] != batch:
            got = "no array" if shape is None else f"shape {list(shape)}"
            hint = (
                ": the class alone is not enough, give predict_proba or the logits"
                if shape is not None and len(shape) == 1
                else ""
            )
            raise ValueError(
                f"the predictor must give one row of logits per image, [{batch}, classes], got "
                f"{got}{hint}"
            )
        if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
            raise ValueError(f"the predictor must give numbers, got {dtype}")
        if shape[1] < max(2, self._classes):
            raise ValueError(
                f"the predictor gives logits of {shape[1]} classes, but labels go up to "
                f"{self._classes - 1}: it must give a column for each class, at least two"
            )


def _are_probabilities(rows: np.ndarray) -> np.ndarray:
    """Whether each row is a distribution over classes, bool `[N]`."""
    sums = rows.sum(-1, dtype=np.float64)
    inside = (rows >= -1e-6).all(-1) & (rows <= 1 + _SUM_TOLERANCE).all(-1)
    return inside & (abs(sums - 1) <= _SUM_TOLERANCE)


def _logarithm(probabilities: np.ndarray) -> np.ndarray:
    """Logits whose softmax gives these probabilities; NaN stays NaN."""
    return np.log(np.maximum(probabilities, _SMALLEST))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else "no message"
