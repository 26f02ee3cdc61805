"""Tables, for the terminal and for HTML, laid out as the paper's."""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax.report import page, seeds
from augmax_jax.report import runs as reading
from augmax_jax.report.page import Markup
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


def to_html(table: Table) -> Markup:
    """The table for a page; emphasised cells are bold."""
    return page.fill("table", table=table)


def summary(results: Mapping[str, Any]) -> Table:
    """SA, RA and mCE of one run."""
    rows = []
    split = ""
    for kind, scores in (results.get("clean") or {}).items():
        split = scores.get("split", "")
        which = "average of the weights" if kind == "average" else f"{kind} checkpoint"
        where = which + (f", step {scores['step']}" if scores.get("step") else "")
        title = "clean" if reading.is_given(results) else f"clean ({where})"
        rows.append([title, percent(scores.get("accuracy")), "", ""])
    for name, found in (results.get("benchmarks") or {}).items():
        scores = reading.benchmark_scores(results).get(name, {})
        rows.append(
            [
                f"{name} ({found['source']})" if found.get("source") else name,
                percent(scores["accuracy"]) if "accuracy" in scores else "",
                percent(scores["RA"]) + _in_brackets(found) if "RA" in scores else "",
                percent(scores["mCE"]) if "mCE" in scores else "",
            ]
        )
        if beside := found.get("reference"):
            runs = f", mean of {len(beside['ra'])}" if len(beside["ra"]) > 1 else ""
            sa = percent(statistics.fmean(beside["sa"])) if beside["sa"] else ""
            ra = percent(statistics.fmean(beside["ra"])) + _in_brackets(beside)
            rows.append([f"  baseline: {beside['name']}{runs}", sa, ra, ""])
    title = reading.network_label(results)
    if results.get("dataset"):
        title += f", {results['dataset']}" + (f" ({split})" if split else "")
    columns = ["", "SA %", "RA %", "mCE %"]
    keep = [j for j in range(4) if j < 2 or any(row[j] for row in rows)]
    notes = []
    if any(found.get("ra_interval") for found in (results.get("benchmarks") or {}).values()):
        notes.append("In brackets: 95% interval by the number of test images.")
    baselines = {b.get("baseline") for b in (results.get("benchmarks") or {}).values()} - {None}
    if baselines:
        notes.append(f"mCE is relative to {', '.join(sorted(baselines))}.")
    notes += [
        f"{found['note']}."
        for found in (results.get("benchmarks") or {}).values()
        if found.get("note")
    ]
    notes += [
        f"{name} has no mCE: {found['no_mce']}."
        for name, found in (results.get("benchmarks") or {}).items()
        if found.get("no_mce")
    ]
    notes += [f"{n} was not measured: {why}" for n, why in not_measured(results).items()]
    if results.get("select_on") == "test":
        notes.append("The best checkpoint was chosen on the test split (the literature's habit).")
    return Table(
        title,
        [columns[j] for j in keep],
        [[r[j] for j in keep] for r in rows],
        note="\n".join(notes),
    )


def _in_brackets(found: Mapping[str, Any]) -> str:
    return f" ({interval(found)})" if interval(found) else ""


def interval(found: Mapping[str, Any]) -> str:
    """The interval of a benchmark's RA, such as "95.5 to 98.8"; empty if it is not known."""
    if not found.get("ra_interval"):
        return ""
    low, high = (percent(value, 1) for value in found["ra_interval"])
    return f"{low} to {high}"


def not_measured(results: Mapping[str, Any]) -> dict[str, str]:
    """Benchmark -> why it could not be measured."""
    return dict(results.get("not_measured") or {})


