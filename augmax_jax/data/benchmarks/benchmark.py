"""What a robustness set offers, and how its labels become the model's."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from augmax_jax.corruptions import BENCHMARK, EXTRA, SEVERITIES
from augmax_jax.data.config import DataConfig
from augmax_jax.data.split import Batch, Place, Split
from augmax_jax.runtime.errors import check_name, shorten

_NAMED = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """A set to measure robustness on.

    Attributes:
        name: what results call it.
        kind: "corruptions", "shift" for a set of new natural images, or "worst" for one where
            the worst part counts, image by image.
        source: "published" or "tfds" for the sets of the literature, "generated" for those
            made by this package, "files" for others: only the first two compare to papers.
        corruptions: those that can be loaded, the 15 of the literature first; empty for a
            shift.
        severities: those of every corruption; empty for a shift.
        classes: the model's classes that occur, int32 ascending, or None for all: where the
            set has only some, the others are to be excluded from the prediction.
        loader: opens a corruption at a severity, both None for a shift.
        place: where it was read from: a folder, or a prepared tfds dataset of one version.
        constants: whose severities it has ("cifar", "tiny_imagenet" or "imagenet"), "" where
            that is not known.
        recipe: of a set that is made from a split as it is read, all that decides its images,
            as values that JSON keeps; empty for others.
    """

    name: str
    kind: str
    source: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    classes: np.ndarray | None
    loader: Callable[[str | None, int | None], Split] = dataclasses.field(repr=False)
    place: str = ""
    constants: str = ""
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all 15 corruptions and 5 severities are there, as RA and mCE need."""
        return set(BENCHMARK) <= set(self.corruptions) and self.severities == SEVERITIES

    def load(self, corruption: str | None = None, severity: int | None = None) -> Split:
        """Opens one part of the set.

        Args:
            corruption: one of `corruptions`; None for a shift.
            severity: one of `severities`; None for a shift.

        Returns:
            A split whose labels are those of the model. Use its `eval_batches`.

        Raises:
            ValueError: the set has no such part, or its files are not what they should be.
            FileNotFoundError: files are missing.
        """
        if self.kind == "shift":
            if corruption is not None or severity is not None:
                raise ValueError(
                    f"{self.name!r} has no corruptions, got corruption={corruption!r}, "
                    f"severity={severity!r}"
                )
        else:
            check_name(f"corruption of {self.name!r}", str(corruption), self.corruptions)
            if severity not in self.severities:
                raise ValueError(
                    f"severity of {self.name!r} must be one of {list(self.severities)}, got "
                    f"{severity!r}"
                )
        return self.loader(corruption, severity)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the model needs of a benchmark.

    Attributes:
        class_names: the model's classes in the order of its logits.
        image_size: side of the images it takes.
        bad_images: as in `DataConfig`.
        data_dir: where tfds data was prepared.
        place: this host.
    """

    class_names: tuple[str, ...]
    image_size: int
    bad_images: str
    data_dir: str
    place: Place

    def config(self, name: str, *, natural: bool = False) -> DataConfig:
        """Settings to read a set with; natural images get ImageNet's resize before the crop."""
        return DataConfig(
            name=name,
            data_dir=self.data_dir,
            image_size=self.image_size,
            train_transform="random_resized_crop" if natural else "none",
            bad_images=self.bad_images,
            max_resident_bytes=2**28,
        )

    def check_classes(self, what: str, count: int) -> None:
        """Raises ValueError unless the model has that many classes."""
        if len(self.class_names) != count:
            raise ValueError(
                f"{what} has {count} classes, but the model has {len(self.class_names)}"
            )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Corruptions in the order of the literature, others after them by name."""
    known = BENCHMARK + EXTRA
    return tuple(
        sorted(set(names), key=lambda n: (known.index(n) if n in known else len(known), n))
    )


def check_complete(what: str, found: Iterable[str]) -> None:
    """Raises FileNotFoundError unless all 15 corruptions are there."""
    found = list(found)
    missing = [name for name in BENCHMARK if name not in found]
    if missing:
        raise FileNotFoundError(
            f"{what} lacks {len(missing)} of the {len(BENCHMARK)} corruptions: {', '.join(missing)}"
        )


def match_labels(what: str, names: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Finds the model's class for each class of a set.

    Args:
        what: the set, for messages.
        names: classes of the set, in the order of its labels.
        class_names: classes of the model.

    Returns:
        int32 `[len(names)]`.

    Raises:
        ValueError: the set has classes that the model does not know.
    """
    index = {name: i for i, name in enumerate(class_names)}
    if all(name in index for name in names):
        return np.array([index[name] for name in names], np.int32)
    # Some tfds sets number their classes instead of naming them.
    numbered = any(list(n) == [str(i) for i in range(len(n))] for n in (names, class_names))
    if numbered and len(names) == len(class_names):
        return np.arange(len(names), dtype=np.int32)
    unknown = [name for name in names if name not in index]
    raise ValueError(
        f"{what} has {len(names)} classes, of which the model (with {len(class_names)}) does not "
        f"know {len(unknown)}: {shorten(unknown, _NAMED)}"
    )


def subset(labels: np.ndarray, num_classes: int) -> np.ndarray | None:
    """The classes that occur, or None if all do."""
    present = np.unique(labels).astype(np.int32)
    return None if len(present) == num_classes else present


class Relabelled(Split):
    """A split whose labels are looked up in a table."""

    def __init__(self, split: Split, table: np.ndarray) -> None:
        super().__init__(
            seed=split.seed,
            process_index=split.process_index,
            process_count=split.process_count,
        )
        self.split = split
        self.table = table.astype(np.int32)
        self.labels = None if split.labels is None else self.table[split.labels]

    def __len__(self) -> int:
        return len(self.split)

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self.split.examples(rows)
        return images, self.table[labels]

    def _look_up(self, batch: Batch) -> Batch:
        return {**batch, "label": self.table[batch["label"]]}

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        return map(self._look_up, self.split.train_batches(batch_size, start_step))

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        return map(self._look_up, self.split.eval_batches(batch_size))
