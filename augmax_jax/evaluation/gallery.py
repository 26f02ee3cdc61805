"""Gathers pictures during an evaluation: samples of each corruption and the worst mistakes."""

import heapq
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax

from augmax_jax.data import Batch
from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.evaluation.predictions import Observe
from augmax_jax.report import pictures
from augmax_jax.runtime import files

MISTAKES = 24


class Gallery:
    """Keeps one image under every corruption, and the network's most confident mistakes.

    Args:
        class_names: the network's classes.
        mistakes: number of mistakes to keep.
    """

    def __init__(self, class_names: Sequence[str], *, mistakes: int = MISTAKES) -> None:
        self._class_names, self._limit = tuple(class_names), mistakes
        self._samples: dict[str, dict[str, np.ndarray]] = {}
        self._mistakes: list[tuple] = []
        self._order = itertools.count()  # decides ties, so that images are never compared

    def observer(self, corruption: str, severity: str) -> Observe:
        """The `observe` of `predict` for the batches of one part."""

        def observe(batch: Batch, logits: np.ndarray) -> None:
            images, labels = batch["image"], batch["label"]
            by_severity = self._samples.setdefault(corruption, {})
            by_severity.setdefault(severity, images[0].copy())
            confidence = softmax(logits, axis=-1).max(-1)
            predictions = logits.argmax(-1)
            wrong = np.flatnonzero((predictions != labels) & batch["mask"])
            # Only a few of each part, so that the hardest corruption does not fill the page.
            for i in wrong[np.argsort(-confidence[wrong])][:2]:
                note = f"{corruption} {severity}".replace("_", " ")
                entry = (
                    float(confidence[i]), next(self._order), images[i].copy(),
                    int(labels[i]), int(predictions[i]), note,
                )  # fmt: skip
                heapq.heappush(self._mistakes, entry)
                if len(self._mistakes) > self._limit:
                    heapq.heappop(self._mistakes)

        return observe

    @staticmethod
    def clear(directory: Path, stem: str) -> None:
        """Removes the pictures of a benchmark, so that those of another evaluation do not stay."""
        for kind in ("corruptions", "mistakes"):
            (directory / f"{kind}_{stem}.png").unlink(missing_ok=True)

    def write(self, directory: Path, stem: str, benchmark: Benchmark) -> None:
        """Writes `corruptions_<stem>.png` and `mistakes_<stem>.png`.

        If an earlier session evaluated some parts, this one has not seen their images; then
        existing pictures stay.

        Args:
            directory: directory of the pictures.
            stem: stem of the names of the benchmark's files.
            benchmark: the set.
        """
        directory.mkdir(parents=True, exist_ok=True)
        seen = sum(len(by) for by in self._samples.values())
        complete = seen == max(1, len(benchmark.corruptions) * len(benchmark.severities))

        def write(kind: str, picture: np.ndarray) -> None:
            path = directory / f"{kind}_{stem}.png"
            if complete or not path.exists():
                contents = pictures.to_png(picture)
                files.write_atomically(path, lambda partial: partial.write_bytes(contents))

        severities = [str(s) for s in benchmark.severities]
        whole = {
            name: np.stack([by[s] for s in severities])
            for name, by in self._samples.items()
            if severities and set(severities) <= set(by)
        }
        if whole:
            write(
                "corruptions",
                pictures.corruption_grid(None, whole, severities=benchmark.severities),
            )
        if self._mistakes:
            worst = sorted(self._mistakes, key=lambda entry: -entry[0])
            confidences, _, images, labels, predictions, notes = zip(*worst, strict=True)
            picture = pictures.mistakes_grid(
                np.stack(images),
                np.array(labels),
                np.array(predictions),
                np.array(confidences),
                class_names=self._class_names,
                notes=notes,
            )
            write("mistakes", picture)
