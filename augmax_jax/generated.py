"""Robustness sets made from a split as it is read: nothing is written, any dataset has one."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from augmax_jax import corruptions
from augmax_jax.corruptions import textures
from augmax_jax.data import Batch, Split
from augmax_jax.data.benchmarks import Benchmark

CORRUPTED = "corrupted"  # what results call the test split corrupted as it is read

# (images uint8 [b, H, W, 3], places of the images in the split int [b]) -> images
Transform = Callable[[np.ndarray, np.ndarray], jax.Array]


class DerivedSplit(Split):
    """A split whose evaluation images come out transformed.

    The transform is told each image's place in the split, so that what it draws does not
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
            start = n * batch_size + self.process_index * share
            places = start + np.arange(len(batch["image"]))
            yield {**batch, "image": np.asarray(self._transform(batch["image"], places))}


def example_keys_at(key: jax.Array, places: np.ndarray) -> jax.Array:
    """A key for each image, from its place in the split."""
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)


def corrupted(
    split: Split,
    *,
    constants: str = "cifar",
    names: Sequence[str] = corruptions.BENCHMARK,
    seed: int = 0,
) -> Benchmark:
    """A `-C` benchmark of anyone's images, corrupted as they are read.

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
        every = corruptions.BENCHMARK + corruptions.EXTRA
        key = jax.random.fold_in(jax.random.key(seed), every.index(name))
        key = jax.random.fold_in(key, level)

        def transform(images, places):
            keys = example_keys_at(key, places)
            return corruptions.corrupt(keys, images, name, level, benchmark=constants)

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
