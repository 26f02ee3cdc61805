"""tfds datasets as training data: opened by name, kept in memory or streamed by tf.data."""

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from augmax_jax.data import decode
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.builders import check_features, open_builder, tensorflow
from augmax_jax.data.config import DataConfig
from augmax_jax.data.extra import hold_out
from augmax_jax.data.order import EPOCH, generator
from augmax_jax.data.records import Records
from augmax_jax.data.split import Batch, Data, Place, Split, make_data

log = logging.getLogger(__name__)


def load(config: DataConfig, place: Place) -> Data:
    """Opens a tfds dataset; see `augmax_jax.data.load`."""
    builder = open_builder(config.name, config.data_dir, config.train_split, config.download)
    class_names = check_features(builder)
    train = Records.open(builder, config.train_split)
    test_split = _test_split(builder, config)
    test = Records.open(builder, test_split)
    test_place = f"{builder.data_path}, split {test_split}"
    if config.keeps(len(train) + len(test)):
        # In the order of their indices, which name the copies.
        images, labels = train.read(config, ordered=bool(config.extra_train))
        kept, held = hold_out(config, class_names, images, labels, place)
        in_memory = ArraySplit(*test.read(config), **place)
        return make_data(config, class_names, kept, held, in_memory, test_place)
    if config.extra_train:
        raise ValueError(
            f"config.data.extra_train: {config.name!r} is streamed by tfds, which cannot be mixed "
            "with folders. Keep it in memory (config.data.resident=True and a larger "
            "config.data.max_resident_bytes) or let config.data.name be a folder of the originals"
        )
    # tfds shuffles records when it prepares them, so the last of them are a fair sample.
    held_count = max(1, round(config.holdout * len(train))) if config.holdout else 0
    boundary = len(train) - held_count
    return make_data(
        config,
        class_names,
        RecordSplit(train.slice(0, boundary), config, train=True, **place),
        RecordSplit(train.slice(boundary, len(train)), config, train=False, **place)
        if held_count
        else None,
        RecordSplit(test, config, train=False, **place),
        test_place,
    )


def _test_split(builder: Any, config: DataConfig) -> str:
    """The test split, or the validation split where there is none called "test"."""
    splits = builder.info.splits
    if config.test_split == "test" and splits and "test" not in splits:
        for fallback in ("validation", "val"):
            if fallback in splits:
                log.warning("%s has no split 'test'; evaluating on %r", config.name, fallback)
                return fallback
    return config.test_split


class RecordSplit(Split):
    """A split streamed through tf.data.

    Epochs are shuffled by file and by a buffer of `config.shuffle_buffer` records, as a
    function of `(seed, epoch)`; random crops are a function of `(seed, stream position)`. A
    resumed stream skips records before they are decoded. Of several hosts, each streams its
    own contiguous part of the split.
    """

    def __init__(
        self,
        records: Records,
        config: DataConfig,
        *,
        train: bool,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        super().__init__(seed=seed, process_index=process_index, process_count=process_count)
        self.records = records
        self.config = config
        self.augments = train and config.random_resized_crop
        if len(records) < process_count:
            raise ValueError(
                f"{records.description} has {len(records)} examples for {process_count} hosts"
            )
        bounds = [len(records) * (process_index + i) // process_count for i in (0, 1)]
        self.part = records.slice(*bounds)

    def __len__(self) -> int:
        return len(self.records)

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, labels = [], []
        for row in rows:
            record = self.records.slice(int(row), int(row) + 1).dataset(encoded=True)
            ((contents, label),) = record
            images.append(
                np.asarray(decode.central(contents, self.config.image_size, self.config.resize))
            )
            labels.append(np.int32(label))
        return np.stack(images), np.array(labels)

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        share = self.per_host(batch_size)
        return rebatch(self._train_pieces(batch_size, share, start_step), share)

    def _train_pieces(self, batch_size: int, share: int, start_step: int) -> Iterator[Batch]:
        tf = tensorflow()
        size, resize = self.config.image_size, self.config.resize
        position = start_step * share
        first_epoch, skip = divmod(position, len(self.part))

        def example(position: Any, record: tuple[Any, Any]) -> tuple[Any, Any]:
            contents, label = record
            if not self.augments:
                return decode.central(contents, size, resize), label
            step, place = position // share, position % share
            place = step * batch_size + self.process_index * share + place
            return decode.random_resized_crop(contents, size, (self.seed, place)), label

        for epoch in itertools.count(first_epoch):
            rng = generator(self.seed, EPOCH, epoch)
            files_seed, buffer_seed = (int(s) for s in rng.integers(2**31, size=2))
            records = self.part.dataset(encoded=True, shuffle_seed=files_seed)
            buffer = min(self.config.shuffle_buffer, len(self.part))
            records = records.shuffle(buffer, buffer_seed, reshuffle_each_iteration=False)
            pieces = (
                records.skip(skip)
                .enumerate(start=position)
                .map(example, num_parallel_calls=tf.data.AUTOTUNE)
                .batch(share)
                .prefetch(2)
            )
            for images, labels in pieces.as_numpy_iterator():
                self.records.check_labels(labels)
                yield {"image": images, "label": labels.astype(np.int32)}
            position += len(self.part) - skip
            skip = 0

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        share = self.per_host(batch_size)
        return self._eval_batches(share)

    def _eval_batches(self, share: int) -> Iterator[Batch]:
        tf = tensorflow()
        size, resize = self.config.image_size, self.config.resize
        batches = (
            self.part.dataset(encoded=True)
            .map(
                lambda contents, label: (decode.central(contents, size, resize), label),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            .batch(share)
            .prefetch(2)
        )
        # All hosts go through as many batches as the one with the largest part.
        largest = -(-len(self) // self.process_count)
        iterator = batches.as_numpy_iterator()
        nothing = np.zeros((0, size, size, 3), np.uint8), np.zeros(0, np.int64)
        for _ in range(-(-largest // share)):
            images, labels = next(iterator, nothing)
            self.records.check_labels(labels)
            missing = share - len(labels)
            yield {
                "image": np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))),
                "label": np.pad(labels, (0, missing)).astype(np.int32),
                "mask": np.arange(share) < len(labels),
            }


def rebatch(pieces: Iterator[Batch], size: int) -> Iterator[Batch]:
    """Cuts a stream of batches of any length into batches of one length."""
    held: Batch | None = None
    for piece in pieces:
        if held is not None:
            piece = {name: np.concatenate([held[name], piece[name]]) for name in piece}
        count = len(piece["label"])
        for start in range(0, count - size + 1, size):
            yield {name: array[start : start + size] for name, array in piece.items()}
        rest = count % size
        held = {name: array[count - rest :] for name, array in piece.items()} if rest else None
