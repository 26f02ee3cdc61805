"""The interface of all splits."""

import abc
import dataclasses
import logging
from collections.abc import Iterator
from typing import TypedDict

import numpy as np

from augmax_jax.data.order import EpochOrder
from augmax_jax.data.settings import DataConfig

Batch = dict[str, np.ndarray]

log = logging.getLogger(__name__)


class HostShare(TypedDict):
    """The run's seed, and the number of this host; every split takes them."""

    seed: int
    process_index: int
    process_count: int


class Split(abc.ABC):
    """A labelled set of images, seen from one host.

    Images are uint8 `[b, H, W, 3]`, labels int32 `[b]`, where `b` is the host's share
    `batch_size // process_count` of the global batch.

    Attributes:
        resident: whether `arrays()` and `indices()` are available.
        labels: labels of all examples, int32 `[N]`; None if they cannot be read without images.
    """

    resident = False
    labels: np.ndarray | None = None

    def __init__(self, *, seed: int, process_index: int = 0, process_count: int = 1) -> None:
        self.seed = seed
        self.process_index = process_index
        self.process_count = process_count

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of examples over all hosts."""

    @abc.abstractmethod
    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        """Endless training batches `{"image", "label"}`, from the given step on.

        Batch `k` holds the stream positions `[k * batch_size, (k + 1) * batch_size)`, of which
        each host yields its contiguous share. The stream is one permutation of the split after
        another: every example comes once per epoch, and no example is dropped at its end.

        Raises:
            ValueError: `batch_size` is not a positive multiple of the number of hosts.
        """

    @abc.abstractmethod
    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        """Batches `{"image", "label", "mask", "index"}` of every example, once, in fixed order.

        All batches have full size; padding is black, has label 0 and `mask` (bool `[b]`)
        False. Every host yields the same number of batches. `index`, int32 `[b]`, has the place
        of each example in the split, which counts up within a batch.

        Raises:
            ValueError: `batch_size` is not a positive multiple of the number of hosts.
        """

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A few examples by their index in the split, prepared as for evaluation.

        Args:
            rows: integers `[n]` in [0, N).

        Returns:
            Images uint8 `[n, H, W, 3]` and labels int32 `[n]`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not give examples by their place")

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All images, uint8 `[N, H, W, 3]`, and labels, int32 `[N]`, of a resident split."""
        raise ValueError("this split is streamed, not resident in memory; see data.resident")

    def indices(self, step: int, batch_size: int) -> np.ndarray:
        """Rows of `arrays()` that are the global training batch of a step, int32 `[B]`."""
        raise ValueError("this split is streamed, not resident in memory; see data.resident")

    def per_host(self, batch_size: int) -> int:
        """The host's share of a global batch."""
        return per_host_batch(batch_size, self.process_count)


def per_host_batch(batch_size: int, process_count: int) -> int:
    """The share of one host; raises ValueError unless the hosts divide the batch evenly."""
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size must be a positive multiple of the {process_count} host process(es), "
            f"got {batch_size}"
        )
    return batch_size // process_count


def check_enough(examples: int, batch_size: int | None) -> None:
    """Raises ValueError unless the training images fill a batch."""
    if batch_size is not None and batch_size > examples:
        raise ValueError(
            f"config.batch_size={batch_size} is larger than the training set of {examples} images: "
            f"set config.batch_size to at most {examples}, or add images"
        )


class IndexedSplit(Split):
    """A split whose examples can be read by index: the order is exact, for any number of hosts."""

    labels: np.ndarray

    def __init__(
        self, labels: np.ndarray, *, seed: int, process_index: int = 0, process_count: int = 1
    ) -> None:
        super().__init__(seed=seed, process_index=process_index, process_count=process_count)
        self.labels = labels.astype(np.int32)
        self.order = EpochOrder(len(labels), seed)

    def __len__(self) -> int:
        return len(self.labels)

    def host_positions(self, step: int, batch_size: int) -> np.ndarray:
        """Stream positions of this host's share of a batch, int64 `[b]`."""
        share = self.per_host(batch_size)
        first = step * batch_size + self.process_index * share
        return np.arange(first, first + share, dtype=np.int64)

    def eval_steps(self, batch_size: int) -> range:
        """Numbers of the evaluation batches that hold all examples."""
        self.per_host(batch_size)
        return range(-(-len(self) // batch_size))


@dataclasses.dataclass(frozen=True)
class Data:
    """A dataset ready to train on.

    Attributes:
        name: `config.data.name`.
        num_classes: number of classes.
        class_names: one name per label, in label order.
        train: the training split.
        holdout: examples kept out of training, or None.
        test: the evaluation split.
        description: one line of text for the log.
        test_location: where the test split was read from: a folder, or a prepared tfds dataset of
            one version, with the split's name, and what share of the images it is if they were
            divided here.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    train: Split
    holdout: Split | None
    test: Split
    description: str
    test_location: str = ""


def make_data(
    config: DataConfig,
    class_names: tuple[str, ...],
    train: Split,
    holdout: Split | None,
    test: Split,
    test_location: str,
    held_out: str = "",
) -> Data:
    """Puts the parts together and says in the log what was found.

    `held_out` says which share of the images the test split is, if it was divided from them here.
    """
    apart = f" ({held_out})" if held_out else ""
    held = f", {len(holdout):,} held out" if holdout is not None else ""
    where = "in memory" if train.resident else "streamed"
    copies = f" with those of {', '.join(config.extra_train)}" if config.extra_train else ""
    line = (
        f"{config.name}: {len(train):,} training images{copies}{held}, {len(test):,} test "
        f"images{apart}, {len(class_names)} classes, {config.image_size}x{config.image_size}, "
        f"{where}"
    )
    log.info(line)
    return Data(
        config.name, len(class_names), class_names, train, holdout, test, line, test_location
    )
