"""Sets that tfds prepares: CIFAR-10-C, ImageNet-C, CIFAR-10.1, ImageNet-V2, -A and -R."""

import logging

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
    share_note,
    subset,
)
from augmax_jax.data.builders import check_features, is_prepared, open_builder
from augmax_jax.data.records import Records
from augmax_jax.data.split import Split
from augmax_jax.data.tfds_source import RecordSplit

log = logging.getLogger(__name__)

_SPLITS = {"imagenet2012_corrupted": "validation"}  # all others have "test"
# The names of two corruptions in tfds's cifar10_corrupted.
_OTHER_NAMES = {
    "cifar10_corrupted": {
        "glass_blur": "frosted_glass_blur",
        "elastic_transform": "elastic",
    }
}


def open_corruptions(name: str, request: Request, *, partly: bool = False) -> Benchmark:
    """Opens a tfds dataset with one configuration per corruption and severity.

    Args:
        name: name of the dataset.
        request: the model's requirements.
        partly: whether the model may have only some of the set's classes.

    Raises:
        FileNotFoundError: not all of the 15 corruptions are prepared in all severities.
        ValueError: the set's classes are not the model's.
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
        # Its error says where tfds looks for the data, and has the command.
        open_builder(config(BENCHMARK[0], 1), request.data_dir, _split(name))
    check_complete(f"tfds {name!r} as prepared here", prepared)

    def load(corruption: str | None, severity: int | None) -> Split:
        dataset = config(corruption or "", severity or 0)
        records, table = _records(dataset, _split(name), request, partly)
        return _read(records, table, request, natural=False)

    # Refuses other classes here. All parts have the labels of the first one.
    dataset = config(prepared[0], SEVERITIES[0])
    records, table = _records(dataset, _split(name), request, partly)
    labels = table[records.labels()] if (table < 0).any() else table
    note = _note(name, table, labels, request)
    return Benchmark(
        name=name,
        kind="corruptions",
        source="files" if note else "tfds",
        corruptions=in_order(prepared),
        severities=SEVERITIES,
        classes=subset(labels, len(request.class_names)),
        loader=load,
        note=note,
        location=f"{records.builder.data_path}, split {_split(name)}",
    )


def open_shift(
    name: str, dataset: str, request: Request, *, num_classes: int, natural: bool
) -> Benchmark:
    """Opens a tfds dataset of new images.

    Args:
        name: name of the set in results.
        dataset: its tfds name.
        request: the model's requirements.
        num_classes: number of classes that occur in the set.
        natural: whether it is one of ImageNet's sets. Its images then have any size and get
            ImageNet's resize before the crop, and the model may have only some of the classes.

    Raises:
        FileNotFoundError: the dataset is not prepared.
        ValueError: the set's classes are not the model's, or other classes occur.
    """
    records, table = _records(dataset, _split(dataset), request, natural)
    own = records.labels()
    present = np.unique(own)
    if len(present) != num_classes:
        raise ValueError(
            f"{num_classes} classes must occur in tfds {dataset!r}, found {len(present)}"
        )
    labels = table[own]
    if len(np.unique(labels[labels >= 0])) < 2:
        raise ValueError(
            f"tfds {dataset!r} has images of {num_classes} classes, of which the model has fewer "
            "than two: there is nothing to evaluate"
        )
    note = _note(name, table[present], labels, request)
    return Benchmark(
        name=name,
        kind="shift",
        source="files" if note else "tfds",
        corruptions=(),
        severities=(),
        classes=subset(labels, len(request.class_names)),
        loader=lambda corruption, severity: _read(records, table, request, natural=natural),
        note=note,
        location=f"{records.builder.data_path}, split {_split(dataset)}",
    )


def _note(name: str, table: np.ndarray, labels: np.ndarray, request: Request) -> str:
    note = share_note(name, table, int((labels >= 0).sum()), len(labels), len(request.class_names))
    if note:
        log.warning("%s", note)
    return note


def _split(dataset: str) -> str:
    return _SPLITS.get(dataset, "test")


def _records(
    dataset: str, split: str, request: Request, partly: bool
) -> tuple[Records, np.ndarray]:
    """The examples of a dataset and the model's class for each of its labels."""
    builder = open_builder(dataset, request.data_dir, split)
    names = check_features(builder)
    what = f"tfds {dataset!r}"
    if not partly:
        request.check_classes(what, len(names))
    table = match_labels(what, names, request.class_names, partly=partly)
    return Records.open(builder, split), table


def _read(records: Records, table: np.ndarray, request: Request, *, natural: bool) -> Split:
    config = request.config(records.builder.name, natural=natural)
    if config.keeps(len(records)):
        images, own, _ = records.read(config)
        labels = table[own]
        known = labels >= 0
        if not known.all():
            images, labels = images[known], labels[known]
        return ArraySplit(images, labels, **request.host)
    count = len(records) if (table >= 0).all() else int((table[records.labels()] >= 0).sum())
    return Relabelled(RecordSplit(records, config, train=False, **request.host), table, count)
