"""The examples of a tfds dataset: slices of splits, read into memory or as tf.data."""

import functools
import io
import operator
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from augmax_jax.data.config import DataConfig
from augmax_jax.data.images import fit, to_rgb
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
        if not splits:  # tfds.testing.mock_data: nothing is known but the cardinality
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
        """What an error message calls these examples."""
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

    def dataset(
        self, *, encoded: bool, shuffle_seed: int | None = None, ordered: bool = False
    ) -> Any:
        """A tf.data dataset of `(image, label)`.

        Args:
            encoded: whether images come as the contents of their files.
            shuffle_seed: decides in which order files are read; None: always the same.
            ordered: read file by file, in the order of the examples' indices; otherwise several
                files at a time.
        """
        import tensorflow_datasets as tfds

        config = tfds.ReadConfig(
            shuffle_seed=shuffle_seed,
            try_autocache=False,
            skip_prefetch=True,
            **{"interleave_cycle_length": 1} if ordered else {},
        )
        kwargs: dict[str, Any] = {
            "read_config": config,
            "shuffle_files": shuffle_seed is not None,
        }
        if encoded:
            kwargs["decoders"] = {"image": tfds.decode.SkipDecoding()}
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
        return out.map(lambda example: (example["image"], example["label"]))

    def read(self, config: DataConfig, *, ordered: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Everything at once, resized and centre-cropped.

        Args:
            config: has the size.
            ordered: in the order of the examples' indices; see `dataset`.

        Returns:
            uint8 `[N, S, S, 3]` and int32 `[N]`.

        Raises:
            ValueError: labels are out of range, as in an unlabelled test split.
        """
        feature = self.builder.info.features["image"]
        # Images of one size are decoded by tfds, in batches; others by Pillow.
        encoded = None in feature.shape or np.dtype(feature.np_dtype) != np.uint8
        size = config.image_size
        images = np.empty((len(self), size, size, 3), np.uint8)
        labels = np.empty(len(self), np.int32)

        def convert(image: Any) -> np.ndarray:
            if encoded:
                decoded: Image.Image = Image.open(io.BytesIO(image))
            else:
                decoded = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            return fit(to_rgb(decoded), size, resize=config.resize)

        start = 0
        with ThreadPoolExecutor() as pool:
            batches = self.dataset(encoded=encoded, ordered=ordered).batch(_READ_BATCH).prefetch(2)
            for batch, batch_labels in batches.as_numpy_iterator():
                stop = start + len(batch)
                if batch.shape[1:] == images.shape[1:]:
                    images[start:stop] = batch
                else:
                    images[start:stop] = list(pool.map(convert, batch))
                self.check_labels(batch_labels)
                labels[start:stop] = batch_labels
                start = stop
        if start != len(self):
            raise ValueError(f"{self.description} should have {len(self)} examples, found {start}")
        return images, labels

    def labels(self, *, ordered: bool = False) -> np.ndarray:
        """The labels alone, int32 `[N]`; no image is decoded. `ordered` as in `dataset`."""
        batches = (
            self.dataset(encoded=True, ordered=ordered)
            .map(lambda _, label: label)
            .batch(_READ_BATCH)
        )
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
