"""The interface of a robustness set, and the mapping of its labels to the model's classes."""

import dataclasses
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from augmax_jax.corruptions import BENCHMARK, EXTRA, SEVERITIES
from augmax_jax.data.settings import DataConfig
from augmax_jax.data.split import Batch, HostShare, Split
from augmax_jax.runtime.errors import check_name

_NAMED = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Benchmark:
    """A set to measure robustness on.

    Attributes:
        name: its name in results.
        kind: "corruptions"; "shift" for a set of new natural images; or "worst" for a set of
            which the worst part counts, image by image.
        source: "published" or "tfds" for the sets of the literature, "generated" for sets
            made by this package, "files" for others. Only the first two compare to papers.
        corruptions: those that can be loaded, the 15 of the literature first; empty for a
            shift.
        severities: those of every corruption; empty for a shift.
        classes: the model's classes that occur, int32 ascending, or None for all. If only some
            occur, the prediction must be among these.
        note: which part of the set is evaluated, if the model has only some of its classes.
        loader: opens a corruption at a severity, both None for a shift.
        location: where the set was read from: a folder, or a prepared tfds dataset of one version.
        constants: the benchmark whose severities it has ("cifar", "tiny_imagenet" or
            "imagenet"), "" if that is not known.
        recipe: for a set that is made on the fly from a split: all that decides its images,
            as values that JSON can hold; empty for other sets.
    """

    name: str
    kind: str
    source: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    classes: np.ndarray | None
    loader: Callable[[str | None, int | None], Split] = dataclasses.field(repr=False)
    note: str = ""
    location: str = ""
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
            ValueError: the set has no such part, or its files are not as published.
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
    """The model's requirements of a benchmark.

    Attributes:
        class_names: the model's classes in the order of its logits.
        image_size: side of the images that the model takes.
        bad_images: "refuse" or "skip", as in `DataConfig`.
        data_dir: folder of prepared tfds data; empty: tfds's default.
        host: the seed, and the number of this host.
    """

    class_names: tuple[str, ...]
    image_size: int
    bad_images: str
    data_dir: str
    host: HostShare

    def config(self, name: str, *, natural: bool = False) -> DataConfig:
        """Settings for reading a set; natural images get ImageNet's resize before the crop."""
        return DataConfig(
            name=name,
            data_dir=self.data_dir,
            image_size=self.image_size,
            test_transform="center_crop" if natural else "resize",
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
    """Corruptions in the order of the literature; others follow, sorted by name."""
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


def match_labels(
    what: str, names: Sequence[str], class_names: Sequence[str], *, partly: bool = False
) -> np.ndarray:
    """Finds the model's class for each class of a set, by name (in Unicode's form NFC).

    Args:
        what: the set, for messages.
        names: classes of the set, in the order of its labels.
        class_names: classes of the model.
        partly: whether the model may lack some of the set's classes.

    Returns:
        int32 `[len(names)]`; -1 for a class that the model does not have.

    Raises:
        ValueError: the set has classes that the model does not know; or with `partly`, the two
            share fewer than two classes.
    """
    index = {composed(name): i for i, name in enumerate(class_names)}
    table = np.array([index.get(composed(name), -1) for name in names], np.int32)
    if (table >= 0).all():
        return table
    # Some tfds sets number their classes instead of naming them.
    numbered = any(list(n) == [str(i) for i in range(len(n))] for n in (names, class_names))
    if numbered and len(names) == len(class_names):
        return np.arange(len(names), dtype=np.int32)
    if partly and (table >= 0).sum() > 1:
        return table
    unknown = [name for name, label in zip(names, table, strict=True) if label < 0]
    raise ValueError(
        f"{what} has {len(names)} classes, of which the model (with {len(class_names)}) does not "
        f"know {len(unknown)}: {_some(unknown)}. The model's: {_some(class_names)}"
        + (". At least two classes must have the same names in both" if partly else "")
    )


def composed(name: str) -> str:
    """A class's name in Unicode's form NFC, in which names are compared."""
    return unicodedata.normalize("NFC", name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


def share_note(what: str, table: np.ndarray, kept: int, total: int, model_classes: int) -> str:
    """Says which part of a set the model is evaluated on; empty if it is the whole set.

    Args:
        what: the set, for the text.
        table: as `match_labels` returns it.
        kept: number of images of classes that the model has.
        total: number of images.
        model_classes: number of classes of the model.
    """
    shared = int((table >= 0).sum())
    if shared == len(table):
        return ""
    return (
        f"{what}: {shared} of its {len(table)} classes are among the model's {model_classes}, so "
        f"{kept:,} of {total:,} images take part and the prediction is among these classes: the "
        "figures do not compare with published ones"
    )


def subset(labels: np.ndarray, num_classes: int) -> np.ndarray | None:
    """The model's classes that occur, without the label -1; None if all occur."""
    present = np.unique(labels[labels >= 0]).astype(np.int32)
    return None if len(present) == num_classes else present


class Relabelled(Split):
    """A split for evaluation whose labels are looked up in a table.

    Images whose class is -1 in the table are masked out.

    Args:
        split: the images with their own labels.
        table: the model's class for each of these labels, or -1.
        count: number of images that take part.
    """

    def __init__(self, split: Split, table: np.ndarray, count: int) -> None:
        super().__init__(
            seed=split.seed,
            process_index=split.process_index,
            process_count=split.process_count,
        )
        self.split = split
        self.table = table.astype(np.int32)
        self.count = count
        self.labels = None if split.labels is None else self.table[split.labels]

    def __len__(self) -> int:
        return self.count

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Examples of the split by their index; a class that the model lacks has label -1."""
        images, labels = self.split.examples(rows)
        return images, self.table[labels]

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        """Raises ValueError: a benchmark is for evaluation only."""
        raise ValueError("a benchmark is for evaluation only")

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        """The split's own batches, with the model's labels."""
        return map(self._look_up, self.split.eval_batches(batch_size))

    def _look_up(self, batch: Batch) -> Batch:
        labels = self.table[batch["label"]]
        mask = batch["mask"] & (labels >= 0)
        return {**batch, "label": np.where(mask, labels, 0), "mask": mask}
