"""A network with its class names and its pre-processing, as evaluation uses them."""

import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageOps

from augmax_jax.data import DataConfig
from augmax_jax.data.images import read, to_rgb
from augmax_jax.data.settings import MIN_IMAGE_SIZE
from augmax_jax.data.square import fit
from augmax_jax.evaluation.predictions import Score, model_score
from augmax_jax.models import ROUTES, Classifier
from augmax_jax.runtime import parallel
from augmax_jax.runtime.checks import check_class_names, check_count
from augmax_jax.runtime.errors import check_name

BATCH_SIZE = 128  # most images that go through the network at a time, unless told otherwise


class Predictor:
    """A trained network: from images to logits, and to names and probabilities.

    Images become squares as in evaluation, and the network runs as it does there: in eval mode,
    so that an image's logits do not depend on the others of its batch, on the route that serves.
    It runs on the first device; in a loop of your own, or on several devices, call
    `predictor.model.apply(predictor.variables, x, route=predictor.route)` with float32 images.

    Args:
        model: the network.
        variables: `{"params": ..., "batch_stats...": ...}`.
        class_names: one per logit; None: not known, numbers stand for them.
        image_size: side of the network's images.
        test_transform: as `config.data.test_transform`.
        route: of the norms that serves; "clean", as in the paper's evaluation.

    Attributes:
        model: the network, a Flax module.
        variables: NumPy arrays.
        class_names: one per logit.
        has_names: whether they are names, not numbers that stand for them.
        image_size: side of the network's images, in pixels.
        test_transform: how an image becomes a square.
        resize: length that its shorter side is given before the centre is cut out.
        route: of the norms.

    Raises:
        ValueError: a setting of the pre-processing or the route is not allowed, or there is not one
            class name for each logit.
    """

    def __init__(
        self,
        model: Classifier,
        variables: dict[str, Any],
        class_names: Sequence[str] | None,
        *,
        image_size: int,
        test_transform: str = "resize",
        route: str = "clean",
    ) -> None:
        check_name("route", route, ROUTES)
        self.model, self.variables, self.route = model, variables, route
        devices = parallel.local_devices(1)
        bind = model_score(model, devices, routes=(route,))
        self._serve(
            bind(parallel.replicate(variables, devices)),
            name=type(model).__name__,
            num_classes=model.num_classes,
            class_names=class_names,
            image_size=image_size,
            test_transform=test_transform,
        )

    def _serve(
        self,
        score: Score,
        *,
        name: str,
        num_classes: int,
        class_names: Sequence[str] | None,
        image_size: int,
        test_transform: str,
    ) -> None:
        """Sets what the methods need, whatever gives the logits."""
        self._score, self._name = score, name
        if class_names is not None:
            check_class_names(class_names, num_classes)
        self.has_names = class_names is not None
        self.class_names = tuple(class_names or map(str, range(num_classes)))
        self.image_size, self.test_transform = image_size, test_transform
        # The input's own rule for the side before the crop.
        self.resize = DataConfig(image_size=image_size, test_transform=test_transform).resize

    def __repr__(self) -> str:
        return (
            f"Predictor({self._name}, {len(self.class_names)} classes, "
            f"{self.image_size}x{self.image_size})"
        )

    def preprocess(self, images: Any) -> np.ndarray:
        """Makes images ready for the network, as evaluation does.

        The shorter side is resized and the centre cut out, as `test_transform` says.

        Args:
            images: the path of an image file, a Pillow image, uint8 `[H, W, 3]` or
                `[N, H, W, 3]`; or a list of them.

        Returns:
            uint8 `[N, S, S, 3]`, S being `image_size`.

        Raises:
            BadImageError: a file cannot be read as an image; it is a ValueError.
            ValueError: an array of another shape or dtype, or an image with a side under 8 pixels.
        """
        squares = [fit(image, self.image_size, resize=self.resize) for image in _images(images)]
        if not squares:
            raise ValueError("images must be at least one, got none")
        return np.stack(squares)

    def logits(self, images: np.ndarray, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """The network's answer to images that are ready.

        Args:
            images: from `preprocess`, uint8 `[N, S, S, 3]`.
            batch_size: most images at a time.

        Returns:
            float32 `[N, C]`.

        Raises:
            ValueError: another shape or dtype, or `batch_size` is no whole number of at least 1.
        """
        check_count("batch_size", batch_size, low=1)
        side = self.image_size
        shape, dtype = np.shape(images), getattr(images, "dtype", type(images).__name__)
        if dtype != np.uint8 or len(shape) != 4 or shape[1:] != (side, side, 3) or not shape[0]:
            raise ValueError(
                f"images must be uint8 [N, {side}, {side}, 3], as preprocess makes them, got "
                f"{dtype} {list(shape)}"
            )
        images = np.asarray(images)
        # The last batch is filled up with black images: every size is compiled anew.
        size = min(batch_size, 2 ** math.ceil(math.log2(len(images))))
        found = []
        with jax.enable_x64(False):  # as evaluation computes
            for start in range(0, len(images), size):
                batch = images[start : start + size]
                padded = np.zeros((size, *batch.shape[1:]), np.uint8)
                padded[: len(batch)] = batch
                found.append(self._score(padded)[: len(batch)])
        return np.concatenate(found)

    def predict(
        self, images: Any, top: int = 5, *, batch_size: int = BATCH_SIZE
    ) -> list[list[tuple[str, float]]]:
        """The most likely classes of images, with their probabilities.

        Args:
            images: whatever `preprocess` takes.
            top: how many classes; all of them if there are fewer.
            batch_size: most images at a time.

        Returns:
            For each image the (class name, probability) pairs, the most likely first.

        Raises:
            ValueError: as `preprocess`; or the network gives NaN or infinity.
        """
        check_count("top", top, low=1)
        return self.rank(self.logits(self.preprocess(images), batch_size=batch_size), top)

    def rank(self, logits: np.ndarray, top: int = 5) -> list[list[tuple[str, float]]]:
        """The most likely classes by logits, as `predict` gives them.

        Args:
            logits: float `[N, C]`.
            top: how many classes; all of them if there are fewer.

        Raises:
            ValueError: `logits` has another shape, or NaN or infinity; or `top` is no whole number
                of at least 1.
        """
        check_count("top", top, low=1)
        logits = np.asarray(logits, np.float64)
        classes = len(self.class_names)
        if logits.ndim != 2 or logits.shape[1] != classes:
            raise ValueError(
                f"logits must be [N, {classes}], one for each class, got {list(logits.shape)}"
            )
        useless = int((~np.isfinite(logits).all(-1)).sum())
        if useless:
            raise ValueError(
                f"the network gives NaN or infinity for {useless} of {len(logits)} images: they "
                "have no prediction. Look for an overflow or a diverged training"
            )
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities = odds / odds.sum(-1, keepdims=True)
        # Of equal logits the first class, as accuracy counts.
        order = np.argsort(-logits, axis=-1, kind="stable")[:, :top]
        return [
            [(self.class_names[index], float(row[index])) for index in best]
            for row, best in zip(probabilities, order, strict=True)
        ]


def _images(images: Any) -> list[Image.Image]:
    """Whatever `preprocess` takes as RGB images."""
    if isinstance(images, list | tuple):
        return [image for item in images for image in _images(item)]
    if isinstance(images, str | os.PathLike):
        return [read(images)]
    if isinstance(images, Image.Image):
        return [_checked(to_rgb(ImageOps.exif_transpose(images)))]
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ValueError(
            "an image must be a path, a Pillow image, or uint8 [H, W, 3] or [N, H, W, 3] with "
            f"values in 0..255 and 3 channels, got {_describe(images, array)}"
        )
    batch = array if array.ndim == 4 else array[None]
    return [_checked(Image.fromarray(np.ascontiguousarray(image))) for image in batch]


def _describe(images: Any, array: np.ndarray) -> str:
    if array.dtype == object:
        return type(images).__name__
    hint = ""
    if array.ndim in (3, 4) and array.shape[-3] == 3 and array.shape[-1] != 3:
        hint = " (move the channels last)"
    return f"{array.dtype} {list(array.shape)}{hint}"


def _checked(image: Image.Image) -> Image.Image:
    if min(image.size) < MIN_IMAGE_SIZE:
        raise ValueError(
            f"an image is {image.width}x{image.height} pixels, each side must have at least "
            f"{MIN_IMAGE_SIZE}"
        )
    return image
