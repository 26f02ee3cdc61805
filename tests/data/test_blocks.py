"""The order of a tfds stream: the same from any position, and found without a replay."""

import itertools
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from augmax_jax.data import blocks
from augmax_jax.data.records import Records, Span

COUNT, SHARDS = 53, 6


@pytest.fixture
def records(prepare_tfds, rng):
    """53 training records in six files."""
    images = list(rng.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8))
    folder = prepare_tfds(
        "cifar10",
        {"train": (images, [i % 4 for i in range(COUNT)])},
        num_classes=4,
        shape=(8, 8, 3),
        shards=SHARDS,
    )
    builder = tfds.core.read_only_builder.builder_from_files("cifar10", data_dir=folder)
    return Records.open(builder, "train")


def take(records, size, position, count, seed=0):
    return list(itertools.islice(blocks.stream(records, size, seed, position), count))


def file_of(record):
    return record.name.decode().split("__")[0]


@pytest.mark.parametrize(
    ("size", "positions"),
    [
        (5, (4, 23, 50)),  # several blocks a file; positions at an edge, inside, and in the last
        (20, (7, 20, 52, 53)),  # several files a block; 52 goes on into the next epoch
        (1000, (17,)),  # one block
    ],
)
def test_a_stream_is_the_same_from_any_position(records, size, positions):
    whole = take(records, size, 0, COUNT + 20)
    assert sorted(whole[:COUNT]) == sorted(records_in_order(records))
    assert whole[COUNT:] != whole[:20]
    file_edge = next(i for i in range(30, COUNT) if file_of(whole[i]) != file_of(whole[i - 1]))
    for position in (*positions, file_edge):
        expected = whole[position : position + 20]
        assert take(records, size, position, len(expected)) == expected
    assert take(records, size, 0, 20, seed=1) != whole[:20]


def records_in_order(records):
    return [blocks.Record(*one) for one in records.dataset().as_numpy_iterator()]


def test_each_block_is_shuffled_and_has_several_files(records):
    whole = take(records, 20, 0, COUNT + 20)
    for first in (0, 20, COUNT):
        files = [file_of(record) for record in whole[first : first + 20]]
        assert 3 <= len(set(files)) < SHARDS
        runs = len(list(itertools.groupby(files)))
        assert runs > len(set(files))
    first_files = [{file_of(r) for r in whole[start : start + 20]} for start in (0, COUNT)]
    assert first_files[0] != first_files[1]


@pytest.mark.parametrize("size", [5, 12])
def test_files_before_the_block_are_not_read_again(records, size):
    whole = take(records, size, 0, COUNT)
    position = COUNT - 7
    start = position - position % size
    needed = {file_of(record) for record in whole[start:]}
    files = sorted(records.builder.data_path.glob("*train.tfrecord*"))
    gone = [path for path in files if path.name not in needed]
    assert len(gone) >= 3
    for path in gone:
        path.unlink()
    assert take(records, size, position, 7) == whole[position:]
    with pytest.raises(Exception, match=r"No such file|NOT_FOUND"):
        take(records, size, 0, COUNT)


@pytest.mark.parametrize("size", [1, 5, 12, 53])
def test_an_epoch_is_read_once(records, size):
    shards = records.shards()
    assert sum(map(len, shards)) == COUNT
    assert len(shards) == SHARDS
    plan = list(blocks.reading_plan(shards, size, 0))
    assert [span for part in plan for span in part.spans] == [s.spans[0] for s in shards]


def test_files_of_one_block_are_read_together():
    def plan(lengths, start):
        edges = [0, *itertools.accumulate(lengths)]
        shards = [Records(None, [Span("train", a, b)]) for a, b in itertools.pairwise(edges)]
        parts = blocks.reading_plan(shards, 10, start)
        return [[span[1:] for span in part.spans] for part in parts]

    lengths = [4, 4, 4, 3, 3, 2, 25, 5, 6]
    whole = [
        [(0, 4), (4, 8)],
        [(8, 12)],  # lies in two blocks
        [(12, 15), (15, 18), (18, 20)],
        [(20, 45)],
        [(45, 50)],
        [(50, 56)],
    ]
    assert plan(lengths, 0) == whole
    assert plan(lengths, 10) == [[(10, 12)], *whole[2:]]
    assert plan(lengths, 30) == [[(30, 45)], *whole[4:]]
    assert plan(lengths, 50) == whole[5:]


def test_slices_are_cut_where_files_end(records):
    lengths = records.builder.info.splits["train"].shard_lengths
    part = records.slice(3, lengths[0] + lengths[1] + 1)
    assert [len(shard) for shard in part.shards()] == [lengths[0] - 3, lengths[1], 1]
    joined = Records.join(part.shards())
    assert records_in_order(joined) == records_in_order(part)


def test_the_reader_is_no_more_than_a_block_ahead():
    made = []
    items = blocks.made_ahead(map(made.append, itertools.count()), 5)

    def settled():
        deadline = time.monotonic() + 10
        while len(made) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        return len(made)

    next(items)
    assert settled() == 6
    items.close()
    assert settled() == 6
