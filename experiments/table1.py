"""Table 1: running variances of both batch norms, DuBN against DuBIN; WRN40-2 on CIFAR-100.

We read the paper's "block1_layer2" as unit 2 of block 1, counted from 0 as PyTorch names it, and
its batch norm as the first of the unit: the two networks differ there, because DuBIN normalises
half of the channels by instance. The figure is the mean over the channels of that batch norm (all
channels with DuBN, half with DuBIN) in the run's best checkpoint.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from augmax_jax.report.tables import Table
from augmax_jax.training.checkpoints import read_variables
from experiments import common, grid, paper, study
from experiments.recipes import Experiment

RUNS = {
    "AugMax-DuBN": Experiment("cifar100", "wrn40_2", "augmax", "dubn"),
    "AugMax-DuBIN": Experiment("cifar100", "wrn40_2", "augmax", "dubin"),
}
# The paper's name of a layer -> ours.
LAYERS = {
    "block1_layer2": "block1_2/bn1",
    "block1_layer3": "block1_3/bn1",
    "block2_layer2": "block2_2/bn1",
}
ROUTES = {"clean": "σ²c", "augmented": "σ²a"}
TITLE = "Table 1: mean running variance of the clean (c) and the augmented (a) batch norm"

# route -> layer -> mean variance
Variances = dict[str, dict[str, float]]


def variances(variables: Mapping[str, Any]) -> Variances:
    """Mean running variance of every batch norm of a network with two routes.

    Args:
        variables: the network's variables, with the collections of both routes.

    Returns:
        route -> layer -> mean variance; layers are sorted by name, numbers in it by value.
    """
    found: Variances = {}
    for route in ROUTES:
        leaves = flatten_dict(variables[f"batch_stats_{route}"], sep="/")
        layers = {name.removesuffix("/var"): x for name, x in leaves.items() if name[-4:] == "/var"}
        found[route] = {name: float(np.mean(layers[name])) for name in sorted(layers, key=_order)}
    return found


def _order(layer: str) -> list[tuple[int, str]]:
    """Sort key that puts block1_10 after block1_2."""
    parts = layer.replace("_", "/").split("/")
    return [(int(part) if part.isdigit() else -1, part) for part in parts]


def read(found: study.Study) -> dict[str, Variances]:
    """The variances of the runs that are done."""
    return {
        name: variances(read_variables(found.directory(run)))
        for name, run in RUNS.items()
        if found.outcome(run).results
    }


def columns(known: Mapping[str, Variances]) -> dict[str, str]:
    """The paper's layers; if a network lacks them, as in a smoke run, its first three norms."""
    layers = dict.fromkeys(name for found in known.values() for name in found["clean"])
    if not layers or set(LAYERS.values()) <= set(layers):
        return LAYERS
    firsts = [name for name in layers if name.endswith("/bn1")]
    return {name: name for name in firsts[: len(LAYERS)]}


def draw(found: study.Study) -> Table:
    """Variances of both routes and their ratio, as in the paper's table."""
    known = read(found)
    if found.options.extra["all_layers"]:
        return every_layer(known, smoke_run=found.options.smoke)
    layers = columns(known)
    printed = {(r["method"], r["statistic"]): r for r in paper.rows("table1")}
    rows: dict[str, tuple[list[str], list[str]]] = {}
    for name in RUNS:
        ours: dict[str, list[float]] = {}
        theirs: dict[str, list[float]] = {}
        for route, symbol in ROUTES.items():
            ours[route] = [known[name][route][x] for x in layers.values()] if name in known else []
            theirs[route] = [float(printed[name, route][x]) for x in LAYERS]
            rows[f"{name} {symbol}"] = _shown(ours[route]), _shown(theirs[route])
        rows[f"{name} σ²a/σ²c"] = _ratios(ours), _ratios(theirs)
    table = grid.beside(tuple(layers), rows, smoke_run=found.options.smoke, printed=tuple(LAYERS))
    table.note = "\n".join(
        [
            "Layers: the first norm of unit 2 or 3, counted from 0, of a block (see the script's "
            "text); --all-layers shows every norm.",
            *([] if layers == LAYERS else ["This network has other layers than the paper's."]),
        ]
    )
    return table


def _shown(values: list[float]) -> list[str]:
    return [f"{value:.4f}" for value in values] or [grid.ABSENT] * len(LAYERS)


def _ratios(by_route: dict[str, list[float]]) -> list[str]:
    pairs = zip(by_route["augmented"], by_route["clean"], strict=True)
    return [f"{a / c:.3f}" for a, c in pairs] or [grid.ABSENT] * len(LAYERS)


def every_layer(known: Mapping[str, Variances], *, smoke_run: bool) -> Table:
    """A table with a row per batch norm, without the paper's figures."""
    layers = list(dict.fromkeys(name for found in known.values() for name in found["clean"]))
    titles, cells = [""], [[layer] for layer in layers]
    notes = []
    for name, found in known.items():
        titles += [f"{'smoke: ' if smoke_run else ''}{name} σ²c", "σ²a", "a/c"]
        ratios = [found["augmented"][x] / found["clean"][x] for x in found["clean"]]
        notes.append(
            f"{name}: median of σ²a/σ²c over its batch norms {statistics.median(ratios):.3f}."
        )
        for row, layer in zip(cells, layers, strict=True):
            c, a = (found[route].get(layer) for route in ROUTES)
            if c is None or a is None:
                row += [grid.ABSENT] * 3
            else:
                row += [f"{c:.4f}", f"{a:.4f}", f"{a / c:.3f}"]
    return Table("", titles, cells, note="\n".join(notes))


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the script's own flags."""
    parser.add_argument("--all-layers", action="store_true", help="every batch norm, not three")


def main(arguments: list[str] | None = None) -> int:
    """Runs the script; returns the exit status."""
    return common.run_script(
        "table1", __doc__, TITLE, list(RUNS.values()), draw, flags=flags, arguments=arguments
    )


if __name__ == "__main__":
    sys.exit(main())
