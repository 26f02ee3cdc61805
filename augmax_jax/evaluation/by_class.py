"""Accuracy by class, and which class is taken for which."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

MATRIX_CLASSES = 200
"""Up to this many classes all confusions are kept, beyond it as many as `TOP`."""
TOP = 200


def count(logits: np.ndarray, labels: np.ndarray) -> dict[str, list[int]]:
    """How many images of each class there are, and how many are classified correctly.

    Args:
        logits: `[N, C]`.
        labels: int `[N]` in [0, C).

    Returns:
        {"correct", "count"}, each with C numbers.
    """
    classes = logits.shape[1]
    right = labels[logits.argmax(-1) == labels]
    return {
        "correct": np.bincount(right, minlength=classes).tolist(),
        "count": np.bincount(labels, minlength=classes).tolist(),
    }


def accuracies(counts: Mapping[str, Sequence[int]]) -> list[float | None]:
    """The accuracy of each class, None for a class without images.

    Args:
        counts: as `count` gives them.
    """
    pairs = zip(counts["correct"], counts["count"], strict=True)
    return [correct / total if total else None for correct, total in pairs]


def mean_accuracies(
    parts: Iterable[Mapping[str, Sequence[int]] | None],
) -> list[float | None] | None:
    """The accuracy of each class, averaged over the parts of a set, each of the same weight.

    Args:
        parts: counts of each part. An evaluation by an earlier version kept none.

    Returns:
        The mean over the parts that have images of the class, None for a class without any;
        None instead of the list if a part has no counts.
    """
    rows = []
    for part in parts:
        if part is None:
            return None
        rows.append(accuracies(part))
    known = [[a for a in column if a is not None] for column in zip(*rows, strict=True)]
    return [sum(column) / len(column) if column else None for column in known]


def confusions(logits: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, int]]:
    """How often which class was taken for which, where that happened.

    Args:
        logits: `[N, C]`.
        labels: int `[N]` in [0, C).

    Returns:
        label -> prediction -> images, indices as JSON keeps them. With more than
        `MATRIX_CLASSES` classes only the `TOP` most frequent mistakes.
    """
    classes = logits.shape[1]
    pairs, counts = np.unique(
        labels.astype(np.int64) * classes + logits.argmax(-1), return_counts=True
    )
    if classes > MATRIX_CLASSES:
        wrong = np.flatnonzero(pairs // classes != pairs % classes)
        chosen = np.sort(wrong[np.argsort(-counts[wrong], kind="stable")][:TOP])
        pairs, counts = pairs[chosen], counts[chosen]
    found: dict[str, dict[str, int]] = {}
    for pair, times in zip(pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(str(pair // classes), {})[str(pair % classes)] = times
    return found


def of_clean(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What `results.json` keeps of the clean images: "by_class" and "confusions"."""
    return {
        "by_class": accuracies(count(logits, labels)),
        "confusions": confusions(logits, labels),
    }
