"""Table 4: ResNet18 on ImageNet and ImageNet-C, without and with DeepAugment."""

import sys

from experiments import common, grid
from experiments.recipes import Experiment

GRID = grid.by_row(
    {
        "Normal": Experiment("imagenet", "resnet18", "normal", "bn"),
        "AugMix": Experiment("imagenet", "resnet18", "augmix", "bn"),
        "AugMax-DuBIN": Experiment("imagenet", "resnet18", "augmax", "dubin"),
        "DeepAugment+AugMix": Experiment("imagenet", "resnet18", "augmix", "bn", deepaugment=True),
        "DeepAugment+AugMax-DuBIN": Experiment(
            "imagenet", "resnet18", "augmax", "dubin", deepaugment=True
        ),
    },
    ("SA", "RA", "mCE"),
    "table4",
    remarks=[
        "mCE is relative to AlexNet. With DeepAugment: a third of the epochs, 3 x the images."
    ],
)
TITLE = "Table 4: ResNet18 on ImageNet (SA) and ImageNet-C (RA, mCE)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table4", __doc__, TITLE, GRID))
