"""The sections on where a result comes from: the command, versions, settings, sets of images."""

from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax.report import page
from augmax_jax.report.page import Markup
from augmax_jax.report.runs import SavedRun
from augmax_jax.runtime.run_directory import flatten


def provenance(run: SavedRun) -> Markup:
    """The command, versions, device, commit and time of each session, where the run has them."""
    known = run.results.get("provenance")
    if not isinstance(known, Mapping):
        return page.NOTHING
    trained, imported = known.get("trained") or {}, known.get("imported") or {}
    sessions = trained.get("sessions") or []
    parts = []
    for number, session in enumerate(sessions, start=1):
        title = "Training" if len(sessions) == 1 else f"Training, session {number}"
        seed = [("seed", str(trained["seed"]))] if trained.get("seed") is not None else []
        parts.append(_session(title, session, seed if number == 1 else []))
    if imported:
        rows = [(str(name), str(value)) for name, value in imported.items()]
        parts.append(page.fill("provenance", title="Import", command="", rows=rows))
    if known.get("evaluated"):
        parts.append(_session("Evaluation", known["evaluated"], []))
    return Markup("").join(parts) if parts else page.NOTHING


def _session(title: str, session: Mapping[str, Any], more: list[tuple[str, str]]) -> Markup:
    versions = ", ".join(f"{name} {v}" for name, v in (session.get("versions") or {}).items())
    rows = [
        ("versions", versions),
        ("device", str(session.get("device") or "?")),
        ("commit", str(session.get("commit") or "not from a git checkout")),
        ("time", f"{session.get('start', '?')} to {session.get('end') or 'an unknown end'}"),
        *more,
    ]
    return page.fill("provenance", title=title, command=session.get("command") or "", rows=rows)


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
