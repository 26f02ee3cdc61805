"""`python -m experiments.cpu_study`: prepares the images, does the runs, times, draws."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from augmax_jax import config as configs
from augmax_jax.report import tables as texts
from augmax_jax.runtime import console, files, host_memory, paths
from augmax_jax.training.commands import train_and_evaluate
from experiments import grid, study
from experiments.cpu_study import (
    beyond,
    beyond_tables,
    figures,
    images,
    record,
    setting,
    tables,
    timing,
    usage,
)
from experiments.recipes import Experiment

logger = logging.getLogger(__name__)

STUDY, BEYOND = LISTS = ("study", "beyond")
PAGES = {STUDY: Path("runs") / figures.PAGE, BEYOND: Path("runs") / figures.PAGE_BEYOND}
RESULTS = Path(__file__).parent.parent / "results" / "cpu_study"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m experiments.cpu_study",
        description="A study of five methods on real images, at the size of two CPU cores.",
        epilog="docs/experiments.md says what it needs and costs.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument(
        "--results", type=Path, default=RESULTS, help="folder of the JSON files (default: ours)"
    )
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument(
        "--list", choices=LISTS, default=STUDY, help="the runs: the study's, or variants of AugMax"
    )
    work = argparse.ArgumentParser(add_help=False)
    work.add_argument("--workdir", type=Path, required=True, help="folder of images and runs")
    work.add_argument(
        "--data",
        type=Path,
        default=os.environ.get(images.DATA),
        help="CIFAR-10 as train/<class>/* and test/<class>/* "
        f"(default: the environment variable {images.DATA})",
    )
    size = images.Size()
    work.add_argument("--train", type=int, default=size.train, help="training images of a class")
    work.add_argument("--every", type=int, default=size.every, help="one test image of so many")
    work.add_argument("--side", type=int, default=size.side, help="of the images, in pixels")
    work.add_argument("--only", action="append", default=[], metavar="NAME", help="runs (* and ?)")
    work.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="change a setting"
    )
    add = commands.add_parser
    made_first = add(
        "prepare", parents=[own, work], help="make the images: table, benchmark, its fifth"
    )
    made_first.add_argument(
        "--also",
        default="",
        metavar="NAME",
        help="keep the digests of pixels that this processor rounds otherwise under this name, "
        "so that the runs of this machine count with those that are there",
    )
    add(
        "run",
        parents=[own, which, work],
        help="do the runs that are not done; go on with interrupted",
    )
    add("record", parents=[own, which, work], help="write the JSON of every finished run anew")
    add("list", parents=[own, which, work], help="list the runs and their states")
    timed = add("time", parents=[own, work], help="time steps in turns, on a quiet machine")
    timed.add_argument("--steps", type=int, default=30, help="steps of each method")
    add("table", parents=[own, which], help="print the tables of what is finished, as Markdown")
    drawn = add("figures", parents=[own, which], help="draw what is finished as one HTML page")
    drawn.add_argument(
        "--out", type=Path, help=f"default: {PAGES[STUDY]}, of the variants {PAGES[BEYOND]}"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    given = parser().parse_args(arguments)
    console.prepare()
    try:
        status = COMMANDS[given.command](given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        return console.nobody_reads()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def prepare(given: argparse.Namespace) -> int:
    """Makes the images."""
    _images(given)
    return 0


def run(given: argparse.Namespace) -> int:
    """Does the runs, and writes the JSON of each as it ends."""
    digest, found = _prepared(given)
    host_memory.keep_freed_memory()
    directories = {found.directory(e): e for e in found.experiments.values()}

    def execute(config, directory: Path) -> None:
        with usage.recorded(directory):
            if config.optimizer.ema:
                beyond.train_and_measure(config, directory)
            else:
                train_and_evaluate(config, directory)
        path = _record(given, directories[directory], directory, digest)
        print(f"written: {path}", flush=True)

    found.run(execute)
    print("\n".join(grid.troubles(found.outcomes())) or "all runs are done", flush=True)
    if found.interrupted:
        print("Interrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    return 1 if found.failed else 0


def rewrite(given: argparse.Namespace) -> int:
    """Writes the JSON of every finished run anew, from its directory."""
    digest, found = _prepared(given)
    for experiment in found.experiments.values():
        state = found.outcome(experiment).state
        if state == study.DONE:
            directory = found.directory(experiment)
            print(_record(given, experiment, directory, digest))
        else:
            print(f"{setting.name(experiment)}: {state}")
    return 0


def show(given: argparse.Namespace) -> int:
    """Lists the runs and their states."""
    found = _study(given)
    print(texts.to_text(grid.describe(found.options, found)))
    return 0


def take_time(given: argparse.Namespace) -> int:
    """Times the methods in turns, and writes `time.json`."""
    _images(given)
    host_memory.keep_freed_memory()
    measured = timing.measure(_study(given), given.steps)
    if not measured["quiet"]:
        logger.warning(
            "the machine was not quiet (load %s before the first step): the ratios are rough",
            measured["load_before"],
        )
    given.results.mkdir(parents=True, exist_ok=True)
    files.write_json(given.results / tables.TIME, measured)
    print(tables.times(tables.read(given.results), tables.runs(tables.read(given.results))))
    return 0


def table(given: argparse.Namespace) -> int:
    """Prints the tables."""
    found = tables.read(given.results)
    if given.list == BEYOND:
        print(beyond_tables.table(found, beyond_tables.read(given.results)))
    else:
        print(tables.table(found))
    return 0


def draw(given: argparse.Namespace) -> int:
    """Draws the charts."""
    found, path = tables.read(given.results), paths.expand(given.out or PAGES[given.list])
    if given.list == BEYOND:
        print(figures.write_beyond(beyond_tables.read(given.results), found, path))
    else:
        print(figures.write(found, path))
    return 0


def _record(
    given: argparse.Namespace, experiment: Experiment, directory: Path, digest: str
) -> Path:
    """Writes the JSON of a finished run."""
    ways = beyond.ways(directory)
    more = {"ways": ways} if ways else None
    return record.write(experiment, directory, _folder(given), digest, list(given.set), more)


def _folder(given: argparse.Namespace) -> Path:
    """The folder of the JSON files of the list's runs."""
    return given.results / beyond.FOLDER if given.list == BEYOND else given.results


