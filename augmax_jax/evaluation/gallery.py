"""Gathers pictures during an evaluation: samples of each corruption and the worst mistakes."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.special import softmax

from augmax_jax.data import Batch
from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.evaluation.predictions import Observe
from augmax_jax.report import pictures
from augmax_jax.runtime import files, hosts, storage
from augmax_jax.runtime.paths import RunPath

MISTAKES = 24
_SIDE = 128  # pixels of a mistake's longer side in the file that the report reads


class Mistake(NamedTuple):
    """An image that was taken for another class."""

    confidence: float
    image: np.ndarray
    label: int
    prediction: int
    corruption: str
    severity: str

    @property
    def where(self) -> str:
        """The corruption and its severity in words; "" for a set without corruptions."""
        if self.corruption == "all":
            return ""
        return f"{self.corruption} {self.severity}".replace("_", " ")


class Gallery:
    """Keeps one image under every corruption, and the network's most confident mistakes.

    The parts of a benchmark hold the same images in the same order, and each image is kept once:
    where a later part makes the network surer of a wrong class, that mistake takes its place.

    Args:
        class_names: the network's classes.
        mistakes: number of mistakes to keep.
    """

    def __init__(self, class_names: Sequence[str], *, mistakes: int = MISTAKES) -> None:
        self._class_names, self._limit = tuple(class_names), mistakes
        self._samples: dict[str, dict[str, np.ndarray]] = {}
        self._mistakes: dict[int, Mistake] = {}  # by the image's place in its part

    def observer(self, corruption: str, severity: str) -> Observe:
        """What `predict` shows the batches of one part to, in order."""

        def observe(batch: Batch, logits: np.ndarray) -> None:
            images, labels = batch["image"], batch["label"]
            by_severity = self._samples.setdefault(corruption, {})
            by_severity.setdefault(severity, images[0].copy())
            confidence = softmax(logits, axis=-1).max(-1)
            predictions = logits.argmax(-1)
            wrong = np.flatnonzero((predictions != labels) & batch["mask"])
            new = 0
            for i in wrong[np.argsort(-confidence[wrong], kind="stable")]:
                place, sure = int(batch["index"][i]), float(confidence[i])
                before = self._mistakes.get(place)
                # A few of each part, so that the hardest corruption does not fill the page.
                if before is None and new == 2:
                    continue
                new += before is None
                if before is None or before.confidence < sure:
                    self._mistakes[place] = Mistake(
                        sure, images[i].copy(), int(labels[i]), int(predictions[i]),
                        corruption, severity,
                    )  # fmt: skip
                if len(self._mistakes) > self._limit:
                    del self._mistakes[min(self._mistakes, key=self._confidence)]

        return observe

    def _confidence(self, place: int) -> float:
        return self._mistakes[place].confidence

    def share(self) -> None:
        """Brings the mistakes of all processes together; each process must call it."""
        if not hosts.are_several():
            return
        mine = [(-mistake.confidence, place) for place, mistake in self._mistakes.items()]
        ranked = sorted((sure, place) for theirs in hosts.everyone(mine) for sure, place in theirs)
        sent = {}
        for _, place in ranked[: self._limit]:
            if place in self._mistakes:
                mistake = self._mistakes[place]
                picture = base64.b64encode(pictures.to_png(mistake.image)).decode("ascii")
                sent[str(place)] = mistake._asdict() | {"image": picture}
        self._mistakes = {}
        for theirs in hosts.everyone(sent):
            for place, fields in theirs.items():
                with Image.open(io.BytesIO(base64.b64decode(fields["image"]))) as opened:
                    fields["image"] = np.asarray(opened)
                self._mistakes[int(place)] = Mistake(**fields)

    @staticmethod
    def clear(directory: RunPath, stem: str) -> None:
        """Removes the pictures of a benchmark: those of another evaluation must not stay."""
        for name in (f"corruptions_{stem}.png", f"mistakes_{stem}.png", f"mistakes_{stem}.json"):
            (directory / name).unlink(missing_ok=True)

    def write(self, directory: RunPath, stem: str, benchmark: Benchmark) -> None:
        """Writes `corruptions_<stem>.png`, `mistakes_<stem>.png`, and the latter as JSON.

        If an earlier session evaluated some parts, this one has not seen their images; then
        existing pictures stay.

        Args:
            directory: directory of the pictures.
            stem: stem of the names of the benchmark's files.
            benchmark: the set.
        """
        storage.make(directory)
        seen = sum(len(by) for by in self._samples.values())
        complete = seen == max(1, len(benchmark.corruptions) * len(benchmark.severities))

        def is_wanted(kind: str) -> bool:
            return complete or not (directory / f"{kind}_{stem}.png").exists()

        def write(kind: str, picture: np.ndarray) -> None:
            contents = pictures.to_png(picture)
            path = directory / f"{kind}_{stem}.png"
            files.write_atomically(path, lambda partial: partial.write_bytes(contents))

        severities = [str(s) for s in benchmark.severities]
        whole = {
            name: np.stack([by[s] for s in severities])
            for name, by in self._samples.items()
            if severities and set(severities) <= set(by)
        }
        if whole and is_wanted("corruptions"):
            grid = pictures.corruption_grid(None, whole, severities=benchmark.severities)
            write("corruptions", grid)
        if self._mistakes and is_wanted("mistakes"):
            worst = sorted(self._mistakes.values(), key=lambda mistake: -mistake.confidence)
            write("mistakes", self._picture(worst))
            entries = [self._entry(mistake) for mistake in worst]
            files.write_json(directory / f"mistakes_{stem}.json", entries)

    def _picture(self, worst: Sequence[Mistake]) -> np.ndarray:
        return pictures.mistakes_grid(
            np.stack([mistake.image for mistake in worst]),
            np.array([mistake.label for mistake in worst]),
            np.array([mistake.prediction for mistake in worst]),
            np.array([mistake.confidence for mistake in worst]),
            class_names=self._class_names,
            notes=[mistake.where for mistake in worst],
        )

    def _entry(self, mistake: Mistake) -> dict[str, str | float]:
        """A mistake as the report reads it, the image as a PNG in base64."""
        image = Image.fromarray(mistake.image)
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)  # makes none larger
        return {
            "image": base64.b64encode(pictures.to_png(np.asarray(image))).decode("ascii"),
            "label": self._class_names[mistake.label],
            "prediction": self._class_names[mistake.prediction],
            "confidence": mistake.confidence,
            "where": mistake.where,
        }
