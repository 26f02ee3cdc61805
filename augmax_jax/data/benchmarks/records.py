"""Sets that tfds prepares: CIFAR-10-C, ImageNet-C, CIFAR-10.1, ImageNet-V2, -A and -R."""

import numpy as np

from augmax_jax.corruptions import BENCHMARK, EXTRA, SEVERITIES
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.benchmarks.benchmark import (
    Benchmark,
    Relabelled,
    Request,
    check_complete,
    in_order,
    match_labels,
    subset,
)
from augmax_jax.data.builders import check_features, is_prepared, open_builder
from augmax_jax.data.records import Records
from augmax_jax.data.split import Split
from augmax_jax.data.tfds_source import RecordSplit

_SPLITS = {"imagenet2012_corrupted": "validation"}  # all others: test
# How tfds's cifar10_corrupted calls two of them.
_OTHER_NAMES = {
    "cifar10_corrupted": {
        "glass_blur": "frosted_glass_blur",
        "elastic_transform": "elastic",
    }
}


def open_corruptions(name: str, request: Request) -> Benchmark:
    """Opens a tfds dataset with one configuration per corruption and severity.

    Raises:
        FileNotFoundError: not all of the 15 corruptions are prepared in all severities.
        ValueError: its classes are not the model's.
    """

    def config(corruption: str, severity: int) -> str:
        other = _OTHER_NAMES.get(name, {}).get(corruption, corruption)
        return f"{name}/{other}_{severity}"

    prepared = [
        corruption
        for corruption in BENCHMARK + EXTRA
        if all(is_prepared(config(corruption, s), request.data_dir) for s in SEVERITIES)
    ]
    if not prepared:
        # Says where data is looked for, and the command.
        open_builder(config(BENCHMARK[0], 1), request.data_dir, _split(name))
    check_complete(f"tfds {name!r} as prepared here", prepared)

    def load(corruption: str | None, severity: int | None) -> Split:
        records, table = _records(config(corruption or "", severity or 0), _split(name), request)
        return _read(records, table, request, natural=False)

    # Refuses other classes now.
    first, _ = _records(config(prepared[0], SEVERITIES[0]), _split(name), request)
    return Benchmark(
        name=name,
        kind="corruptions",
        source="tfds",
        corruptions=in_order(prepared),
        severities=SEVERITIES,
        classes=None,
        loader=load,
        place=f"{first.builder.data_path}, split {_split(name)}",
    )


def open_shift(
    name: str, dataset: str, request: Request, *, num_classes: int, natural: bool
) -> Benchmark:
    """Opens a tfds dataset of new images.

    Args:
        name: what to call the set.
        dataset: its tfds name.
        request: what the model needs.
        num_classes: classes that occur in it.
        natural: whether images are of any size and get ImageNet's resize before the crop.

    Raises:
        FileNotFoundError: it is not prepared.
        ValueError: its classes are not the model's, or other classes occur.
    """
    records, table = _records(dataset, _split(dataset), request)
    labels = table[records.labels()]
    present = len(np.unique(labels))
    if present != num_classes:
        raise ValueError(f"{num_classes} classes must occur in tfds {dataset!r}, found {present}")
    return Benchmark(
        name=name,
        kind="shift",
        source="tfds",
        corruptions=(),
        severities=(),
        classes=subset(labels, len(request.class_names)),
        loader=lambda corruption, severity: _read(records, table, request, natural=natural),
        place=f"{records.builder.data_path}, split {_split(dataset)}",
    )


def _split(dataset: str) -> str:
    return _SPLITS.get(dataset, "test")


def _records(dataset: str, split: str, request: Request) -> tuple[Records, np.ndarray]:
    """The examples of a dataset and the model's class for each of its labels."""
    builder = open_builder(dataset, request.data_dir, split)
    names = check_features(builder)
    request.check_classes(f"tfds {dataset!r}", len(names))
    table = match_labels(f"tfds {dataset!r}", names, request.class_names)
    return Records.open(builder, split), table


def _read(records: Records, table: np.ndarray, request: Request, *, natural: bool) -> Split:
    config = request.config(records.builder.name, natural=natural)
    if config.keeps(len(records)):
        images, labels = records.read(config)
        return ArraySplit(images, table[labels], **request.place)
    return Relabelled(RecordSplit(records, config, train=False, **request.place), table)
