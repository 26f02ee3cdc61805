"""Table 5: ResNet18 on Tiny ImageNet and Tiny ImageNet-C, without and with DeepAugment."""

import sys

from experiments import common, grid, recipes

GRID = grid.by_row(
    recipes.compared("tiny_imagenet", "resnet18")
    | recipes.compared_on_copies("tiny_imagenet", "resnet18"),
    ("SA", "RA", "mCE"),
    "table5",
    remarks=[
        "mCE is relative to the paper's own Normal run. With DeepAugment: a third of the epochs, "
        "3 x the images."
    ],
)
TITLE = "Table 5: ResNet18 on Tiny ImageNet (SA) and Tiny ImageNet-C (RA, mCE)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table5", __doc__, TITLE, GRID))
