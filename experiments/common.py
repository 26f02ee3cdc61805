"""What every script does: read the command line, run, print the table beside the paper's."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from augmax_jax.report import tables
from augmax_jax.runtime import console, files, host_memory
from experiments import grid as grids
from experiments import options as reading
from experiments import paper, study
from experiments.recipes import Experiment

# The runs as they are -> the table without its title; it may write files of its own.
Draw = Callable[[study.Study], tables.Table]


def run_grid(
    name: str, doc: str | None, title: str, grid: grids.Grid, arguments: Sequence[str] | None = None
) -> int:
    """The whole script of a table that is a grid of figures.

    Args:
        name: name of the script and of the paper's table, "table2".
        doc: the script's docstring.
        title: title of the table.
        grid: the runs, and the place of their figures in the table.
        arguments: arguments of the command line; None: those of the process.

    Returns:
        The exit status: 0; 1 if a run failed; 2 for a bad command line; 130 after Ctrl-C.
    """
    return run_script(name, doc, title, grid.experiments, grid.table, arguments=arguments)


def run_script(
    name: str,
    doc: str | None,
    title: str,
    experiments: Sequence[Experiment],
    draw: Draw,
    *,
    perform: Callable[[study.Study], None] = study.Study.run,
    look: study.Look | None = None,
    flags: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    arguments: Sequence[str] | None = None,
) -> int:
    """The whole script of any table or figure.

    Args:
        name: name of the script.
        doc: its docstring.
        title: title of the table.
        experiments: the runs.
        draw: makes the table.
        perform: does the work.
        look: gives the outcome of a run; None: `study.standing`.
        flags: adds the script's own flags.
        arguments: arguments of the command line; None: those of the process.

    Returns:
        The exit status, as for `run_grid`.
    """
    parser = reading.parser(doc or "", name)
    flags(parser)
    given = parser.parse_args(arguments)
    console.prepare()
    try:
        options = reading.read(given, experiments, arguments, name)
        found = study.Study(experiments, options, look)
        if given.list:
            print(tables.to_text(grids.describe(options, found)))
            return 0
        if not options.table_only:
            if options.smoke:
                console.prepare(logging.WARNING)
            host_memory.keep_freed_memory()
            perform(found)
        table = draw(found)
        table = grids.finish(table, title, paper.source(name), found)
        print(f"\n{tables.to_text(table)}\n\nWritten to {write(name, table, found)}")
    except BrokenPipeError:
        return console.nobody_reads()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if found.interrupted:
        print("Interrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    return 1 if found.failed else 0


def write(name: str, table: tables.Table, found: study.Study) -> str:
    """Writes the table as text and as JSON beside the runs, and returns the text's path."""
    options = found.options
    options.root.mkdir(parents=True, exist_ok=True)
    path = options.root / f"{name}.txt"
    files.write_text(path, tables.to_text(table) + "\n")
    record = {
        "smoke_not_a_result": options.smoke,
        "not_the_papers_setting": options.changed(),
        "command": options.command,
        "title": table.title,
        "columns": table.columns,
        "rows": table.rows,
        "note": table.note,
        "runs": {n: {"state": o.state, "note": o.note} for n, o in found.outcomes().items()},
    }
    files.write_json(path.with_suffix(".json"), record)
    return str(path)
