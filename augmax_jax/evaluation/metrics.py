"""Robustness and calibration metrics: error tables and per-example sums to numbers.

An *error table* maps a corruption to its five top-1 errors, one per severity, each a
fraction in [0, 1]. All results are fractions too: where papers print an mCE of 82.56, it is
0.8256 here. Sources: Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations", ICLR 2019 (CE, mCE, relative mCE); the AugMax paper,
Tables 2-6 (SA, RA, the noise-free subset); Guo et al., "On calibration of modern neural
networks", ICML 2017 (expected calibration error).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.corruptions import BENCHMARK, FAMILIES, SEVERITIES
from augmax_jax.evaluation.baselines import BASELINES, Baseline
from augmax_jax.runtime.checks import (
    check_count,
    check_labels,
    check_logits,
    check_number,
    describe,
    is_known,
)
from augmax_jax.runtime.errors import check_name

ErrorTable = Mapping[str, Sequence[float]]

NOISE_FREE = tuple(name for name in BENCHMARK if name not in FAMILIES["noise"])
"""The 12 corruptions without noise (the paper's Table 6)."""


def error_matrix(errors: ErrorTable, corruptions: Iterable[str] = BENCHMARK) -> np.ndarray:
    """The rows of an error table, float64 `[corruptions, 5]`.

    Raises:
        ValueError: no corruption is named or one is missing, a row does not have one error per
            severity, or an error is not a fraction.
    """
    if not isinstance(errors, Mapping):
        raise ValueError(f"errors must map corruptions to errors, got {type(errors).__name__}")
    names = list(corruptions)
    if isinstance(corruptions, str) or not names:
        raise ValueError(f"corruptions must be names, at least one, got {corruptions!r}")
    missing = [name for name in names if name not in errors]
    if missing:
        raise ValueError(
            f"errors lack {', '.join(missing)}; they have: {', '.join(errors) or 'nothing'}"
        )
    for name in names:
        try:
            row = np.asarray(errors[name], float)
        except (TypeError, ValueError):
            raise ValueError(f"errors of {name!r} must be numbers, got {errors[name]!r}") from None
        if row.shape != (len(SEVERITIES),):
            raise ValueError(
                f"errors of {name!r} must be {len(SEVERITIES)} numbers, one per severity, got "
                f"shape {list(row.shape)}"
            )
        if not ((row >= 0) & (row <= 1)).all():
            raise ValueError(f"errors of {name!r} must be fractions in [0, 1], got {row.tolist()}")
    return np.array([errors[name] for name in names], float).reshape(-1, len(SEVERITIES))


def robust_accuracy(errors: ErrorTable, corruptions: Iterable[str] = BENCHMARK) -> float:
    """RA: accuracy averaged over corruptions and severities."""
    return float(1 - error_matrix(errors, corruptions).mean())


def accuracy_by_corruption(
    errors: ErrorTable, corruptions: Iterable[str] | None = None
) -> dict[str, float]:
    """Accuracy on each corruption, averaged over severities; by default for the whole table."""
    names = list(errors if corruptions is None else corruptions)
    return dict(zip(names, (1 - error_matrix(errors, names).mean(1)).tolist(), strict=True))


def accuracy_by_severity(
    errors: ErrorTable, corruptions: Iterable[str] = BENCHMARK
) -> dict[int, float]:
    """Accuracy at each severity, averaged over corruptions."""
    means = 1 - error_matrix(errors, corruptions).mean(0)
    return dict(zip(SEVERITIES, means.tolist(), strict=True))


def accuracy_by_family(errors: ErrorTable) -> dict[str, float]:
    """Accuracy on noise, blur, weather and digital corruptions, averaged over corruptions."""
    return {family: robust_accuracy(errors, names) for family, names in FAMILIES.items()}


def corruption_errors(
    errors: ErrorTable, baseline: str | Baseline, corruptions: Iterable[str] = BENCHMARK
) -> dict[str, float]:
    """CE: sum of errors over severities, divided by the baseline's sum.

    Args:
        errors: the error table.
        baseline: one of `BASELINES` by name, or your own.
        corruptions: the corruptions to compute it for; all must be in the table.

    Returns:
        CE of each corruption; 1 means as bad as the baseline.
    """
    baseline = _baseline(baseline)
    return {
        name: float(error_matrix(errors, [name]).mean() / baseline.mean_error(name))
        for name in corruptions
    }


def mean_corruption_error(
    errors: ErrorTable, baseline: str | Baseline, corruptions: Iterable[str] = BENCHMARK
) -> float:
    """mCE: the mean of `corruption_errors`; over `NOISE_FREE` for the paper's Table 6."""
    return float(np.mean(list(corruption_errors(errors, baseline, corruptions).values())))


def relative_mean_corruption_error(
    errors: ErrorTable,
    clean_error: float,
    baseline: str | Baseline,
    corruptions: Iterable[str] = BENCHMARK,
) -> float:
    """Relative mCE: the increase of the error by corruption, divided by the baseline's increase.

    Raises:
        ValueError: the baseline has no clean error, or a corruption does not increase it.
    """
    baseline = _baseline(baseline)
    check_number("clean_error", clean_error, low=0, high=1)
    if baseline.clean_error is None:
        raise ValueError(f"baseline {baseline.name!r} has no clean_error, relative mCE needs it")
    ratios = []
    for name in corruptions:
        added = baseline.mean_error(name) - baseline.clean_error
        if added <= 0:
            raise ValueError(f"{name!r} adds no error to baseline {baseline.name!r}")
        ratios.append((error_matrix(errors, [name]).mean() - clean_error) / added)
    return float(np.mean(ratios))


def _baseline(baseline: str | Baseline) -> Baseline:
    if isinstance(baseline, Baseline):
        return baseline
    check_name("baseline", baseline, BASELINES)
    return BASELINES[baseline]


def summarize(
    errors: ErrorTable,
    *,
    clean_error: float | None = None,
    baseline: str | Baseline | None = None,
) -> dict[str, Any]:
    """All numbers that follow from an error table.

    Args:
        errors: the error table. Averages over the 15 benchmark corruptions are left out if
            one of them is missing; others (such as the 4 extra ones) are only in
            `by_corruption`.
        clean_error: error on clean images.
        baseline: if given, there are CE and mCE, and relative mCE if both clean errors are known
            and every corruption increases the baseline's.

    Returns:
        A dict that JSON can hold, with `by_corruption`, and if they apply `sa`, `ra`,
        `ra_noise_free`, `by_severity`, `by_family`, `baseline`, `ce`, `mce`,
        `mce_noise_free`, `relative_mce`.
    """
    out: dict[str, Any] = {"by_corruption": accuracy_by_corruption(errors)}
    if clean_error is not None:
        check_number("clean_error", clean_error, low=0, high=1)
        out["sa"] = 1 - clean_error
    if set(BENCHMARK) <= set(errors):
        out["ra"] = robust_accuracy(errors)
        out["ra_noise_free"] = robust_accuracy(errors, NOISE_FREE)
        out["by_severity"] = {str(s): a for s, a in accuracy_by_severity(errors).items()}
        out["by_family"] = accuracy_by_family(errors)
        if baseline is not None:
            baseline = _baseline(baseline)
            out["baseline"] = baseline.name
            out["ce"] = corruption_errors(errors, baseline)
            out["mce"] = mean_corruption_error(errors, baseline)
            out["mce_noise_free"] = mean_corruption_error(errors, baseline, NOISE_FREE)
            # Undefined if a corruption does not increase the baseline's error, as on easy data.
            harmed = baseline.clean_error is not None and all(
                baseline.mean_error(name) > baseline.clean_error for name in BENCHMARK
            )
            if clean_error is not None and harmed:
                out["relative_mce"] = relative_mean_corruption_error(errors, clean_error, baseline)
    return out


def interval(accuracy: float, images: int) -> tuple[float, float]:
    """A 95% interval of an accuracy by the number of images it was measured on (Wilson, 1927).

    For RA, count an image once although it is tested under many corruptions: its outcomes
    resemble each other, so the interval is not too narrow, but may be too wide.

    Args:
        accuracy: a fraction in [0, 1].
        images: number of different images, at least 1.

    Returns:
        The lowest and the highest accuracy that other images of the kind may give.
    """
    z2 = 1.959964**2
    middle = (accuracy + z2 / (2 * images)) / (1 + z2 / images)
    variance = accuracy * (1 - accuracy) / images + z2 / (4 * images**2)
    half = math.sqrt(z2 * variance) / (1 + z2 / images)
    return max(0.0, middle - half), min(1.0, middle + half)


class Outcomes(NamedTuple):
    """What each example adds to the metrics. All arrays are NumPy or all are JAX.

    Attributes:
        correct: whether its top-1 prediction is right, bool `[N]`.
        nll: its negative log-likelihood in nats, float `[N]`.
        confidence: the probability of its prediction, float `[N]`.
    """

    correct: Any
    nll: Any
    confidence: Any


class Tally(NamedTuple):
    """Sums over examples, from which accuracy, NLL and calibration follow.

    Tallies of disjoint batches add up (`a.plus(b)`, or `psum` over devices), so the results do
    not depend on how a set was cut into batches. All arrays are NumPy or all are JAX.

    Attributes:
        count: number of examples.
        correct: number of correctly classified examples.
        nll: sum of negative log-likelihoods, in nats.
        bin_count: number of examples by confidence, `[bins]`.
        bin_correct: number of correct examples by confidence, `[bins]`.
        bin_confidence: sum of confidences by confidence, `[bins]`.
    """

    count: Any
    correct: Any
    nll: Any
    bin_count: Any
    bin_correct: Any
    bin_confidence: Any

    def plus(self, other: "Tally") -> "Tally":
        """The tally of both sets of examples."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def accuracy(self) -> float:
        """Share of correctly classified examples."""
        return float(self.correct / self.count)

    @property
    def negative_log_likelihood(self) -> float:
        """Mean negative log-likelihood, in nats."""
        return float(self.nll / self.count)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error; see `expected_calibration_error`."""
        gaps = np.abs(np.asarray(self.bin_correct) - np.asarray(self.bin_confidence))
        return float(gaps.sum() / self.count)


def tally(logits: Any, labels: Any, mask: Any = None, *, bins: int = 15) -> Tally:
    """Sums a batch for the metrics; it can be jitted.

    Args:
        logits: float `[N, C]`, NumPy (summed in float64) or JAX (in float32); -inf
            excludes a class.
        labels: int `[N]`.
        mask: bool `[N]`, False for padding; None counts all.
        bins: number of confidence bins of equal width, each open on the left.

    Raises:
        ValueError: shapes or dtypes do not fit together or are empty, or `bins` is no whole number
            of at least 1; or, where the values are known (so not under `jit`), a label is out of
            range, or logits that count have NaN or infinity.
    """
    on_device = isinstance(logits, jax.Array)
    xp: Any = jnp if on_device else np
    if not on_device:
        logits = np.asarray(logits)
        logits = logits.astype(np.float64) if logits.dtype.kind in "iu" else logits  # such as votes
    check_count("bins", bins, low=1)
    if mask is not None:
        mask = xp.asarray(mask)
        if mask.shape != logits.shape[:1] or mask.dtype != bool:
            raise ValueError(f"mask must be bool [{len(logits)}], got {describe(mask)}")
    check_logits(logits, mask=mask)
    logits = logits.astype(jnp.float32 if on_device else np.float64)
    count, classes = logits.shape
    labels = labels if hasattr(labels, "dtype") else np.asarray(labels)
    counted = labels
    if mask is not None and is_known(mask) and is_known(labels) and labels.shape == mask.shape:
        counted = np.where(np.asarray(mask), np.asarray(labels), 0)  # padding may hold anything
    check_labels(counted, count, num_classes=classes)
    labels = xp.asarray(labels)
    mask = xp.ones(labels.shape, bool) if mask is None else mask
    # Padding may hold anything, so it is replaced before it can spread a NaN.
    return add_up(outcomes(xp.where(mask[:, None], logits, 0), labels), mask=mask, bins=bins)


def outcomes(logits: Any, labels: Any) -> Outcomes:
    """What each example adds to the metrics.

    Args:
        logits: float `[N, C]`, NumPy or JAX; their dtype is kept. -inf excludes a class.
        labels: int `[N]` in [0, C).
    """
    xp: Any = jnp if isinstance(logits, jax.Array) else np
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(1, keepdims=True))
    return Outcomes(
        correct=xp.argmax(logits, 1) == labels,
        nll=-xp.take_along_axis(log_p, labels[:, None], 1)[:, 0],
        confidence=xp.exp(log_p.max(1)),
    )


