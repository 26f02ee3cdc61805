"""The order of a tfds stream: files in random order, cut into blocks that are shuffled whole."""

import itertools
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, TypeVar

from augmax_jax.data.order import EPOCH, generator
from augmax_jax.data.records import Records

_PIECE = 128  # records that the reader hands over at a time

T = TypeVar("T")


class Record(NamedTuple):
    """One example, not decoded."""

    contents: bytes  # of its image file
    label: int
    name: bytes


def stream(records: Records, size: int, seed: int, position: int = 0) -> Iterator[Record]:
    """An endless stream of records, each once an epoch.

    In each epoch the files follow one another in an order of its own. Their records are cut
    into blocks of `size` (the last of an epoch may have fewer), and each block is shuffled whole.
    A thread reads the next block while one is used, so up to two are in memory.

    Args:
        records: the examples of an epoch.
        size: records of a block.
        seed: the order of an epoch is a function of it and of the number of the epoch.
        position: the place in the stream to start at. What is read before the first record is
            yielded is the block that the place lies in, and the file that this block begins in.

    Raises:
        ValueError: a label is out of range.
    """
    size = min(size, len(records))
    first_epoch, place = divmod(position, len(records))
    start, drop = place - place % size, place % size
    pieces = made_ahead(_in_file_order(records, size, seed, first_epoch, start), -(-size // _PIECE))
    with closing(pieces):
        read = itertools.chain.from_iterable(pieces)
        for epoch in itertools.count(first_epoch):
            for first in range(start, len(records), size):
                block = list(itertools.islice(read, min(size, len(records) - first)))
                # A zero at the end would not change what the generator draws.
                rows = generator(seed, EPOCH, epoch, 1 + first // size).permutation(len(block))
                block = [block[row] for row in reversed(rows[drop:])]
                drop = 0
                while block:  # what was used is not kept in memory
                    yield block.pop()
            start = 0


def _in_file_order(
    records: Records, size: int, seed: int, epoch: int, start: int
) -> Iterator[list[Record]]:
    """The records of all epochs from an edge of a block on, before blocks are shuffled."""
    shards = records.shards()
    for number in itertools.count(epoch):
        order = generator(seed, EPOCH, number).permutation(len(shards))
        for together in reading_plan([shards[i] for i in order], size, start):
            pieces = together.dataset().batch(_PIECE).prefetch(2)
            for contents, labels, names in pieces.as_numpy_iterator():
                records.check_labels(labels)
                yield list(map(Record, contents, labels.tolist(), names))
        start = 0


def reading_plan(shards: Sequence[Records], size: int, start: int) -> Iterator[Records]:
    """What to read one after another, so that the order of the records is the same from any start.

    Shards that lie within one block are read together, several files at a time. One that
    reaches into other blocks is read alone, so that it is read once, whatever its length.

    Args:
        shards: all of an epoch, in its order.
        size: records of a block.
        start: the place to start at, a multiple of `size`.
    """

    def blocks(item: tuple[Records, int]) -> tuple[int, int]:
        shard, end = item
        first, last = (end - len(shard)) // size, (end - 1) // size
        return first, last

    place = 0
    ends = itertools.accumulate(map(len, shards))
    for _, group in itertools.groupby(zip(shards, ends, strict=True), blocks):
        together = Records.join([shard for shard, _ in group])
        if place + len(together) > start:
            yield together.slice(max(start - place, 0), len(together))
        place += len(together)


def made_ahead(items: Iterator[T], count: int) -> Generator[T, None, None]:
    """Endless items, the next `count` of which a thread makes beforehand."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="read")
    try:
        waiting = deque(pool.submit(next, items) for _ in range(count))
        while True:
            item = waiting.popleft().result()
            waiting.append(pool.submit(next, items))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)  # no file is read once the stream is closed
