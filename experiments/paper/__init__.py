"""The figures that the paper prints, as data: `table<N>.csv`, each with its source on top."""

import csv
from pathlib import Path

FOLDER = Path(__file__).parent


def source(table: str) -> str:
    """The source of a table's figures, and what they are; empty if the paper has no such table.

    Args:
        table: "table1" to "table11".
    """
    return _lines(table)[0].removeprefix("#").strip() if _path(table).is_file() else ""


def rows(table: str) -> list[dict[str, str]]:
    """The rows of a table, as the paper prints them.

    Args:
        table: "table1" to "table11".

    Raises:
        FileNotFoundError: there is no such table.
    """
    return list(csv.DictReader(_lines(table)[1:]))


def figure(table: str, column: str, **where: str) -> float:
    """One figure.

    Args:
        table: "table1" to "table11".
        column: title of the figure's column.
        **where: contents of other columns that select the figure's row.

    Raises:
        KeyError: there is no such column, or not exactly one such row.
    """
    found = [row for row in rows(table) if where.items() <= row.items()]
    if len(found) != 1:
        raise KeyError(f"{table} has {len(found)} rows with {where}")
    return float(found[0][column])


def _path(table: str) -> Path:
    return FOLDER / f"{table}.csv"


def _lines(table: str) -> list[str]:
    return _path(table).read_text(encoding="utf-8").splitlines()
