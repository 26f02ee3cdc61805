"""Table 6: ResNet18 on the 12 corruptions of Tiny ImageNet-C that are no noise, ANT beside."""

import sys

from experiments import common, grid, paper
from experiments.recipes import Experiment

# ANT is trained from scratch with the recipe of the other rows, because the paper gives no recipe
# and the published ANT fine-tunes ImageNet networks.
RUNS = {
    "Normal": Experiment("tiny_imagenet", "resnet18", "normal", "bn"),
    "AugMix": Experiment("tiny_imagenet", "resnet18", "augmix", "bn"),
    "ANT": Experiment("tiny_imagenet", "resnet18", "ant", "bn"),
    "AugMax-DuBIN": Experiment("tiny_imagenet", "resnet18", "augmax", "dubin"),
}
# The paper's columns -> ours: all of them without the three kinds of noise.
FIGURES = {"SA": "SA", "RA": "RA without noise", "mCE": "mCE without noise"}
PRINTED = {row["method"]: row for row in paper.rows("table6")}

GRID = grid.Grid(
    tuple(f"{column} %" for column in FIGURES),
    {
        name: tuple(
            grid.Cell((run,), figure, PRINTED[name][column]) for column, figure in FIGURES.items()
        )
        for name, run in RUNS.items()
    },
    ("mCE is relative to the paper's own Normal run, over the same 12 corruptions.",),
)
TITLE = (
    "Table 6: ResNet18 on Tiny ImageNet (SA) and the 12 corruptions of Tiny ImageNet-C "
    "that are no noise (RA, mCE)"
)

if __name__ == "__main__":
    sys.exit(common.run_grid("table6", __doc__, TITLE, GRID))
