"""Table 2: Normal, AugMix and AugMax-DuBIN with three networks on CIFAR-10 and CIFAR-10-C."""

import sys

from experiments import common, grid, recipes

GRID = grid.by_network(recipes.compared_by_network("cifar10"), "table2")
TITLE = "Table 2: accuracy on CIFAR-10 (SA) and CIFAR-10-C (RA)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table2", __doc__, TITLE, GRID))
