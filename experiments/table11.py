"""Table 11: other shifts, CIFAR-10.1 (v4) and CIFAR-10-STA; the ResNeXt29 runs of Table 2."""

import sys

from experiments import common, grid, recipes

GRID = grid.by_row(
    recipes.compared("cifar10", "resnext29"),
    ("CIFAR-10.1", "CIFAR-10-STA"),
    "table11",
    remarks=[
        "Every image counts once. The paper's STA is over the first 1,000 test images with draws "
        "that were not seeded, and its CIFAR-10.1 averages over batches, the last 21 images "
        "counting as 100."
    ],
)
TITLE = "Table 11: ResNeXt29 trained on CIFAR-10, accuracy on CIFAR-10.1 (v4) and CIFAR-10-STA"

if __name__ == "__main__":
    sys.exit(common.run_grid("table11", __doc__, TITLE, GRID))