def add_up(found: Outcomes, *, mask: Any = None, bins: int = 15) -> Tally:
    """The sums of outcomes; it can be jitted.

    Args:
        found: outcomes of N examples.
        mask: bool `[N]`, False for padding; None counts all.
        bins: number of confidence bins, as in `tally`.
    """
    xp: Any = jnp if isinstance(found.nll, jax.Array) else np
    correct, nll, confidence = found
    mask = xp.ones(correct.shape, bool) if mask is None else mask
    correct = mask & correct
    # A NaN has no confidence, so it goes to the first bin.
    index = xp.clip(xp.ceil(xp.nan_to_num(confidence) * bins).astype(int) - 1, 0, bins - 1)
    member = (index[:, None] == xp.arange(bins)[None]) & mask[:, None]
    return Tally(
        count=mask.sum(),
        correct=correct.sum(),
        nll=xp.where(mask, nll, 0).sum(),
        bin_count=member.sum(0),
        bin_correct=(member & correct[:, None]).sum(0),
        bin_confidence=xp.where(member, confidence[:, None], 0).sum(0),
    )


def accuracy(logits: Any, labels: Any) -> float:
    """Top-1 accuracy of logits `[N, C]` against labels `[N]`; it raises as `tally`."""
    return tally(logits, labels).accuracy


