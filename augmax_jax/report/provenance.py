"""The sections on where a result comes from: the command, versions, settings, sets of images."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from augmax_jax.report import page
from augmax_jax.report.runs import SavedRun
from augmax_jax.runtime.run_directory import flatten


def provenance(run: SavedRun) -> Markup:
    """The exact command, and what the run was made with, where it says."""
    kept = run.results.get("provenance")
    if not isinstance(kept, Mapping) or not kept:
        return page.NOTHING
    command = kept.get("command")
    if isinstance(command, list | tuple):
        command = " ".join(map(str, command))
    rows = []
    for name, value in kept.items():
        if name == "command" or value in (None, "", {}, []):
            continue
        if isinstance(value, Mapping):
            shown = ", ".join(f"{key} {item}" for key, item in flatten(value).items())
        elif name in ("start", "end") and isinstance(value, int | float):
            shown = moment(value)
        else:
            shown = str(value)
        rows.append((str(name).replace("_", " "), shown))
    return page.fill("provenance", command=command or "", rows=rows)


def moment(seconds: float) -> str:
    """Unix seconds as a date and a time."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def image_sets(run: SavedRun) -> Markup:
    """Which images were measured: where they lie and what tells them from others."""
    sets = {"clean": run.results.get("test_set")}
    sets |= {name: f.get("set") for name, f in (run.results.get("benchmarks") or {}).items()}
    texts = [f"{name}: {_described(kept)}" for name, kept in sets.items() if kept]
    return page.details("The sets of images", page.notes(texts))


def _described(kept: Mapping[str, Any]) -> str:
    parts = []
    for name, value in kept.items():
        if name == "count":
            parts.append(f"{value:,} images")
        elif name == "size" and isinstance(value, list):
            parts.append(f"{value[1]}x{value[0]} pixels")
        elif name == "place":
            parts.append(str(value))
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def settings(runs: Sequence[SavedRun]) -> Markup:
    """The config by its sections; of several runs, what differs between them."""
    flat = [flatten(run.config) for run in runs]
    names = list(dict.fromkeys(name for config in flat for name in config))
    if len(runs) > 1:
        names = [n for n in names if len({str(config.get(n, "–")) for config in flat}) > 1]
    if not names:
        return page.NOTHING
    groups: dict[str, list[tuple[str, list[str]]]] = {"": []}
    for name in names:
        heading = name.partition(".")[0] if "." in name else ""
        row = (name, [str(config.get(name, "–")) for config in flat])
        groups.setdefault(heading, []).append(row)
    heads = [run.name for run in runs] if len(runs) > 1 else []
    shown = [(heading, rows) for heading, rows in groups.items() if rows]
    table = page.fill("settings", runs=heads, groups=shown, width=len(runs) + 1)
    return page.card(table) if len(runs) > 1 else page.details(f"{len(names)} settings", table)
