"""Opens a dataset by name or path and returns its splits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augmax_jax.data import duplicates
from augmax_jax.data.arrays import ArraySplit, load_digits
from augmax_jax.data.extra import hold_out, list_copies
from augmax_jax.data.folder import Listing, check_same_classes, concatenate
from augmax_jax.data.folder_split import FolderSplit, read_split
from augmax_jax.data.image_folder import ImageFolder
from augmax_jax.data.order import check_seed, split_off
from augmax_jax.data.settings import DataConfig, is_path
from augmax_jax.data.split import Data, HostShare, Split, check_enough, make_data, per_host_batch
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import expand


def load(
    config: DataConfig | Mapping[str, Any],
    *,
    seed: int,
    batch_size: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Data:
    """Opens a dataset by name or path.

    A folder of that name on this machine comes before a tfds dataset of that name.

    Args:
        config: the settings, as `DataConfig` or a mapping with its fields.
        seed: decides what is held out and the order of the epochs.
        batch_size: if given, checked against the number of hosts and of training images.
        process_index: number of this host, from 0.
        process_count: number of hosts.

    Returns:
        The splits; `holdout` is None if nothing is held out.

    Raises:
        FileNotFoundError: the folder does not exist, or the tfds data is not prepared; the
            message has the layout, or the command that prepares the data.
        ValueError: a setting, name, split, class or image is not usable, or there are fewer
            training images than a batch has; the message says what is allowed, or what to set.
    """
    if not isinstance(config, DataConfig):
        config = DataConfig.from_mapping(config)
    check_seed(seed)
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index must be in [0, process_count={process_count}), got {process_index}"
        )
    if batch_size is not None:
        per_host_batch(batch_size, process_count)
    host: HostShare = {
        "seed": seed,
        "process_index": process_index,
        "process_count": process_count,
    }
    if config.name == "digits":
        loaded = _load_digits(config, host)
        check_enough(len(loaded.train), batch_size)
        return loaded
    if is_path(config.name):
        return _load_folder(config, expand(config.name), host, batch_size)
    from augmax_jax.data import tfds_source

    return tfds_source.load(config, host, batch_size)


def _load_digits(config: DataConfig, host: HostShare) -> Data:
    check_name("split of digits", config.train_split, ("train", "test"))
    check_name("split of digits", config.test_split, ("train", "test"))
    if not config.keeps(0):
        raise ValueError(
            "digits are kept in memory: config.data.resident must not be False, nor "
            "config.data.train_transform 'random_resized_crop'"
        )
    parts = dict(zip(("train", "test"), load_digits(config.image_size), strict=True))
    class_names = tuple("0123456789")
    train, holdout = hold_out(config, class_names, *parts[config.train_split], host)
    test = ArraySplit(*parts[config.test_split], **host)
    return make_data(
        config, class_names, train, holdout, test, f"digits, split {config.test_split}"
    )


def _load_folder(config: DataConfig, root: Path, host: HostShare, batch_size: int | None) -> Data:
    # Who names another test split wants no images held out for one.
    fraction = config.test_fraction if config.test_split == "test" else 0.0
    folder = ImageFolder(root, labels=config.labels, test_fraction=fraction)
    everything = train = folder.list_split(config.train_split)
    test_split = folder.test_split(config.test_split)
    test = folder.list_split(test_split)
    check_same_classes(train, test, str(root), test_split)
    holdout: Listing | None = None
    if config.holdout:
        rows, held = split_off(train.labels, config.holdout, host["seed"])
        train, holdout = train.take(rows), train.take(held)
    if config.extra_train:
        held_names = set(holdout.names) if holdout else set()
        # The copies may have been made when other images were held out to test on.
        if folder.one_tree and test_split != config.train_split:
            held_names |= set(test.names)
        names = set(everything.names) | held_names
        copies = list_copies(config, train.class_names, names, held_names)
        train = concatenate([train, copies]) if copies else train
    check_enough(len(train), batch_size)
    duplicates.warn(everything, test)
    resident = config.keeps(len(train) + len(test) + (len(holdout) if holdout else 0))

    def make(listing: Listing, augments: bool) -> Split:
        if resident:
            return read_split(listing, config, host)
        return FolderSplit(listing, config, train=augments, **host)

    return make_data(
        config,
        train.class_names,
        make(train, True),
        make(holdout, False) if holdout else None,
        make(test, False),
        folder.location(test_split),
        folder.held_out,
    )
