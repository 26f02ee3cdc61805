"""What lies in the directory of a run: the names of its files, and its history.

`history.jsonl` has one JSON object per line. JSON has no NaN or infinity: they are written as
the strings "nan", "inf" and "-inf", and `read_history` turns them back into floats.
"""

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = "config.json"
RESULTS = "results.json"
HISTORY = "history.jsonl"

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def read_history(workdir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the rows of a run's history, oldest first.

    A half-written last line, which a killed process leaves behind, is passed over; a
    damaged line elsewhere too, with a warning.

    Args:
        workdir: the run's directory. Without a history in it the list is empty.
    """
    path = Path(workdir) / HISTORY
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not (isinstance(row, dict) and isinstance(row.get("step"), int)):
                raise ValueError("not a history row")
        except ValueError:
            if line.strip() and number < len(lines):
                warnings.warn(f"{path}, line {number} is damaged and was skipped", stacklevel=2)
            continue
        rows.append({name: _from_json(value) for name, value in row.items()})
    return rows


def repair_history(path: Path, start_step: int | None) -> None:
    """Drops a half-written last line and the rows beyond `start_step`, atomically."""
    if not path.exists():
        return
    text = path.read_bytes()
    rows = read_history(path.parent)
    keep = [row for row in rows if start_step is None or row["step"] <= start_step]
    if len(keep) == len(rows) == text.count(b"\n") and text[-1:] in (b"\n", b""):
        return
    temporary = path.with_suffix(".tmp")
    lines = (json.dumps({k: to_json(v) for k, v in row.items()}, allow_nan=False) for row in keep)
    temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.replace(temporary, path)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested settings as one level of dotted names, with values TensorBoard can show."""
    flat: dict[str, bool | int | float | str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) or hasattr(value, "items"):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = (
                value if isinstance(value, bool | int | float | str) else str(value)
            )
    return flat


def to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def _from_json(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value
