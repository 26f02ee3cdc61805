"""Table 10: strategies of training, diverse or hard or both; ResNet18 on CIFAR-100."""

import sys

from experiments import common, grid
from experiments.recipes import Experiment


def run(method: str, norm: str) -> Experiment:
    """ResNet18 on CIFAR-100."""
    return Experiment("cifar100", "resnet18", method, norm)


# The paper does not name the norms. Methods that train on one kind of images have batch norm here.
# Methods that train on clean and adversarial images together have AugMax's norm, so that only the
# strategy differs.
GRID = grid.by_row(
    {
        "Normal": run("normal", "bn"),
        "AugMix": run("augmix", "bn"),
        "PGDAT": run("pgd_at", "bn"),
        "FAT": run("fat", "bn"),
        "AdvMax": run("advmax", "dubin"),
        "AugMix+PGDAT": run("augmix_pgd", "dubin"),
        "AdvMix": run("advmix", "dubin"),
        "AugMax-DuBIN": run("augmax", "dubin"),
    },
    ("SA", "RA"),
    "table10",
    remarks=[
        "AugMax-DuBIN is the run of Table 3 (λ = 1), where the paper prints 78.69 and 65.75; it "
        "does not say with which λ it got this table's figures."
    ],
)
TITLE = "Table 10: strategies, ResNet18 on CIFAR-100 (SA) and CIFAR-100-C (RA)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table10", __doc__, TITLE, GRID))
