"""Splits whose images are transformed as they are read."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from augmax_jax.data import Batch, Split

# (images uint8 [b, H, W, 3], index of the first of them in the split) -> images
Transform = Callable[[np.ndarray, int], jax.Array]


class DerivedSplit(Split):
    """A split whose evaluation images are transformed.

    The transform gets the images' index in the split, so that its draws do not depend on the
    batch size.

    Args:
        split: the original images.
        transform: function from a batch and the index of its first image to the new batch.
    """

    def __init__(self, split: Split, transform: Transform) -> None:
        super().__init__(
            seed=split.seed, process_index=split.process_index, process_count=split.process_count
        )
        self._split, self._transform = split, transform

    def __len__(self) -> int:
        return len(self._split)

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        """Raises ValueError: the split is for evaluation only."""
        raise ValueError("a derived split is for evaluation only")

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        """The split's own batches, transformed."""
        for batch in self._split.eval_batches(batch_size):
            first = int(batch["index"][0])
            yield {**batch, "image": np.asarray(self._transform(batch["image"], first))}
