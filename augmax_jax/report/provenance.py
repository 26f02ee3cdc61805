"""Where a run and its figures come from: a section of its report."""

import html
from collections.abc import Mapping
from typing import Any

from augmax_jax.report.runs import SavedRun


def section(run: SavedRun) -> str:
    """The command, versions, device, commit and time of each session, as HTML."""
    known = run.results.get("provenance") or {}
    trained, imported = known.get("trained") or {}, known.get("imported") or {}
    sessions = trained.get("sessions") or []
    parts = []
    for number, session in enumerate(sessions, start=1):
        title = "Training" if len(sessions) == 1 else f"Training, session {number}"
        parts.append((title, _rows(session)))
    if sessions and trained.get("seed") is not None:
        parts[0][1].append(("seed", str(trained["seed"])))
    if imported:
        parts.append(("Import", [(name, str(value)) for name, value in imported.items()]))
    if known.get("evaluated"):
        parts.append(("Evaluation", _rows(known["evaluated"])))
    return "".join(_table(title, rows) for title, rows in parts)


def _rows(session: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {v}" for name, v in (session.get("versions") or {}).items())
    when = f"{session.get('start', '?')} to {session.get('end') or 'an end that was not noted'}"
    rows = [
        ("command", str(session.get("command", "?"))),
        ("versions", versions),
        ("device", str(session.get("device", "?"))),
        ("commit", str(session.get("commit") or "not from a git checkout")),
        ("time", when),
    ]
    return [(name, value) for name, value in rows if value]


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    cells = "".join(
        f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(value)}</code></td></tr>"
        for name, value in rows
    )
    return (
        f"<section class=card><div class=scroll><table class=config>"
        f"<caption>{html.escape(title)}</caption>{cells}</table></div></section>"
    )
