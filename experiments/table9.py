"""Table 9: sweeps of n, k and λ of AugMax-DuBIN; WRN40-2 on CIFAR-10 and CIFAR-10-C."""

import sys

from experiments import common, grid, paper
from experiments.recipes import Experiment

# Setting of the paper -> (our setting, its value in all other rows, the values tried).
SWEEPS = {
    "n": ("adversary.steps", 10, (5, 10)),
    "k": ("adversary.patience", 1, (1, 2, 3)),
    "lambda": ("objective.consistency_weight", 10.0, (1.0, 10.0, 15.0)),
}
PRINTED = {(row["setting"], float(row["value"])): row for row in paper.rows("table9")}


def run(setting: str, usual: float, value: float) -> Experiment:
    """AugMax-DuBIN with one setting changed, or none."""
    changes = () if value == usual else ((setting, value),)
    return Experiment("cifar10", "wrn40_2", "augmax", "dubin", changes=changes)


GRID = grid.Grid(
    ("SA %", "RA %"),
    {
        f"{symbol.replace('lambda', 'λ')} = {value:g}": tuple(
            grid.Cell((run(setting, usual, value),), figure, PRINTED[symbol, value][figure])
            for figure in ("SA", "RA")
        )
        for symbol, (setting, usual, values) in SWEEPS.items()
        for value in values
    },
    ("Settings that a row does not name: n = 10, k = 1, λ = 10, so three rows are one run.",),
)
TITLE = "Table 9: AugMax-DuBIN, WRN40-2 on CIFAR-10 (SA) and CIFAR-10-C (RA)"

if __name__ == "__main__":
    sys.exit(common.run_grid("table9", __doc__, TITLE, GRID))
