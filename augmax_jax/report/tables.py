"""Tables, for the terminal and for HTML, laid out as the paper's."""

import dataclasses
import html
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax.report import runs as reading
from augmax_jax.report.runs import SavedRun


@dataclasses.dataclass
class Table:
    """A table of text; the first column holds the names of the rows.

    Attributes:
        title: what the table is about.
        columns: titles of the columns.
        rows: cells, as long as `columns`.
        best: (row, column) of the cells to emphasise.
        note: a line below.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    note: str = ""


def percent(value: Any, digits: int = 2) -> str:
    """A fraction as a percentage without its sign, or a dash."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{100 * value:.{digits}f}"


def number(value: Any) -> str:
    """A figure in four digits, or a dash."""
    if not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.4g}"


def to_text(table: Table) -> str:
    """The table for a terminal; emphasised cells carry a star."""
    cells = [table.columns] + [
        [f"{cell} *" if (i, j) in table.best else cell for j, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    # Figures stay aligned when only some of their column carry a star.
    starred = {j for _, j in table.best}
    for i, row in enumerate(cells):
        for j in starred:
            if not (i and (i - 1, j) in table.best):
                row[j] = f"{row[j]}  "
    widths = [max(len(row[j]) for row in cells) for j in range(len(table.columns))]
    lines = [
        "  ".join(
            cell.ljust(width) if j == 0 else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(filter(None, [table.title, *lines, table.note]))


def to_html(table: Table) -> str:
    """The table for a page; emphasised cells are bold."""
    head = "".join(f"<th scope=col>{html.escape(title)}</th>" for title in table.columns)
    body = []
    for i, row in enumerate(table.rows):
        cells = [
            f"<td{' class=best' if (i, j) in table.best else ''}>{html.escape(cell)}</td>"
            for j, cell in enumerate(row[1:], start=1)
        ]
        body.append(f"<tr><th scope=row>{html.escape(row[0])}</th>{''.join(cells)}</tr>")
    caption = f"<caption>{html.escape(table.title)}</caption>" if table.title else ""
    note = f"<p class=note>{html.escape(table.note)}</p>" if table.note else ""
    return (
        f"<div class=scroll><table>{caption}<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>{note}"
    )


def summary(results: Mapping[str, Any]) -> Table:
    """SA, RA and mCE of one run."""
    rows = []
    split = ""
    for kind, scores in (results.get("clean") or {}).items():
        split = scores.get("split", "")
        where = f"{kind} checkpoint" + (f", step {scores['step']}" if scores.get("step") else "")
        rows.append([f"clean ({where})", percent(scores.get("accuracy")), "", ""])
    for name, found in (results.get("benchmarks") or {}).items():
        scores = reading.benchmark_scores(results).get(name, {})
        rows.append(
            [
                f"{name} ({found['source']})" if found.get("source") else name,
                percent(scores["accuracy"]) if "accuracy" in scores else "",
                percent(scores["RA"]) if "RA" in scores else "",
                percent(scores["mCE"]) if "mCE" in scores else "",
            ]
        )
    title = f"{reading.method_label(results)}, {reading.model_label(results)}"
    if results.get("dataset"):
        title += f", {results['dataset']}" + (f" ({split})" if split else "")
    columns = ["", "SA %", "RA %", "mCE %"]
    keep = [j for j in range(4) if j < 2 or any(row[j] for row in rows)]
    notes = []
    baselines = {b.get("baseline") for b in (results.get("benchmarks") or {}).values()} - {None}
    if baselines:
        notes.append(f"mCE is relative to {', '.join(sorted(baselines))}.")
    notes += [f"{n} was not measured: {why}" for n, why in not_measured(results).items()]
    if results.get("select_on") == "test":
        notes.append("The best checkpoint was chosen on the test split (the literature's habit).")
    return Table(
        title,
        [columns[j] for j in keep],
        [[r[j] for j in keep] for r in rows],
        note="\n".join(notes),
    )


def not_measured(results: Mapping[str, Any]) -> dict[str, str]:
    """Benchmark -> why it could not be measured."""
    return dict(results.get("not_measured") or {})


def comparison(runs: Sequence[SavedRun]) -> list[Table]:
    """SA, RA and mCE of several runs side by side, a table per data set.

    One network: a row per method (the paper's Tables 4 and 5). Several: a row per network
    and figure, a column per method (Tables 2 and 3). Runs that differ only by seed become
    one entry, mean ± sample standard deviation.
    """
    by_dataset: dict[str, list[SavedRun]] = defaultdict(list)
    for run in runs:
        by_dataset[run.dataset].append(run)
    return [_compare(dataset, members) for dataset, members in by_dataset.items()]


def _compare(dataset: str, runs: list[SavedRun]) -> Table:
    groups: dict[tuple[str, str], list[SavedRun]] = defaultdict(list)
    for run in runs:
        groups[run.model, run.method].append(run)
    for (model, method), members in list(groups.items()):
        if len({run.seed for run in members}) < len(members):  # they differ by more than seed
            del groups[model, method]
            for run in members:
                groups[model, f"{method} ({run.name})"] = [run]
    figures: dict[str, None] = {}  # an ordered set
    values: dict[tuple[str, str, str], list[float]] = {}
    several = len({b for run in runs for b in reading.benchmark_scores(run.results)}) > 1
    for (model, method), members in groups.items():
        for run in members:
            for figure, value in _figures(run.results, several).items():
                figures[figure] = None
                values.setdefault((model, method, figure), []).append(value)
    models = list(dict.fromkeys(model for model, _ in groups))
    methods = list(dict.fromkeys(method for _, method in groups))
    if len(models) == 1:
        lines = [(method, [(models[0], method, f) for f in figures]) for method in methods]
        columns = ["method", *(f"{figure} %" for figure in figures)]
        title = f"{dataset}, {models[0]}"
        directions = [list(figures)] * len(lines)
        contests = [[(i, j) for i in range(len(lines))] for j in range(len(figures))]
    else:
        lines = [
            (f"{model}  {figure} %", [(model, method, figure) for method in methods])
            for model in models
            for figure in figures
        ]
        columns = ["", *methods]
        title = dataset
        directions = [[f] * len(methods) for _ in models for f in figures]
        contests = [[(i, j) for j in range(len(methods))] for i in range(len(lines))]

    def mean(i: int, j: int) -> float | None:
        found = values.get(lines[i][1][j])
        if not found:
            return None
        value = statistics.fmean(found)
        return -value if "mCE" in directions[i][j] else value

    best = set()
    for contest in contests:
        means = {place: mean(*place) for place in contest}
        known = [value for value in means.values() if value is not None]
        if len(known) > 1:
            best |= {(i, j + 1) for (i, j), value in means.items() if value == max(known)}
    rows = [[name, *(_spread(values.get(key)) for key in keys)] for name, keys in lines]
    seeds = {len(members) for members in groups.values()}
    note = f"± is the standard deviation over up to {max(seeds)} seeds." if max(seeds) > 1 else ""
    return Table(title, columns, rows, best, note)


def _figures(results: Mapping[str, Any], several: bool) -> dict[str, float]:
    figures = {}
    if "accuracy" in reading.clean(results):
        figures["SA"] = reading.clean(results)["accuracy"]
    for name, scores in reading.benchmark_scores(results).items():
        for title, value in scores.items():
            shown = name if title == "accuracy" else f"{title} {name}" if several else title
            figures[shown] = value
    return figures


def _spread(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    mean = percent(statistics.fmean(values))
    return f"{mean} ±{percent(statistics.stdev(values))}" if len(values) > 1 else mean
