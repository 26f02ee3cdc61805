"""What lies in the directory of a run: the names of its files, and its history.

`history.jsonl` has one JSON object per line. JSON has no NaN or infinity: they are written as
the strings "nan", "inf" and "-inf", and `read_history` turns them back into floats.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from augmax_jax.runtime import files, paths, untrusted
from augmax_jax.runtime.paths import RunPath

CONFIG = "config.json"
RESULTS = "results.json"
HISTORY = "history.jsonl"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
# The networks of a run: of its best and its last checkpoint, and the average of its weights.
NETWORKS = ("best", "last", "average")
_WHOLE = "commit_success.txt"  # orbax writes it last into a checkpoint


def has_checkpoints(directory: RunPath) -> bool:
    """Whether a directory holds a checkpoint of a run; half-written ones do not count."""
    if paths.is_remote(directory):  # where nothing is renamed once it is whole
        found = directory.joinpath(CHECKPOINTS).glob(f"*/*/{_WHOLE}")
        return any(path.parent.name.isdecimal() for path in found)
    return any(path.name.isdecimal() for path in directory.joinpath(CHECKPOINTS).glob("*/*"))


def read_history(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the rows of a run's history, oldest first.

    A half-written last line, which a killed process leaves behind, is skipped; a damaged
    line elsewhere is skipped with a warning.

    Args:
        workdir: the run's directory. Without a history in it the list is empty.

    Returns:
        Rows with `step`, `epoch`, `kind`, `time` and the metrics, numbers as floats.
    """
    path = paths.expand_workdir(workdir) / HISTORY
    try:
        lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = untrusted.parse_json(line)
            if not (isinstance(row, dict) and isinstance(row.get("step"), int)):
                raise ValueError("not a history row")
        except ValueError:
            if line.strip() and number < len(lines):
                warnings.warn(f"{path}, line {number} is damaged and was skipped", stacklevel=2)
            continue
        rows.append(files.from_json(row))
    return rows


def repair_history(path: RunPath, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Removes a half-written last line and the rows that `keep` rejects, atomically.

    Args:
        path: the file; it need not exist.
        keep: takes a row, as `read_history` gives it, and returns whether it stays.
    """
    if not path.exists():
        return
    text = path.read_bytes()
    rows = read_history(path.parent)
    kept = [row for row in rows if keep(row)]
    if len(kept) == len(rows) == text.count(b"\n") and text[-1:] in (b"\n", b""):
        return
    files.write_text(path, "".join(f"{files.dumps(row)}\n" for row in kept))


def differences_of_sets(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What differs between two sets of images, as far as both are known.

    Args:
        a: a set's identity as `results.json` keeps it: "count", "labels" and "images" (digests),
            "size", "constants"; any may be missing.
        b: another's.

    Returns:
        The names that differ; none if the two may be one set. Images of two sizes are not
        compared.
    """
    compared = ["count", "labels", "constants"]
    if a.get("size") == b.get("size"):
        compared.append("images")
    return [name for name in compared if name in a and name in b and a[name] != b[name]]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested settings as one level of dotted names, with values TensorBoard can show.

    Args:
        tree: mappings of mappings; a value that is no bool, number or text becomes text.
        prefix: put before every name.
    """
    flat: dict[str, bool | int | float | str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) or hasattr(value, "items"):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = (
                value if isinstance(value, bool | int | float | str) else str(value)
            )
    return flat