def _place(given: argparse.Namespace) -> images.Place:
    if given.data is None:
        raise ValueError(
            f"--data is missing, and the environment variable {images.DATA} is not set: one of "
            "them names the folder of CIFAR-10 images"
        )
    return images.Place(paths.expand(given.data), paths.expand(given.workdir))


def _images(given: argparse.Namespace) -> str:
    """Makes the images, and returns the digest of them all."""
    size = images.Size(given.train, given.every, given.side)
    facts = images.prepare(_place(given), size, progress=sys.stderr.isatty())
    images.keep(facts, given.results, getattr(given, "also", ""))
    return images.identity(facts)


def _prepared(given: argparse.Namespace) -> tuple[str, study.Study]:
    """The digest of the images, which are made if they are missing, and the study.

    Raises:
        ValueError: the folder of results has those of another study.
    """
    found = _study(given)
    digest = _images(given)
    experiment = next(iter(found.experiments.values()))
    changed = [name for name, _ in experiment.changes]
    settings = setting.digest(configs.to_dict(found.config(experiment)), changed)
    for folder in dict.fromkeys((given.results, _folder(given))):
        record.check(folder, settings, images.same(digest, given.results))
    return digest, found


def _study(given: argparse.Namespace) -> study.Study:
    place = _place(given)
    chosen = getattr(given, "list", STUDY)  # not every command has a choice
    changes = []
    for text in given.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set must be NAME=VALUE, got {text!r}")
        changes.append((name.removeprefix("config."), value))
    if given.side != images.Size().side:
        changes.append(("data.image_size", str(given.side)))
    options = setting.options(
        place.data,
        place.workdir,
        table=place.table,
        benchmark=place.fifth,
        changes=changes,
        only=given.only,
        leaving=beyond.LEAVING if chosen == BEYOND else (),
    )
    runs = beyond.experiments() if chosen == BEYOND else setting.experiments()
    return study.Study(runs, options)


COMMANDS = {
    "prepare": prepare,
    "run": run,
    "record": rewrite,
    "list": show,
    "time": take_time,
    "table": table,
    "figures": draw,
}

if __name__ == "__main__":
    sys.exit(main())
