"""Splits that are kept in memory, and the embedded digits."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from augmax_jax.data.order import split_off, stratified_split
from augmax_jax.data.split import Batch, HostShare, IndexedSplit
from augmax_jax.runtime import extras


class ArraySplit(IndexedSplit):
    """A split held as two arrays.

    Args:
        images: uint8 `[N, H, W, 3]`.
        labels: integers `[N]`.
        seed: decides the order of the epochs.
        process_index: number of this host, from 0.
        process_count: number of hosts; each holds the whole split.

    Raises:
        ValueError: shapes or dtypes are not as described, or there is no example.
    """

    resident = True

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                f"images must be uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}"
            )
        if not len(images):
            raise ValueError("images must hold at least one example, got none")
        if labels.shape != (len(images),):
            raise ValueError(
                f"labels must have shape [{len(images)}], one per image, got {list(labels.shape)}"
            )
        super().__init__(
            labels, seed=seed, process_index=process_index, process_count=process_count
        )
        self.images = images

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return self.images, self.labels

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.images[rows], self.labels[rows]

    def indices(self, step: int, batch_size: int) -> np.ndarray:
        first = step * batch_size
        return self.order.indices(np.arange(first, first + batch_size, dtype=np.int64))

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        self.per_host(batch_size)
        return self._train_batches(batch_size, start_step)

    def _train_batches(self, batch_size: int, step: int) -> Iterator[Batch]:
        while True:
            rows = self.order.indices(self.host_positions(step, batch_size))
            yield {"image": self.images[rows], "label": self.labels[rows]}
            step += 1

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        steps = self.eval_steps(batch_size)
        return (self._eval_batch(step, batch_size) for step in steps)

    def _eval_batch(self, step: int, batch_size: int) -> Batch:
        rows = self.host_positions(step, batch_size)
        mask = rows < len(self)
        images = np.zeros((len(rows), *self.images.shape[1:]), np.uint8)
        labels = np.zeros(len(rows), np.int32)
        images[mask] = self.images[rows[mask]]
        labels[mask] = self.labels[rows[mask]]
        return {"image": images, "label": labels, "mask": mask, "index": rows.astype(np.int32)}


def hold_out(
    images: np.ndarray, labels: np.ndarray, share: float, host: HostShare
) -> tuple[ArraySplit, ArraySplit | None]:
    """Divides arrays into a training split and a held-out split, stratified by class."""
    if not share:
        return ArraySplit(images, labels, **host), None
    rows, held = split_off(labels, share, host["seed"])
    return (
        ArraySplit(images[rows], labels[rows], **host),
        ArraySplit(images[held], labels[held], **host),
    )


def load_digits(image_size: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The embedded set: 1,797 handwritten digits that come with scikit-learn.

    The 8x8 grey images are enlarged bilinearly and given three equal channels. The split
    into training and test part is fixed and stratified, 4 to 1.

    Args:
        image_size: side of the images to make.

    Returns:
        `(images, labels)` for training, and the same for testing: images uint8 `[N, S, S, 3]`,
        labels int32 `[N]`.
    """
    with extras.needed("train"):
        from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    size = (image_size, image_size)
    grey = np.stack(
        [np.asarray(Image.fromarray(g).resize(size, Image.Resampling.BILINEAR)) for g in grey]
    )
    images = np.repeat(grey[..., None], 3, axis=-1)
    labels = digits.target.astype(np.int32)
    parts = stratified_split(labels, 0.2, seed=0)
    return tuple((images[part], labels[part]) for part in parts)
