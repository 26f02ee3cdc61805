"""The subcommands of `augmax-jax`, each of which is a command that stands on its own too."""

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from augmax_jax import __version__
from augmax_jax.runtime import console, errors, extras

PROGRAM = "augmax-jax"


class Subcommand(NamedTuple):
    """One of them.

    Attributes:
        summary: what it does.
        example: arguments that it may have.
        module: with a `main(arguments)` that returns the exit status, or None for 0.
    """

    summary: str
    example: str
    module: str


_RUN = "augmax_jax.main"  # absl reads its flags, the others are argparse's

SUBCOMMANDS = {
    "train": Subcommand(
        "train a network, or go on with a run, and evaluate it",
        "--config=digits --workdir=runs/digits",
        _RUN,
    ),
    "evaluate": Subcommand(
        "measure the run in a workdir, or an imported network",
        "--workdir=runs/digits",
        _RUN,
    ),
    "predict": Subcommand(
        "name what is on photographs", "runs/digits photo.png", "augmax_jax.predict"
    ),
    "export": Subcommand(
        "hand a network to other programs, as StableHLO or a PyTorch state_dict",
        "runs/digits --out digits.zip",
        "augmax_jax.export",
    ),
    "import": Subcommand(
        "read a PyTorch checkpoint",
        "--checkpoint best.pth --model wrn40_2 --num_classes 10 --out imported/wrn",
        "augmax_jax.torch_import",
    ),
    "corrupt": Subcommand(
        "write a -C benchmark of a data set",
        "--dataset cifar10 --benchmark cifar --out CIFAR-10-C",
        "augmax_jax.corruption_sets.command",
    ),
    "report": Subcommand(
        "write a run's report, or compare runs",
        "runs/digits runs/other",
        "augmax_jax.report.__main__",
    ),
    "deepaugment": Subcommand(
        "distort a data set with DeepAugment's networks, or train them",
        "train --network cae --dataset DIR --out cae.npz",
        "augmax_jax.deepaugment.__main__",
    ),
    "list": Subcommand(
        "data sets, networks, methods, corruptions, configs, ...",
        "networks",
        "augmax_jax.cli.listing",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0 if given else 2
    if given[0] == "--version":
        print(f"{PROGRAM} {__version__}")
        return 0
    name, *rest = given
    try:
        errors.check_name("subcommand", name, SUBCOMMANDS)
    except ValueError as error:
        return _fail(error)
    try:
        return _run(name, rest)
    except extras.MissingExtraError as error:  # of its imports; other errors it tells itself
        return _fail(error)


def _run(name: str, arguments: list[str]) -> int:
    before = sys.argv
    # What usage lines and absl call the program (`console.program`).
    sys.argv = [f"{PROGRAM} {name}", *arguments]
    try:
        console.first_words()
        module = importlib.import_module(SUBCOMMANDS[name].module)
        if SUBCOMMANDS[name].module == _RUN:
            argv = [sys.argv[0], f"--mode={name}", *arguments]
            return module.app.run(module.main, argv=argv, flags_parser=module.parse_flags)
        return module.main(arguments) or 0
    finally:
        sys.argv = before


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _help() -> str:
    lines = [
        f"usage: {PROGRAM} SUBCOMMAND ...",
        "",
        "AugMax in JAX: train image classifiers that stay accurate under distribution shift, and",
        f"measure that. {PROGRAM} SUBCOMMAND --help explains a subcommand.",
    ]
    for name, subcommand in SUBCOMMANDS.items():
        lines += ["", f"  {name:12} {subcommand.summary}"]
        lines += [f"  {'':12} {PROGRAM} {name} {subcommand.example}"]
    return "\n".join(lines)
