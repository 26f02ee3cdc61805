"""Predictions for many files: decoded by threads, batch by batch, with what could not be read."""

import dataclasses
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from augmax_jax.data.decode_pool import WORKERS, decode_all
from augmax_jax.data.extra import class_folder
from augmax_jax.data.images import BadImageError, read
from augmax_jax.data.settings import BAD_IMAGES
from augmax_jax.inference.predictor import BATCH_SIZE, Predictor
from augmax_jax.inference.sources import Source
from augmax_jax.runtime.checks import check_count
from augmax_jax.runtime.errors import check_name, shorten
from augmax_jax.runtime.progress import Count

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the network sees in an image.

    Attributes:
        path: of the file.
        label: name of the class that its folder says it has, None where that is not known.
        top: the most likely classes with their probabilities, the most likely first.
    """

    path: str
    label: str | None
    top: list[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for many images.

    Attributes:
        images: those that could be read, in their order.
        unreadable: what is wrong with each of the others, with its name.
    """

    images: list[Prediction]
    unreadable: list[str]

    @property
    def labelled(self) -> int:
        """How many images have a label."""
        return sum(image.label is not None for image in self.images)

    @property
    def right(self) -> int:
        """How many of them the network takes for what they are."""
        return sum(image.label == image.top[0][0] for image in self.images)

    @property
    def accuracy(self) -> float | None:
        """The share of the labelled images that the network is right about; None without any."""
        return self.right / self.labelled if self.labelled else None


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    *,
    top: int = 5,
    batch_size: int = BATCH_SIZE,
    bad_images: str = "refuse",
    progress: bool = True,
) -> Predictions:
    """Predicts image files.

    An image whose `folder` is called like a class has that label.

    Args:
        predictor: the network.
        sources: the files.
        top: how many classes of each; all of them if there are fewer.
        batch_size: images at a time.
        bad_images: "refuse" files that cannot be read, all of which are looked for first, or
            "skip" them.
        progress: whether to show how far it is.

    Raises:
        BadImageError: files cannot be read and are refused, or none can.
        ValueError: an argument is not allowed, or the network gives NaN or infinity.
    """
    check_count("top", top, low=1)
    check_count("batch_size", batch_size, low=1)
    check_name("bad_images", bad_images, BAD_IMAGES)
    side = predictor.image_size
    labels = {class_folder(name): name for name in predictor.class_names if predictor.has_names}
    predictions: list[Prediction] = []
    unreadable: list[str] = []
    starts = range(0, len(sources), batch_size)
    counting = Count(len(sources), "predicting", unit="images", show=progress)
    with ThreadPoolExecutor(WORKERS) as pool, counting as count:
        for start in starts:
            part = sources[start : start + batch_size]
            images = np.zeros((len(part), side, side, 3), np.uint8)
            paths = [source.path for source in part]
            good, errors = decode_all(pool, paths, read, images, resize=predictor.resize)
            unreadable += errors
            if good.any() and not (unreadable and bad_images == "refuse"):
                ranked = predictor.rank(predictor.logits(images, batch_size=batch_size), top)
                predictions += [
                    Prediction(source.path, labels.get(source.folder or ""), best)
                    for source, best, fine in zip(part, ranked, good, strict=True)
                    if fine
                ]
            count.update(len(part))
    _report(unreadable, len(sources), refuse=bad_images == "refuse" or not predictions)
    return Predictions(predictions, unreadable)


def _report(unreadable: Sequence[str], total: int, *, refuse: bool) -> None:
    if refuse and unreadable:
        hint = "" if len(unreadable) == total else " (--bad_images skip leaves them out)"
        raise BadImageError(
            f"{len(unreadable)} of {total} images cannot be used{hint}: {shorten(unreadable)}"
        )
    for error in unreadable:
        logger.warning("skipping %s", error)
    if unreadable:
        logger.warning("skipped %d of %d images", len(unreadable), total)
