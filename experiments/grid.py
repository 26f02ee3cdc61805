"""Tables that stand beside the paper's: which run's which figure goes where."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from augmax_jax.report import runs as reading
from augmax_jax.report.tables import Table, percent
from experiments import paper, smoke, study
from experiments.options import Options
from experiments.recipes import Experiment

ABSENT = "–"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One figure of a table.

    Attributes:
        runs: the runs of the figure; of several, mean and standard deviation are shown.
        figure: a key of `FIGURES`.
        paper: the paper's text for the figure, "" if it has none.
    """

    runs: tuple[Experiment, ...]
    figure: str
    paper: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table of figures of runs.

    Attributes:
        columns: titles of the columns, without the column of the rows' names.
        rows: name -> cells, as many as columns.
        remarks: lines below the table.
    """

    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Cell, ...]]
    remarks: tuple[str, ...] = ()

    @property
    def experiments(self) -> list[Experiment]:
        """All runs of the table, each once, in order."""
        cells = (cell for row in self.rows.values() for cell in row)
        return list(dict.fromkeys(run for cell in cells for run in cell.runs))

    def table(self, found: "study.Study") -> Table:
        """The table at present: the measured figures, then the paper's."""
        rows: dict[str, tuple[list[str], list[str]]] = {}
        for name, cells in self.rows.items():
            ours = [spread(_values(found, cell), len(cell.runs)) for cell in cells]
            rows[name] = ours, [cell.paper or ABSENT for cell in cells]
        table = beside(self.columns, rows, smoke_run=found.options.smoke)
        several = max(len(cell.runs) for row in self.rows.values() for cell in row)
        mark = "Of a real run: " if found.options.smoke else ""
        notes = [f"{mark}{remark}" for remark in self.remarks]
        if several > 1:
            notes.append(
                f"± is the standard deviation over {several} seeds; [k]: only k of them are there."
            )
        table.note = "\n".join(notes)
        return table


def by_row(
    runs: Mapping[str, Experiment],
    figures: Sequence[str],
    table: str = "",
    *,
    remarks: Iterable[str] = (),
) -> Grid:
    """A grid with a row per run and a column per figure.

    Args:
        runs: name of the row, as the paper's table has it under "method" -> the run.
        figures: keys of `FIGURES`; the columns of the paper's table.
        table: name of the paper's table, such as "table4"; empty: there is none.
        remarks: lines below the table.
    """
    printed = {row["method"]: row for row in paper.rows(table)} if table else {}
    return Grid(
        tuple(f"{figure} %" for figure in figures),
        {
            name: tuple(
                Cell((run,), figure, printed[name][figure] if table else "") for figure in figures
            )
            for name, run in runs.items()
        },
        tuple(remarks),
    )


def by_network(
    runs: Mapping[tuple[str, str], Experiment], table: str, *, remarks: Iterable[str] = ()
) -> Grid:
    """A grid with a row per network and figure (SA, RA) and a column per method.

    Args:
        runs: (network, method) as the paper's table has them -> the run.
        table: name of the paper's table, such as "table2".
        remarks: lines below the table.
    """
    networks = list(dict.fromkeys(network for network, _ in runs))
    methods = list(dict.fromkeys(method for _, method in runs))
    printed = {(row["model"], row["metric"]): row for row in paper.rows(table)}
    return Grid(
        tuple(methods),
        {
            f"{network} {figure} %": tuple(
                Cell((runs[network, method],), figure, printed[network, figure][method])
                for method in methods
            )
            for network in networks
            for figure in ("SA", "RA")
        },
        tuple(remarks),
    )


def beside(
    columns: Sequence[str],
    rows: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    *,
    smoke_run: bool,
    printed: Sequence[str] = (),
) -> Table:
    """A table of measured cells, with the paper's cells in columns of their own.

    Args:
        columns: titles of the columns.
        rows: name -> (measured cells, the paper's cells).
        smoke_run: whether the measured cells are of a smoke run and mean nothing.
        printed: titles of the paper's columns; empty: those of `columns`.
    """
    theirs = [f"paper: {title}" for title in printed or columns]
    mark = "smoke: " if smoke_run else ""
    return Table(
        "",
        ["", *(f"{mark}{title}" for title in columns), "│", *theirs],
        [[name, *ours, "│", *said] for name, (ours, said) in rows.items()],
    )


