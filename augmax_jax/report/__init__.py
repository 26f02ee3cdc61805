"""Reports: what a run did, on one page; several runs side by side, as the paper's tables.

    python -m augmax_jax.report RUN                 # writes RUN/report.html
    python -m augmax_jax.report RUN1 RUN2 ...       # compares, on the terminal and in HTML

Everything is read from the files that a run leaves in its workdir; what is missing is left
out. A page refers to nothing outside itself: it can be sent, archived, opened offline.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from augmax_jax.report import charts, classes, page, provenance, sections, seeds, tables
from augmax_jax.report import runs as reading
from augmax_jax.report.embedding import AUGMENTATIONS, EVALUATION, Pictures
from augmax_jax.report.page import Markup
from augmax_jax.report.runs import SavedRun
from augmax_jax.runtime import files, paths, storage
from augmax_jax.runtime.paths import RunPath

__all__ = ["compare", "comparison_table", "render", "summary_table", "write"]

REPORT = "report.html"
COMPARISON = "comparison.html"


def summary_table(results: Mapping[str, Any]) -> str:
    """SA, RA and mCE of a run, for the terminal.

    Args:
        results: as in `results.json`.

    Raises:
        ValueError: `results` is no mapping.
    """
    if not isinstance(results, Mapping):
        raise ValueError(f"results must be those of a results.json, got {type(results).__name__}")
    with _as_written("results.json"):
        return tables.to_text(tables.summary(results))


def comparison_table(workdirs: Sequence[str | os.PathLike[str]]) -> str:
    """SA, RA and mCE of several runs, for the terminal.

    A table per data set: a row per method, or, with several networks, a column. Runs that
    differ only by their seed are one entry, mean ± standard deviation. The best figures
    carry a star.

    Args:
        workdirs: directories of runs.

    Raises:
        ValueError: one of them is not a run's directory, its files are damaged, or there is none.
    """
    runs = _some(workdirs)
    with _as_written(", ".join(run.name for run in runs)):
        return _comparison_text(runs)


def render(
    workdir: str | os.PathLike[str], *, against: Sequence[str | os.PathLike[str]] | None = None
) -> str:
    """A run's report as HTML, for a notebook or a file.

    Args:
        workdir: directory of the run.
        against: runs whose accuracies stand beside this one's; None takes up to three
            that lie in the same directory and share its images and a benchmark, seeds of
            the same setting left out.

    Raises:
        ValueError: it is not a run's directory, or its files are damaged.
    """
    run = reading.load(workdir)
    given = None if against is None else reading.load_all(against)
    with _as_written(os.fspath(workdir)):
        near = seeds.neighbours(run)
        others = seeds.siblings(run, near) if given is None else given
        return _page(run, others, seeds.seeds_of(run, near))


def _page(run: SavedRun, others: list[SavedRun], same: list[SavedRun]) -> str:
    return page.page(
        run.title,
        sections.lead(run),
        [
            ("Summary", sections.summary(run, same)),
            ("Training", sections.curves(run)),
            ("Augmentations", sections.augmentations(run, Pictures(AUGMENTATIONS))),
            ("Classes", classes.classes(run)),
            ("Robustness", sections.robustness(run, others, Pictures(EVALUATION))),
            ("Provenance", provenance.provenance(run) + provenance.image_sets(run)),
            ("Settings", provenance.settings([run])),
        ],
        top=sections.tiles(run),
        colours=1 + len(others),
    )


def write(
    workdir: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    against: Sequence[str | os.PathLike[str]] | None = None,
) -> RunPath:
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
    target = paths.expand_workdir(out) if out else paths.expand_workdir(workdir) / REPORT
    return _write(target, render(workdir, against=against))


def compare(
    workdirs: Sequence[str | os.PathLike[str]], *, out: str | os.PathLike[str] = COMPARISON
) -> tuple[RunPath, str]:
    """Writes a page that shows several runs side by side.

    Args:
        workdirs: directories of runs.
        out: the file.

    Returns:
        The file, and the tables for the terminal.

    Raises:
        ValueError: one of the directories is not a run's, its files are damaged, or there is none.
        OSError: the file cannot be written.
    """
    runs = _some(workdirs)
    with _as_written(", ".join(run.name for run in runs)):
        text, table = _comparison_page(runs), _comparison_text(runs)
    return _write(paths.expand_workdir(out), text), table


def _comparison_page(runs: list[SavedRun]) -> str:
    colours = {run.name: i for i, run in enumerate(runs, start=1)}
    summary = [page.card(tables.to_html(table)) for table in tables.comparison(runs)]
    return page.page(
        f"{len(runs)} runs compared",
        " · ".join(run.name for run in runs),
        [
            ("Summary", page.join(summary)),
            ("Robustness", _robustness(runs, colours)),
            ("Training", _curves(runs, colours)),
            ("Settings that differ", provenance.settings(runs)),
        ],
        top=charts.legend_of(colours),
        colours=len(runs),
    )


@contextlib.contextmanager
def _as_written(name: str) -> Iterator[None]:
    """Refuses files whose contents are not what this package writes, whatever fails because of it.

    Raises:
        ValueError: in place of any error but an OSError.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ValueError(
            f"{name}: config.json, history.jsonl or results.json is damaged or of another version "
            f"({reason}); restore the file, or evaluate the run again"
        ) from error


def _some(workdirs: Sequence[str | os.PathLike[str]]) -> list[SavedRun]:
    runs = reading.load_all(workdirs)
    if not runs:
        raise ValueError("runs must be directories, at least one, got none")
    return runs


def _comparison_text(runs: list[SavedRun]) -> str:
    return "\n\n".join(tables.to_text(table) for table in tables.comparison(runs))


def _robustness(runs: list[SavedRun], colours: charts.Colours) -> Markup:
    names = dict.fromkeys(name for run in runs for name in run.results.get("benchmarks") or {})
    parts = []
    for name in names:
        found = {r.name: (r.results.get("benchmarks") or {}).get(name, {}) for r in runs}
        bars = {run: sections.by_corruption(scores) for run, scores in found.items()}
        parts.append(
            charts.bar_chart(
                {run: values for run, values in bars.items() if values},
                title=f"Accuracy by corruption: {name}",
                colours=colours,
            )
        )
    return page.join(parts)


def _curves(runs: list[SavedRun], colours: charts.Colours) -> Markup:
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
        charts.line_chart(of(kind, ending), title=title, percent="Accuracy" in title,
                          colours=colours)
        for kind, ending, title in (
            ("eval", "accuracy", "Accuracy (evaluation)"),
            ("train", "accuracy_clean", "Accuracy (training)"),
            ("train", "ascent_steps", "Ascent steps of a sample, mean"),
            ("train", "images_per_second", "Images per second"),
        )
    ]  # fmt: skip
    return page.group("charts", drawn)


def _write(path: RunPath, text: str) -> RunPath:
    try:
        with storage.explained(path):
            storage.make(path.parent)
            files.write_text(path, text)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path}: {error.strerror or error}. Free some space, or name another "
            "file (--out of python -m augmax_jax.report)",
        ) from error
    return path