def negative_log_likelihood(logits: Any, labels: Any) -> float:
    """Mean of -log softmax(logits)[label] in nats; arguments and errors are those of `tally`.

    logits: `[N, C]`; labels: `[N]`.
    """
    return tally(logits, labels).negative_log_likelihood


def expected_calibration_error(logits: Any, labels: Any, *, bins: int = 15) -> float:
    """ECE: mean distance between confidence and accuracy (Guo et al. 2017, Eq. 3).

    The confidence of a prediction is its softmax probability. Predictions are put into
    `bins` intervals of equal width, ((b-1)/bins, b/bins]; the result is the mean over bins,
    weighted by their share of the predictions, of |accuracy - mean confidence|.

    Args:
        logits: float `[N, C]`.
        labels: int `[N]`.
        bins: number of bins; the literature uses 15.

    Returns:
        A fraction in [0, 1].

    Raises:
        ValueError: as in `tally`.
    """
    return tally(logits, labels, bins=bins).calibration_error


def restrict_classes(logits: Any, classes: Sequence[int] | np.ndarray) -> Any:
    """Excludes all classes except some; ImageNet-A and -R have 200 of the 1000 classes.

    Args:
        logits: float `[N, C]`.
        classes: indices of the classes to keep.

    Returns:
        `[N, C]`, -inf elsewhere: argmax and softmax are those of the remaining columns.

    Raises:
        ValueError: no classes, or an index that is none of the C.
    """
    xp: Any = jnp if isinstance(logits, jax.Array) else np
    classes = np.asarray(classes)
    if classes.size and not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"classes must be indices, got {describe(classes)}")
    if classes.size == 0 or classes.min() < 0 or classes.max() >= logits.shape[-1]:
        raise ValueError(
            f"classes must be indices in [0, {logits.shape[-1]}), at least one, got "
            f"{classes.tolist()}"
        )
    keep = np.zeros(logits.shape[-1], bool)
    keep[classes] = True
    return xp.where(keep[None], logits, -xp.inf)
