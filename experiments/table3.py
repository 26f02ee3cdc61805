"""Table 3: Normal, AugMix and AugMax-DuBIN with three networks on CIFAR-100 and CIFAR-100-C."""

import sys

from experiments import common, grid, recipes

GRID = grid.by_network(recipes.compared_by_network("cifar100"), "table3")
TITLE = "Table 3: accuracy on CIFAR-100 (SA) and CIFAR-100-C (RA)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table3", __doc__, TITLE, GRID))
