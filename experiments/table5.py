"""Table 5: ResNet18 on Tiny ImageNet and Tiny ImageNet-C, without and with DeepAugment."""

import sys

from experiments import common, grid
from experiments.recipes import Experiment

GRID = grid.by_row(
    {
        "Normal": Experiment("tiny_imagenet", "resnet18", "normal", "bn"),
        "AugMix": Experiment("tiny_imagenet", "resnet18", "augmix", "bn"),
        "AugMax-DuBIN": Experiment("tiny_imagenet", "resnet18", "augmax", "dubin"),
        "DeepAugment+AugMix": Experiment(
            "tiny_imagenet", "resnet18", "augmix", "bn", deepaugment=True
        ),
        "DeepAugment+AugMax-DuBIN": Experiment(
            "tiny_imagenet", "resnet18", "augmax", "dubin", deepaugment=True
        ),
    },
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
