"""Robustness sets made from a split as it is read: nothing is written, any dataset has one."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from augmax_jax import corruptions
from augmax_jax.corruptions import textures
from augmax_jax.data import Batch, Split
from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.runtime import keys

CORRUPTED = "corrupted"  # what results call the test split corrupted as it is read

# (images uint8 [b, H, W, 3], place of the first of them in the split) -> images
Transform = Callable[[np.ndarray, int], jax.Array]


class DerivedSplit(Split):
    """A split whose evaluation images come out transformed.

    The transform is told where in the split the images lie, so that what it draws does not
    depend on the batch size.

    Args:
        split: the original images.
        transform: of a batch.
    """

    def __init__(self, split: Split, transform: Transform) -> None:
        super().__init__(
            seed=split.seed, process_index=split.process_index, process_count=split.process_count
        )
        self._split, self._transform = split, transform

    def __len__(self) -> int:
        return len(self._split)

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        """Not to be had: a benchmark is not trained on."""
        raise ValueError("a derived split is for evaluation only")

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        """The split's own batches, transformed."""
        share = batch_size // self.process_count
        for n, batch in enumerate(self._split.eval_batches(batch_size)):
            first = n * batch_size + self.process_index * share
            yield {**batch, "image": np.asarray(self._transform(batch["image"], first))}


def corrupted(
    split: Split,
    *,
    constants: str = "cifar",
    names: Sequence[str] = corruptions.BENCHMARK,
    seed: int = 0,
) -> Benchmark:
    """A `-C` benchmark of anyone's images, corrupted as they are read.

    The images are those that `corruption_sets.generate` writes for the same split and seed.

    Args:
        split: the clean images.
        constants: whose severities: "cifar" for images of about 32 pixels, "tiny_imagenet"
            for 64, "imagenet" for 224.
        names: the corruptions.
        seed: of the draws.

    Raises:
        ValueError: "frost" is among them and its pictures are not installed.
    """
    if "frost" in names:
        textures.folder()

    def load(corruption: str | None, severity: int | None) -> Split:
        name, level = corruption or "", severity or 0
        key = corruptions.benchmark_key(seed, name, level)

        def transform(images, first):
            own = keys.example_keys(key, len(images), first_index=first)
            return corruptions.corrupt(own, images, name, level, benchmark=constants)

        return DerivedSplit(split, transform)

    return Benchmark(
        name=CORRUPTED,
        kind="corruptions",
        source="generated",
        corruptions=tuple(names),
        severities=corruptions.SEVERITIES,
        classes=None,
        loader=load,
    )
