"""Reports: what a run did, on one page; several runs side by side, as the paper's tables.

    python -m augmax_jax.report RUN                 # writes RUN/report.html
    python -m augmax_jax.report RUN1 RUN2 ...       # compares, on the terminal and in HTML

Everything is read from the files that a run leaves in its workdir; what is missing is left
out. A page refers to nothing outside itself: it can be sent, archived, opened offline.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from augmax_jax.report import charts, page, provenance, sections, tables
from augmax_jax.report import runs as reading
from augmax_jax.report.runs import SavedRun
from augmax_jax.runtime import files, paths

__all__ = ["compare", "comparison_table", "render", "summary_table", "write"]

REPORT = "report.html"
COMPARISON = "comparison.html"


def summary_table(results: Mapping[str, Any]) -> str:
    """SA, RA and mCE of a run, for the terminal.

    Args:
        results: as in `results.json`.
    """
    return tables.to_text(tables.summary(results))


def comparison_table(workdirs: Sequence[str | os.PathLike[str]]) -> str:
    """SA, RA and mCE of several runs, for the terminal.

    A table per data set: a row per method, or, with several networks, a column. Runs that
    differ only by their seed are one entry, mean ± standard deviation. The best figures
    carry a star.

    Args:
        workdirs: directories of runs.

    Raises:
        ValueError: one of them is not a run's directory.
    """
    return _comparison_text(reading.load_all(workdirs))


def render(
    workdir: str | os.PathLike[str], *, against: Sequence[str | os.PathLike[str]] | None = None
) -> str:
    """A run's report as HTML, for a notebook or a file.

    Args:
        workdir: directory of the run.
        against: runs whose accuracies stand beside this one's; None takes up to three
            that lie in the same directory and share its data set and benchmark.

    Raises:
        ValueError: it is not a run's directory.
    """
    run = reading.load(workdir)
    others = reading.siblings(run) if against is None else reading.load_all(against)
    return page.page(
        run.title,
        sections.lead(run),
        [
            ("Summary", sections.summary(run)),
            ("Training", sections.curves(run)),
            ("Augmentations", sections.augmentations(run)),
            ("Robustness", sections.robustness(run, others)),
            ("Settings", sections.settings([run])),
            ("Provenance", provenance.section(run)),
        ],
        top=sections.tiles(run),
    )


def write(
    workdir: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    against: Sequence[str | os.PathLike[str]] | None = None,
) -> Path:
    """Writes a run's report.

    Args:
        workdir: directory of the run.
        out: the file; `report.html` in the workdir if None.
        against: as of `render`.

    Returns:
        The file.

    Raises:
        ValueError: the workdir is not a run's.
        OSError: the file cannot be written.
    """
    return _write(paths.expand(out or Path(workdir) / REPORT), render(workdir, against=against))


def compare(
    workdirs: Sequence[str | os.PathLike[str]], *, out: str | os.PathLike[str] = COMPARISON
) -> tuple[Path, str]:
    """Writes a page that shows several runs side by side.

    Args:
        workdirs: directories of runs.
        out: the file.

    Returns:
        The file, and the tables for the terminal.

    Raises:
        ValueError: one of the directories is not a run's.
        OSError: the file cannot be written.
    """
    runs = reading.load_all(workdirs)
    body = "".join(page.card(tables.to_html(table)) for table in tables.comparison(runs))
    text = page.page(
        f"{len(runs)} runs compared",
        " · ".join(run.name for run in runs),
        [
            ("Summary", body),
            ("Robustness", _robustness(runs)),
            ("Training", _curves(runs)),
            ("Settings that differ", sections.settings(runs)),
        ],
    )
    return _write(paths.expand(out), text), _comparison_text(runs)


def _comparison_text(runs: list[SavedRun]) -> str:
    return "\n\n".join(tables.to_text(table) for table in tables.comparison(runs))


def _robustness(runs: list[SavedRun]) -> str:
    names = dict.fromkeys(name for run in runs for name in run.results.get("benchmarks") or {})
    body = ""
    for name in names:
        found = {r.name: (r.results.get("benchmarks") or {}).get(name, {}) for r in runs}
        bars = {run: sections.by_corruption(scores) for run, scores in found.items()}
        body += charts.bar_chart(
            {run: values for run, values in bars.items() if values},
            title=f"Accuracy by corruption: {name}",
        )
    return body


def _curves(runs: list[SavedRun]) -> str:
    def of(kind: str, ending: str) -> dict[str, tuple[list[float], list[float]]]:
        series = {}
        for run in runs:
            points = [
                (row["epoch"], value)
                for row in run.rows(kind)
                for name, value in row.items()
                if name.endswith(ending) and isinstance(value, int | float)
            ]
            series[run.name] = ([x for x, _ in points], [y for _, y in points])
        return series

    drawn = [
        charts.line_chart(of("eval", "accuracy"), title="Accuracy (evaluation)", percent=True),
        charts.line_chart(of("train", "accuracy_clean"), title="Accuracy (training)", percent=True),
        charts.line_chart(of("train", "ascent_steps"), title="Ascent steps of a sample, mean"),
        charts.line_chart(of("train", "images_per_second"), title="Images per second"),
    ]
    body = "".join(drawn)
    return f"<div class=charts>{body}</div>" if body else ""


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, text)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path}: {error.strerror or error}. Free some space, or name another "
            "file (--out of python -m augmax_jax.report)",
        ) from error
    return path