def comparison(runs: Sequence[SavedRun]) -> list[Table]:
    """SA, RA and mCE of several runs side by side, a table per set of images.

    One network: a row per method (the paper's Tables 4 and 5). Several: a row per network
    and figure, a column per method (Tables 2 and 3). Runs that differ only by seed become
    one entry, mean ± sample standard deviation and their number.
    """
    sets = seeds.together(runs, seeds.same_images)
    names = Counter(members[0].dataset for members in sets)
    return [_compare(_set_title(m[0], several=names[m[0].dataset] > 1), m) for m in sets]


def spread(runs: Sequence[SavedRun]) -> Table | None:
    """SA, RA and mCE of the seeds of one setting, and their spread.

    Returns:
        None for fewer than two runs.
    """
    if len(runs) < 2:
        return None
    several = len({b for run in runs for b in reading.benchmark_scores(run.results)}) > 1
    found = [_figures(run.results, several) for run in runs]
    figures = list(dict.fromkeys(name for row in found for name in row))
    rows = [
        [f"seed {run.seed} ({run.name})", *(percent(row.get(name)) for name in figures)]
        for run, row in zip(runs, found, strict=True)
    ]
    known = [[row[name] for row in found if name in row] for name in figures]
    rows.append(["mean ± standard deviation", *map(_spread, known)])
    return Table("Seeds of this setting", ["", *(f"{name} %" for name in figures)], rows)


def _set_title(run: SavedRun, *, several: bool) -> str:
    """The data set's name, and what tells it from others of that name."""
    held = run.results.get("test_set") or {}
    details = [f"{held['count']:,} images"] if held.get("count") else []
    details += [f"labels {held['labels']}"] if held.get("labels") else []
    details += [f"pixels {held['images']}"] if held.get("images") else []
    return f"{run.dataset} ({', '.join(details)})" if several and details else run.dataset


def _entries(runs: Sequence[SavedRun]) -> dict[tuple[str, str], list[SavedRun]]:
    """Network and method, told apart by the runs' names where need be -> seeds of one setting."""
    groups = seeds.together(runs, seeds.same_setting)
    count = Counter((members[0].model, members[0].method) for members in groups)
    entries = {}
    for members in groups:
        model, method = members[0].model, members[0].method
        if count[model, method] > 1:
            method = f"{method} ({', '.join(run.name for run in members)})"
        entries[model, method] = members
    return entries


def _compare(dataset: str, runs: list[SavedRun]) -> Table:
    groups = _entries(runs)
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
        given = all(run.given for run in runs)
        columns = ["network" if given else "method", *(f"{figure} %" for figure in figures)]
        title = dataset if given else f"{dataset}, {models[0]}"
    else:
        lines = [
            (f"{model}  {figure} %", [(model, method, figure) for method in methods])
            for model in models
            for figure in figures
        ]
        columns = ["", *methods]
        title = dataset
    rows = [[name, *(_spread(values.get(key)) for key in keys)] for name, keys in lines]
    most = max(len(members) for members in groups.values())
    note = "± is the sample standard deviation over n seeds of one setting." if most > 1 else ""
    best = _best([[values.get(key) for key in keys] for _, keys in lines],
                 [[figure for _, _, figure in keys] for _, keys in lines],
                 by_column=len(models) == 1)  # fmt: skip
    return Table(title, columns, rows, best, note)


def _best(
    values: list[list[list[float] | None]], figures: list[list[str]], *, by_column: bool
) -> set[tuple[int, int]]:
    """The cells to emphasise: the best of each column, or of each row, if there are several."""
    means = {
        (i, j + 1): -statistics.fmean(found) if "mCE" in figures[i][j] else statistics.fmean(found)
        for i, row in enumerate(values)
        for j, found in enumerate(row)
        if found
    }
    best = set()
    for contest in {place[by_column] for place in means}:
        known = {place: mean for place, mean in means.items() if place[by_column] == contest}
        if len(known) > 1:
            best |= {place for place, mean in known.items() if mean == max(known.values())}
    return best


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
    if len(values) < 2:
        return mean
    return f"{mean} ±{percent(statistics.stdev(values))} (n={len(values)})"
