"""Keeps the figures of runs of the demo, for the tables of README and docs/results.md.

    python -m experiments.demo runs/digits-*
    # Made with XLA_FLAGS=--xla_cpu_max_isa=AVX2:
    python -m experiments.demo --isa AVX2 runs/avx2-*

Then `python -m experiments.tables` writes the tables.
"""

import argparse
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augmax_jax.report import runs as reading
from augmax_jax.runtime import files

FOLDER = Path(__file__).parent / "results" / "digits"
WIDEST = "AVX-512"  # the instructions that XLA uses on the machine of the kept runs
_KEPT = ("method", "model", "norm", "dataset", "seed", "epochs", "selected")


def keep(workdir: Path, folder: Path, isa: str = "") -> Path:
    """Writes what the tables need of a run's results.

    Args:
        workdir: of a finished run of `configs/digits.py`.
        folder: to write to.
        isa: the instruction set that the run was kept to; empty: the machine's widest.

    Returns:
        The file.

    Raises:
        ValueError: the folder holds no evaluated run of the demo.
        OSError: the file cannot be written.
    """
    results = files.read_json(workdir / "results.json", numbers=True) or {}
    found = (results.get("benchmarks") or {}).get("corrupted") or {}
    if results.get("dataset") != "digits" or "ra" not in found:
        raise ValueError(f"{workdir} holds no evaluated run of configs/digits.py: run it first")
    trained = results["provenance"]["trained"]["sessions"][-1]
    flags = f"XLA_FLAGS=--xla_cpu_max_isa={isa} " if isa else ""
    clean = ("split", "step", "accuracy", "loss", "ece", "count")
    kept = {
        **{name: results[name] for name in _KEPT},
        "clean": {
            kind: {name: scores[name] for name in clean}
            for kind, scores in results["clean"].items()
        },
        "made_by": flags + _command(trained["command"]),
        "hardware": f"{os.cpu_count()} virtual CPU cores, JAX {trained['versions']['jax']}",
        "instructions": isa or WIDEST,
        "benchmarks": {"corrupted": {n: found[n] for n in ("source", "accuracy", "ra")}},
    }
    label = reading.method_label(results).lower()
    path = folder / f"{label}-s{results['seed']}{'-' + isa.lower() if isa else ''}.json"
    files.make_folder(folder, "the folder of results")
    files.write_json(path, kept)
    return path


def _command(command: str) -> str:
    """A command without the paths of the machine that it ran on."""
    words = ["python", *shlex.split(command)[1:]]
    return shlex.join(re.sub(r"^--workdir=.*", "--workdir=DIR", word) for word in words)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.demo",
        description="Keep the figures of runs of the demo, for the tables of the pages.",
    )
    parser.add_argument("workdirs", nargs="+", type=Path, help="--workdir of each run")
    parser.add_argument("--isa", default="", help="the --xla_cpu_max_isa that they were made with")
    given = parser.parse_args(arguments)
    try:
        for workdir in given.workdirs:
            print(keep(workdir, FOLDER, given.isa))
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")


def instructions(results: Mapping[str, Any]) -> str:
    """The instruction set of a kept run."""
    return str(results.get("instructions", WIDEST))


if __name__ == "__main__":
    main()
