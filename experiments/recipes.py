"""From a run of the paper to a config: the recipes of its Sec. 5 and appendix (spec §6 and §7).

Every row starts from the file in `configs/` that holds the setting of AugMax-DuBIN, and changes
what the row is about. Where the paper is silent, the choice is made here and said so.
"""

import dataclasses
import importlib
from typing import Any

from ml_collections import ConfigDict

from augmax_jax.config import set_setting

NETWORKS = {"resnet18": "ResNet18", "wrn40_2": "WRN40-2", "resnext29": "ResNeXt29"}
# (data set, network) -> file in configs/.
CONFIGS = {
    **{(data, net): f"{data}_{net}" for data in ("cifar10", "cifar100") for net in NETWORKS},
    ("tiny_imagenet", "resnet18"): "tiny_imagenet_resnet18",
    ("imagenet", "resnet18"): "imagenet_r18",
}
CLASSES = {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200, "imagenet": 1000}
# How settings that a sweep moves appear in the names of runs.
SHORT = {
    "adversary.steps": "n",
    "adversary.patience": "k",
    "objective.consistency_weight": "lambda",
}
FAT_EPOCHS = 120  # the published schedule that `fat.boundaries` belong to


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One training run of the paper; tables that share it train it once.

    Attributes:
        dataset: a key of `CLASSES`.
        network: a key of `NETWORKS`.
        method: one of `augmax_jax.methods.METHODS`.
        norm: bn, ibn, dubn or dubin.
        seed: of everything.
        deepaugment: train on the DeepAugment copies too.
        changes: settings of a sweep that differ from the recipe, as (name, value).
    """

    dataset: str
    network: str
    method: str
    norm: str = "dubin"
    seed: int = 0
    deepaugment: bool = False
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Of its directory; different for different runs."""
        parts = [self.dataset, self.network, self.traits]
        return "-".join(filter(None, parts))

    @property
    def traits(self) -> str:
        """The name without data set and network."""
        parts = ["deepaugment"] if self.deepaugment else []
        parts += [self.method, self.norm]
        parts += [f"{SHORT[name]}{value:g}" for name, value in self.changes]
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Settings that the run is about, which no override may touch."""
        return ("method", "model.norm", "seed", *(name for name, _ in self.changes))


def make_config(experiment: Experiment) -> ConfigDict:
    """The config of a run at the paper's setting.

    Raises:
        KeyError: the paper has no such pair of data set and network.
    """
    module = importlib.import_module(f"configs.{CONFIGS[experiment.dataset, experiment.network]}")
    config = module.get_config()
    config.method = experiment.method
    config.model.norm = experiment.norm
    config.seed = experiment.seed
    if experiment.method == "augmix":
        # AugMix's own λ and, on ImageNet, severity. Optimizer, epochs and batch are those of
        # the other rows: the paper says so of epochs and batch, and its code has no AugMix.
        config.objective.consistency_weight = 12.0
        if experiment.dataset == "imagenet":
            config.augment.severity = 1.0
    if experiment.dataset == "imagenet":
        # What the literature takes on ImageNet; the paper gives none.
        config.pgd.eps, config.pgd.step_size = 4 / 255, 1 / 255
    share = config.epochs / FAT_EPOCHS
    config.fat.boundaries = tuple(share * epoch for epoch in config.fat.boundaries)
    if experiment.deepaugment:
        # Three times the images: a third of the epochs, as the released code has it on ImageNet.
        rescale_epochs(config, round(config.epochs / 3))
    for name, value in experiment.changes:
        set_setting(config, name, value)
    return config


def rescale_epochs(config: ConfigDict, epochs: float, *, keep: tuple[str, ...] = ()) -> None:
    """Another length of training; what happens at certain epochs moves with it.

    Args:
        config: changed in place.
        epochs: the new length.
        keep: names of settings that stay as they are.
    """
    share = epochs / config.epochs
    config.epochs = type(config.epochs)(epochs)
    for group in ("optimizer", "fat"):
        if f"{group}.boundaries" not in keep:
            boundaries = tuple(share * epoch for epoch in config[group].boundaries)
            config[group].boundaries = boundaries