def spread(values: Sequence[float], wanted: int = 1) -> str:
    """Fractions as percentages: one value, or mean ± sample standard deviation of several.

    Args:
        values: the fractions.
        wanted: how many there should be; if there are fewer, the text has their number.
    """
    if not values:
        return ABSENT
    text = percent(statistics.fmean(values))
    if len(values) > 1:
        text += f" ±{percent(statistics.stdev(values))}"
    return text if len(values) == wanted else f"{text} [{len(values)}]"


def _values(found: "study.Study", cell: Cell) -> list[float]:
    values = [figure(found.outcome(run).results, cell.figure) for run in cell.runs]
    return [value for value in values if value is not None]


def _corruptions(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """Reads a mean over the corruptions of a run's -C set."""
    return lambda results: next(
        (b[name] for b in (results.get("benchmarks") or {}).values() if b.get(name) is not None),
        None,
    )


def _shift(name: str) -> Callable[[Mapping[str, Any]], Any]:
    """Reads the accuracy on a set without corruptions."""
    return lambda results: (results.get("benchmarks") or {}).get(name, {}).get("accuracy")


# The figures of a run that a table can show, from its `results.json`, as fractions.
FIGURES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "SA": lambda results: reading.clean(results).get("accuracy"),
    "RA": _corruptions("ra"),
    "mCE": _corruptions("mce"),
    "RA without noise": _corruptions("ra_noise_free"),
    "mCE without noise": _corruptions("mce_noise_free"),
    "CIFAR-10.1": _shift("cifar10_1_v4"),
    "CIFAR-10-STA": _shift("spatial"),
}


def figure(results: Mapping[str, Any], name: str) -> float | None:
    """One figure of a run, None if it was not measured.

    Args:
        results: the run's `results.json`.
        name: a key of `FIGURES`.
    """
    return FIGURES[name](results)


def finish(table: Table, title: str, source: str, found: "study.Study") -> Table:
    """Adds warnings, the title and the source of the paper's figures to a table.

    Args:
        table: table of a script; its note stays.
        title: title of the table.
        source: source of the paper's figures.
        found: the runs.
    """
    options = found.options
    heads = [f"!!! {smoke.WARNING}"] if options.smoke else []
    if changed := options.changed():
        heads.append(f"!!! NOT THE PAPER'S SETTING: {', '.join(changed)}")
    trained = [f"{dataset} read from {name}" for dataset, name in options.data.items()]
    printed = (
        f"Columns 'paper': {source}." if any(c.startswith("paper: ") for c in table.columns) else ""
    )
    notes = [*trained, table.note, printed, *troubles(found.outcomes())]
    notes += heads
    return dataclasses.replace(
        table, title="\n".join([*heads, title]), note="\n".join(filter(None, notes))
    )


def troubles(outcomes: Mapping[str, "study.Outcome"]) -> list[str]:
    """Lines that say which runs are missing and why; runs with the same reason share a line."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for name, outcome in outcomes.items():
        if outcome.state != study.DONE:
            by_reason.setdefault((outcome.state, outcome.note), []).append(name)
    lines = [
        f"{state}: {', '.join(names)}" + "".join(f"\n    {line}" for line in note.splitlines())
        for (state, note), names in by_reason.items()
    ]
    if any(state == study.UNMEASURED for state, _ in by_reason):
        lines.append(
            "    --benchmarks DIR says where published sets lie; --corrupt corrupts the test split."
        )
    return lines


def describe(options: Options, found: "study.Study") -> Table:
    """The runs and their states, for `--list`."""
    rows = []
    for name, experiment in found.experiments.items():
        config = found.configs[name]
        rows.append(
            [
                name,
                config.method,
                config.model.norm,
                config.model.name,
                config.data.name,
                f"{config.epochs:g}",
                found.outcome(experiment).state,
            ]
        )
    columns = ["run", "method", "norm", "network", "data", "epochs", "state"]
    return Table(f"{len(rows)} runs in {options.root}", columns, rows)
