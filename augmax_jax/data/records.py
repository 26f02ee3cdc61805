"""The examples of a tfds dataset: slices of splits, read into memory or as tf.data."""

import functools
import itertools
import operator
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from augmax_jax.data.decode_pool import WORKERS, decode_all, report_bad
from augmax_jax.data.images import decode
from augmax_jax.data.settings import DataConfig
from augmax_jax.runtime.errors import nearest

_READ_BATCH = 1024


class Span(NamedTuple):
    """A run of consecutive examples of a named split."""

    split: str
    start: int
    stop: int


class Records:
    """Consecutive examples of a tfds dataset; slicing it reads nothing."""

    def __init__(self, builder: Any, spans: list[Span]) -> None:
        self.builder = builder
        self.spans = spans

    @classmethod
    def open(cls, builder: Any, split: str) -> "Records":
        """The examples of a split expression such as `train`, `train[:80%]` or `train+test`.

        Raises:
            ValueError: the expression is malformed or names an unknown or empty split.
        """
        import tensorflow_datasets as tfds

        splits = builder.info.splits
        if not splits:  # tfds.testing.mock_data: only the cardinality is known
            count = int(builder.as_dataset(split=split).cardinality())
            return cls(builder, [Span(split, 0, count)])
        try:
            parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(splits)
        except (ValueError, AssertionError, KeyError) as error:
            names = list(splits)
            base = re.split(r"[\[+]", split)[0]
            raise ValueError(
                f"dataset {builder.name!r} has no split {split!r}.{nearest(base, names)} "
                f"Available: {', '.join(names)}, and slices such as {names[0]}[:80%]"
            ) from error
        spans = [
            Span(
                part.splitname,
                part.from_ or 0,
                splits[part.splitname].num_examples if part.to is None else part.to,
            )
            for part in parts
        ]
        records = cls(builder, spans)
        if not len(records):
            raise ValueError(f"split {split!r} of dataset {builder.name!r} is empty")
        return records

    def __len__(self) -> int:
        return sum(span.stop - span.start for span in self.spans)

    @property
    def description(self) -> str:
        """The name of these examples in error messages."""
        names = "+".join(dict.fromkeys(span.split for span in self.spans))
        return f"split {names!r} of dataset {self.builder.name!r}"

    def slice(self, start: int, stop: int) -> "Records":
        """The examples from `start` up to `stop`."""
        spans = []
        for span in self.spans:
            size = span.stop - span.start
            low, high = max(start, 0), min(stop, size)
            if low < high:
                spans.append(Span(span.split, span.start + low, span.start + high))
            start, stop = start - size, stop - size
        return Records(self.builder, spans)

    def shards(self) -> list["Records"]:
        """These examples in order, cut where a file ends; without known files they stay whole."""
        splits = self.builder.info.splits
        shards = []
        for span in self.spans:
            edges = {span.start, span.stop}
            if splits:
                ends = itertools.accumulate(splits[span.split].shard_lengths)
                edges |= {end for end in ends if span.start < end < span.stop}
            for start, stop in itertools.pairwise(sorted(edges)):
                shards.append(Records(self.builder, [Span(span.split, start, stop)]))
        return shards

    @classmethod
    def join(cls, parts: Sequence["Records"]) -> "Records":
        """The examples of some parts of a dataset, one part after another."""
        return cls(parts[0].builder, [span for part in parts for span in part.spans])

    def dataset(self, *, ordered: bool = False) -> Any:
        """A tf.data dataset of `(contents of the image file, label, name of the record)`.

        Args:
            ordered: whether to read file by file, in the order of the examples' indices;
                otherwise several files are read at a time, in an order that does not change.
        """
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(
            try_autocache=False,
            skip_prefetch=True,
            add_tfds_id=True,
            **{"interleave_cycle_length": 1} if ordered else {},
        )
        kwargs: dict[str, Any] = {
            "read_config": config,
            # Pillow decodes them, as it decodes the files of a folder.
            "decoders": {"image": tfds.decode.SkipDecoding()},
        }
        if self.builder.info.splits:
            parts = [
                tfds.core.ReadInstruction(s.split, from_=s.start, to=s.stop, unit="abs")
                for s in self.spans
            ]
            split = functools.reduce(operator.add, parts)
            out = self.builder.as_dataset(split=split, **kwargs)
        else:
            (span,) = self.spans
            out = self.builder.as_dataset(split=span.split, **kwargs)
            out = out.skip(span.start).take(span.stop - span.start)
        return out.map(lambda x: (x["image"], x["label"], x.get("tfds_id", "")))

    def decode(self, contents: bytes, name: bytes) -> Image.Image:
        """The RGB image of a record; BadImageError, with the record's name, if it is unreadable."""
        # A published tfds set may hold very small images on purpose, so any size is allowed.
        return decode(contents, f"record {name.decode()} of {self.description}", min_side=1)

    def read(
        self, config: DataConfig, *, ordered: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reads all examples, resized and centre-cropped.

        Args:
            config: says the size, and what to do about unreadable images.
            ordered: whether to keep the order of the examples' indices; see `dataset`.

        Returns:
            Images uint8 `[N, S, S, 3]`, labels int32 `[N]`, and the index of each in the split,
            int64 `[N]`. Skipped images are not among them.

        Raises:
            BadImageError: images are unreadable and `config.bad_images` is "refuse".
            ValueError: labels are out of range, as in an unlabelled test split.
        """
        size = config.image_size
        images = np.empty((len(self), size, size, 3), np.uint8)
        labels = np.empty(len(self), np.int32)
        good = np.ones(len(self), bool)
        errors: list[str] = []
        start = 0
        with ThreadPoolExecutor(WORKERS) as pool:
            batches = self.dataset(ordered=ordered).batch(_READ_BATCH).prefetch(2)
            for contents, batch_labels, names in batches.as_numpy_iterator():
                stop = start + len(contents)
                self.check_labels(batch_labels)
                labels[start:stop] = batch_labels
                good[start:stop], found = decode_all(
                    pool,
                    list(zip(contents, names, strict=True)),
                    lambda pair: self.decode(*pair),
                    images[start:stop],
                    resize=config.resize,
                )
                errors += found
                start = stop
        if start != len(self):
            raise ValueError(f"{self.description} should have {len(self)} examples, found {start}")
        report_bad(errors, len(self), config.bad_images)
        rows = np.flatnonzero(good)
        return (images, labels, rows) if good.all() else (images[rows], labels[rows], rows)

    def labels(self, *, ordered: bool = False) -> np.ndarray:
        """The labels alone, int32 `[N]`, without decoding images; `ordered` as in `dataset`."""
        batches = self.dataset(ordered=ordered).map(lambda _, label, name: label).batch(_READ_BATCH)
        labels = np.concatenate(list(batches.as_numpy_iterator()))
        self.check_labels(labels)
        return labels.astype(np.int32)

    def check_labels(self, labels: np.ndarray) -> None:
        """Raises ValueError unless all labels are classes of the dataset."""
        classes = self.builder.info.features["label"].num_classes
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise ValueError(
                f"labels of {self.description} must be in [0, {classes}), found {wrong[0]}"
                + ("; this split has no labels, choose another" if wrong[0] == -1 else "")
            )
