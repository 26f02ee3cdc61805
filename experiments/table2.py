"""Table 2: Normal, AugMix and AugMax-DuBIN with three networks on CIFAR-10 and CIFAR-10-C."""

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
        (title, label): Experiment("cifar10", network, method, norm)
        for network, title in NETWORKS.items()
        for label, (method, norm) in METHODS.items()
    },
    "table2",
)
TITLE = "Table 2: accuracy on CIFAR-10 (SA) and CIFAR-10-C (RA)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table2", __doc__, TITLE, GRID))
