"""The scripts at toy size: a tiny network and a few steps on the embedded digits.

A smoke run does everything that the script does, with the same code, in minutes; its figures say
nothing about any method. Runs that differ only in dataset or network become one run, and all
scripts with the same `--workdir` share it.
"""

import dataclasses
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from augmax_jax.config import defaults, set_setting
from experiments.recipes import Experiment

STEPS = 24
WARNING = (
    f"SMOKE RUN, NOT A RESULT: tiny network, {STEPS} steps on digits. Its figures mean nothing."
)
IMAGE_SIZE = 16
COPIES = 32  # distorted images of each DeepAugment network
SEEDS = 2  # number of seeds; higher seeds become the last of these
BENCHMARK = "digits-C"  # folders below the root of smoke runs
CIFAR10_1 = "CIFAR-10.1"
DEEPAUGMENT = "deepaugment"


def name(experiment: Experiment) -> str:
    """Name of a run's directory."""
    return f"digits-tiny-{_reduce(experiment).traits}"


def _reduce(experiment: Experiment) -> Experiment:
    """The run that is used in place of this one."""
    return dataclasses.replace(experiment, seed=min(experiment.seed, SEEDS - 1))


def shrink(experiment: Experiment, full: ConfigDict, root: Path) -> ConfigDict:
    """The run's config at toy size.

    Args:
        experiment: the run.
        full: its config at the paper's setting; only its robustness sets are kept.
        root: folder of the sets that `prepare` makes.
    """
    config = defaults()
    config.method = experiment.method
    config.model.norm = experiment.norm
    config.seed = _reduce(experiment).seed
    config.model.name = "tiny"
    config.data.name = "digits"
    config.data.train_transform = "crop"
    config.data.holdout = 0.1
    config.data.image_size = IMAGE_SIZE
    config.batch_size = 32
    config.num_devices = 1
    config.epochs = 1
    config.max_steps = STEPS
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule_unit = "step"
    config.augment.padding = 2
    # Compilation takes most of the time, and the operators most of the compilation.
    config.augment.operators, config.augment.width = "solarize,translate_x", 2
    config.fat.boundaries = (0.25, 0.45)  # shares of the one epoch
    config.ant.retrain_steps = 4
    config.ant.history = 2
    config.pgd.steps = config.fat.steps = config.stadv.steps = 4
    config.log_every = STEPS // 2
    config.progress = config.tensorboard = False
    config.evaluate.benchmarks = (str(root / BENCHMARK), "cifar10_1_v4", "spatial")
    config.evaluate.data_dir = str(root)
    config.evaluate.baseline = "tiny_imagenet_resnet18"  # fits the set, so that there is an mCE
    if full.data.extra_train:
        config.data.extra_train = tuple(
            str(root / DEEPAUGMENT / Path(folder).name) for folder in full.data.extra_train
        )
    for name, value in experiment.changes:
        set_setting(config, name, value)
    return config


def prepare(root: Path) -> None:
    """Makes the missing robustness sets of smoke runs.

    These are corrupted digits, and test digits in place of CIFAR-10.1, with its class counts.
    """
    from augmax_jax.corruption_sets import Source
    from augmax_jax.corruption_sets import writer as benchmark_writer
    from augmax_jax.data.arrays import load_digits
    from augmax_jax.data.benchmarks.npy_sets import CIFAR10_1_COUNTS

    source = Source("digits", benchmark="tiny_imagenet", image_size=IMAGE_SIZE)
    benchmark_writer.generate(source, root / BENCHMARK, layout="npy", progress=False)
    folder = root / CIFAR10_1
    if (folder / "cifar10.1_v4_labels.npy").is_file():
        return
    folder.mkdir(exist_ok=True)
    images, labels = load_digits(IMAGE_SIZE)[1]
    rows = [np.resize(np.flatnonzero(labels == k), n) for k, n in enumerate(CIFAR10_1_COUNTS["v4"])]
    chosen = np.concatenate(rows)
    np.save(folder / "cifar10.1_v4_data.npy", images[chosen])
    np.save(folder / "cifar10.1_v4_labels.npy", labels[chosen])


def prepare_copies(root: Path) -> None:
    """Makes DeepAugment copies of a few training digits, by networks trained for a few steps."""
    from augmax_jax import deepaugment

    folder = root / DEEPAUGMENT
    folder.mkdir(parents=True, exist_ok=True)
    for network in deepaugment.NETWORKS:
        weights = folder / f"{network}.npz"
        if not weights.is_file():
            deepaugment.train(
                network, "digits", weights, steps=3, batch_size=4, limit=64, progress=False
            )
        deepaugment.distort(
            network, weights, "digits", folder / network,
            size=IMAGE_SIZE, limit=COPIES, progress=False,
        )  # fmt: skip
