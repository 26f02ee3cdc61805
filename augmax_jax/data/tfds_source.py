"""tfds datasets as training data: opened by name, kept in memory or streamed by tf.data."""

import itertools
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from augmax_jax.data import blocks
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.builders import check_features, open_builder
from augmax_jax.data.decode_pool import ahead, parts, report_bad
from augmax_jax.data.extra import hold_out
from augmax_jax.data.images import BadImageError
from augmax_jax.data.order import CROP, generator
from augmax_jax.data.records import Records
from augmax_jax.data.settings import DataConfig
from augmax_jax.data.split import Batch, Data, HostShare, Split, check_enough, make_data
from augmax_jax.data.square import fit, random_resized_crop

log = logging.getLogger(__name__)


def load(config: DataConfig, host: HostShare, batch_size: int | None = None) -> Data:
    """Opens a tfds dataset; see `augmax_jax.data.load`."""
    builder = open_builder(config.name, config.data_dir, config.train_split, config.download)
    class_names = check_features(builder)
    train = Records.open(builder, config.train_split)
    test_split = _test_split(builder, config)
    test = Records.open(builder, test_split)
    test_location = f"{builder.data_path}, split {test_split}"
    # A stream holds out the last records; tfds shuffled them when it prepared the set.
    held_count = max(1, round(config.holdout * len(train))) if config.holdout else 0
    boundary = len(train) - held_count
    if boundary < 1:
        raise ValueError(
            f"config.data.holdout={config.holdout} leaves none of {len(train)} examples to train "
            "on: hold out less"
        )
    if not config.extra_train:
        check_enough(boundary, batch_size)
    if config.keeps(len(train) + len(test)):
        # Records are read in the order of their indices, which name the copies.
        images, labels, rows = train.read(config, ordered=bool(config.extra_train))
        kept, held = hold_out(config, class_names, images, labels, host, rows=rows, of=len(train))
        check_enough(len(kept), batch_size)
        images, labels, _ = test.read(config)
        in_memory = ArraySplit(images, labels, **host)
        return make_data(config, class_names, kept, held, in_memory, test_location)
    if config.extra_train:
        raise ValueError(
            f"config.data.extra_train: {config.name!r} is streamed by tfds, which cannot be mixed "
            "with folders. Keep it in memory (config.data.resident=True and a larger "
            "config.data.max_resident_bytes) or let config.data.name be a folder of the originals"
        )
    return make_data(
        config,
        class_names,
        RecordSplit(train.slice(0, boundary), config, train=True, **host),
        RecordSplit(train.slice(boundary, len(train)), config, train=False, **host)
        if held_count
        else None,
        RecordSplit(test, config, train=False, **host),
        test_location,
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

    An epoch is shuffled by file and in blocks of `config.shuffle_buffer` records, as a function of
    `(seed, epoch)` (see `data.blocks`); random crops are a function of `(seed, stream position)`,
    the same as those of a folder. A resumed stream reads its own block and what lies before it in
    the file that the block begins in. Each host streams its own contiguous part of the split. If
    bad images are skipped, a training image is replaced by the next readable one of its batch,
    and an evaluation image by padding.
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
        self.first = bounds[0]  # place of the part in the split
        self.part = records.slice(*bounds)
        self._bad: set[str] = set()
        self._naming = threading.Lock()

    def __len__(self) -> int:
        return len(self.records)

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A few records by their index in the split; an image that cannot be read is black."""
        found = []
        for row in rows:
            record = self.records.slice(int(row), int(row) + 1).dataset()
            ((contents, label, name),) = record.as_numpy_iterator()
            found.append({"contents": contents, "label": np.int32(label), "name": name})
        batch = {key: np.array([one[key] for one in found], object) for key in found[0]}
        return self._decode(batch, None)["image"], batch["label"].astype(np.int32)

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        share = self.per_host(batch_size)

        def submit(pool: ThreadPoolExecutor) -> Iterator[list[Future[Batch]]]:
            batches = self._encoded(share, start_step * share)
            for step, batch in enumerate(batches, start_step):
                first = step * batch_size + self.process_index * share
                positions = np.arange(first, first + share)
                yield self._tasks(pool, batch, positions)

        return map(self._replace_unreadable, ahead(submit))

    def _encoded(self, share: int, position: int) -> Iterator[Batch]:
        """Batches of this host's stream from a position on, not decoded."""
        records = blocks.stream(self.part, self.config.shuffle_buffer, self.seed, position)
        while True:
            contents, labels, names = zip(*itertools.islice(records, share), strict=True)
            yield {
                "contents": np.array(contents, object),
                "label": np.array(labels, np.int32),
                "name": np.array(names, object),
            }

    def _pieces(self, records: Any, share: int) -> Iterator[Batch]:
        for contents, labels, names in records.batch(share).prefetch(2).as_numpy_iterator():
            self.records.check_labels(labels)
            yield {"contents": contents, "label": labels.astype(np.int32), "name": names}

    def _tasks(
        self, pool: ThreadPoolExecutor, batch: Batch, positions: np.ndarray | None = None
    ) -> list[Future[Batch]]:
        return [
            pool.submit(
                self._decode,
                {name: array[part] for name, array in batch.items()},
                None if positions is None else positions[part],
            )
            for part in parts(len(batch["label"]))
        ]

    def _decode(self, batch: Batch, positions: np.ndarray | None) -> Batch:
        """The images of some records; those that cannot be read are black, and `mask` is False.

        Args:
            batch: records, not decoded.
            positions: positions in the stream, which decide random crops; None for evaluation.
        """
        size, count = self.config.image_size, len(batch["label"])
        images, mask = np.zeros((count, size, size, 3), np.uint8), np.ones(count, bool)
        for i, pair in enumerate(zip(batch["contents"], batch["name"], strict=True)):
            try:
                image = self.records.decode(*pair)
            except BadImageError as error:
                self._skip(str(error))
                mask[i] = False
                continue
            if positions is not None and self.augments:
                rng = generator(self.seed, CROP, int(positions[i]))
                images[i] = random_resized_crop(image, size, rng)
            else:
                images[i] = fit(image, size, resize=self.config.resize)
        return {"image": images, "label": batch["label"], "mask": mask}

    def _skip(self, error: str) -> None:
        with self._naming:  # skipped in every epoch, but named once
            if error not in self._bad:
                report_bad([error], len(self), self.config.bad_images)
                self._bad.add(error)

    def _replace_unreadable(self, batch: Batch) -> Batch:
        """Replaces unreadable images of a training batch by the next readable one of the batch."""
        good = np.flatnonzero(batch["mask"])
        if not len(good):
            raise ValueError(f"no image of a batch of {self.records.description} can be read")
        rows = good[np.searchsorted(good, np.arange(len(batch["mask"]))) % len(good)]
        return {name: batch[name][rows] for name in ("image", "label")}

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        share = self.per_host(batch_size)
        # All hosts yield as many batches as the host with the largest part.
        largest = -(-len(self) // self.process_count)

        def submit(pool: ThreadPoolExecutor) -> Iterator[list[Future[Batch]]]:
            pieces = self._pieces(self.part.dataset(), share)
            for _ in range(-(-largest // share)):
                batch = next(pieces, None)
                yield [] if batch is None else self._tasks(pool, batch)

        return (self._padded(batch, share, n) for n, batch in enumerate(ahead(submit)))

    def _padded(self, batch: Batch, share: int, number: int) -> Batch:
        """An evaluation batch of full size, the one of this number."""
        size = self.config.image_size
        first = self.first + number * share
        out: Batch = {
            "image": np.zeros((share, size, size, 3), np.uint8),
            "label": np.zeros(share, np.int32),
            "mask": np.zeros(share, bool),
            "index": np.arange(first, first + share, dtype=np.int32),
        }
        for name, array in batch.items():
            out[name][: len(array)] = array
        out["label"][~out["mask"]] = 0
        return out
