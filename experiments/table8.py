"""Table 8: AugMix and AugMax with batch norm, IBN, DuBN and DuBIN; WRN40-2, three seeds."""

import sys

from experiments import common, grid, paper
from experiments.recipes import Experiment

METHODS = {
    "AugMix-BN": ("augmix", "bn"),
    "AugMix-IBN": ("augmix", "ibn"),
    "AugMix-DuBN": ("augmix", "dubn"),
    "AugMix-DuBIN": ("augmix", "dubin"),
    "AugMax-DuBN": ("augmax", "dubn"),
    "AugMax-DuBIN": ("augmax", "dubin"),
}
DATASETS = {"CIFAR-10-C": "cifar10", "CIFAR-100-C": "cifar100"}
SEEDS = (0, 1, 2)
PRINTED = {row["method"]: row for row in paper.rows("table8")}

GRID = grid.Grid(
    tuple(f"{benchmark} RA %" for benchmark in DATASETS),
    {
        label: tuple(
            grid.Cell(
                tuple(Experiment(dataset, "wrn40_2", method, norm, seed) for seed in SEEDS),
                "RA",
                f"{PRINTED[label][benchmark]} ±{PRINTED[label][f'{benchmark} std']}",
            )
            for benchmark, dataset in DATASETS.items()
        )
        for label, (method, norm) in METHODS.items()
    },
)
TITLE = "Table 8: norms of WRN40-2, RA"

if __name__ == "__main__":
    sys.exit(common.run_grid("table8", __doc__, TITLE, GRID))
