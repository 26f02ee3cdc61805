"""Table 3: Normal, AugMix and AugMax-DuBIN with three networks on CIFAR-100 and CIFAR-100-C."""

import sys

from experiments import common, grid
from experiments.recipes import NETWORKS, Experiment

# Only AugMax has DuBIN here: Table 8 shows that the row "AugMix" is AugMix with batch norm.
METHODS = {
    "Normal": ("normal", "bn"),
    "AugMix": ("augmix", "bn"),
    "AugMax-DuBIN": ("augmax", "dubin"),
}

GRID = grid.by_network(
    {
        (title, label): Experiment("cifar100", network, method, norm)
        for network, title in NETWORKS.items()
        for label, (method, norm) in METHODS.items()
    },
    "table3",
)
TITLE = "Table 3: accuracy on CIFAR-100 (SA) and CIFAR-100-C (RA)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table3", __doc__, TITLE, GRID))
