"""Table 4: ResNet18 on ImageNet and ImageNet-C, without and with DeepAugment."""

import sys

from experiments import common, grid, recipes

GRID = grid.by_row(
    recipes.compared("imagenet", "resnet18") | recipes.compared_on_copies("imagenet", "resnet18"),
    ("SA", "RA", "mCE"),
    "table4",
    remarks=[
        "mCE is relative to AlexNet. With DeepAugment: a third of the epochs, 3 x the images."
    ],
)
TITLE = "Table 4: ResNet18 on ImageNet (SA) and ImageNet-C (RA, mCE)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table4", __doc__, TITLE, GRID))
