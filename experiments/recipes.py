"""From a run of the paper to a config.

The settings of the paper's Sec. 5 and appendix are in `configs/`: a file for each dataset and
network, for all methods. A row of a table uses its file and sets what the table compares.
"""

import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from augmax_jax import config as configs

CONFIGS = Path(__file__).parent.parent / "configs"
NETWORKS = {"resnet18": "ResNet18", "wrn40_2": "WRN40-2", "resnext29": "ResNeXt29"}
# The methods that Tables 2 to 5 and 11 compare, with their norms. Only AugMax has DuBIN: Table 8
# shows that the paper's row "AugMix" is AugMix with batch norm.
COMPARED = {
    "Normal": ("normal", "bn"),
    "AugMix": ("augmix", "bn"),
    "AugMax-DuBIN": ("augmax", "dubin"),
}
CLASSES = {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200, "imagenet": 1000}
# The short names of swept settings in the names of runs.
SHORT = {
    "adversary.steps": "n",
    "adversary.patience": "k",
    "objective.consistency_weight": "lambda",
    "optimizer.ema": "ema",
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One training run of the paper; tables that share it train it once.

    Attributes:
        dataset: a key of `CLASSES`.
        network: a key of `NETWORKS`.
        method: one of `augmax_jax.methods.METHODS`.
        norm: bn, ibn, dubn or dubin.
        seed: `config.seed`.
        deepaugment: whether to train on the DeepAugment copies too.
        changes: settings of a sweep that differ from the recipe, as (name, value).
        label: what the run's name says of the changes; "": each by itself.
    """

    dataset: str
    network: str
    method: str
    norm: str = "dubin"
    seed: int = 0
    deepaugment: bool = False
    changes: tuple[tuple[str, Any], ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """Name of the run's directory; different for different runs."""
        parts = [self.dataset, self.network, self.traits]
        return "-".join(filter(None, parts))

    @property
    def traits(self) -> str:
        """The name without dataset and network."""
        parts = ["deepaugment"] if self.deepaugment else []
        parts += [self.method, self.norm]
        if self.label:
            parts += [self.label]
        else:
            parts += [f"{SHORT[name]}{value:g}" for name, value in self.changes]
        parts += [f"seed{self.seed}"] if self.seed else []
        return "-".join(parts)

    @property
    def file(self) -> Path:
        """The file in `configs/` that has the run's settings."""
        network = "r18" if self.dataset == "imagenet" else self.network
        suffix = "_deepaugment" if self.deepaugment else ""
        return CONFIGS / f"{self.dataset}_{network}{suffix}.py"

    @property
    def fixed(self) -> tuple[str, ...]:
        """Settings that the tables compare, which no override may change."""
        return ("method", "model.norm", "seed", *(name for name, _ in self.changes))


def compared(dataset: str, network: str) -> dict[str, Experiment]:
    """The runs of Normal, AugMix and AugMax-DuBIN, by the name of the row."""
    return {
        row: Experiment(dataset, network, method, norm) for row, (method, norm) in COMPARED.items()
    }


def compared_on_copies(dataset: str, network: str) -> dict[str, Experiment]:
    """The runs of `compared` on DeepAugment copies; the paper has no Normal there."""
    runs = compared(dataset, network)
    return {
        f"DeepAugment+{row}": dataclasses.replace(runs[row], deepaugment=True)
        for row in ("AugMix", "AugMax-DuBIN")
    }


def compared_by_network(dataset: str) -> dict[tuple[str, str], Experiment]:
    """The runs of `compared` with every network, by the names of network and method."""
    return {
        (title, row): run
        for network, title in NETWORKS.items()
        for row, run in compared(dataset, network).items()
    }


def make_config(experiment: Experiment) -> ConfigDict:
    """The config of a run at the paper's setting.

    Raises:
        FileNotFoundError: `configs/` has no file for this dataset and network.
    """
    config = configs.load(experiment.file)
    config.method = experiment.method
    config.model.norm = experiment.norm
    config.seed = experiment.seed
    for name, value in experiment.changes:
        configs.set_setting(config, name, value)
    return config
