"""Writes the tables of README and docs/ from the committed JSON files.

    python -m experiments.tables            # into the pages
    python -m experiments.tables --check    # says which tables differ, and changes nothing

A page has a table between `<!-- table: NAME -->` and `<!-- end -->`; `TABLES` has the names.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from augmax_jax.evaluation import baselines
from augmax_jax.evaluation.metrics import interval
from augmax_jax.report import runs as reading
from augmax_jax.runtime import files
from benchmarks import tables as benchmarks
from experiments import demo
from experiments.cpu_study import beyond_tables
from experiments.cpu_study import tables as study

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
MARKED = re.compile(
    r"(?P<start><!-- table: (?P<name>\w+) -->\n)(?P<table>.*?)(?P<end>^<!-- end -->$)",
    re.MULTILINE | re.DOTALL,
)
Rows = list[list[str]]


def pages() -> list[Path]:
    """The pages that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def read_all(*patterns: str) -> list[dict[str, Any]]:
    """The committed results that match patterns of paths, in the order of their names."""
    found = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    return [json.loads(path.read_text()) for path in found]


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation of fractions, in percent."""
    mean = 100 * statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {100 * statistics.stdev(values):.2f}"


def _numbers(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values))


def digits() -> str:
    """Runs of `configs/digits.py`: a row per method and instruction set, spread over seeds."""
    found = read_all("configs/baselines/digits_*.json", "experiments/results/digits/*.json")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for results in found:
        key = (reading.method_label(results), demo.instructions(results))
        groups.setdefault(key, []).append(results)
    rows = [["digits, 359 test images", "instructions", "seeds", "SA %", "RA %", "95% interval"]]
    for (label, isa), members in sorted(groups.items(), reverse=True):
        robust = [run["benchmarks"]["corrupted"]["ra"] for run in members]
        clean = [reading.clean(run)["accuracy"] for run in members]
        seeds = _numbers(run["seed"] for run in members)
        count = reading.clean(members[0])["count"]
        low, high = (f"{100 * end:.1f}" for end in interval(statistics.fmean(robust), count))
        rows.append([label, isa, seeds, spread(clean), spread(robust), f"{low} to {high}"])
    hardware = " and ".join(dict.fromkeys(run["hardware"] for run in found))
    commands = dict.fromkeys(re.sub(r"seed=\d+", "seed=SEED", run["made_by"]) for run in found)
    made = " and ".join(f"`{command}`" for command in commands)
    return (
        markdown(rows) + "\nMean ± standard deviation over seeds; the interval is that of the mean "
        f"RA by the number of test images. Made on {hardware} by {made}.\n"
    )


STUDY = "experiments/results/cpu_study"
NO_RUN = "No run is finished yet.\n"


def cpu_study_accuracies() -> str:
    """The accuracies of the study at the size of two CPU cores."""
    return study.accuracies(study.runs(study.read(ROOT / STUDY))) or NO_RUN


def cpu_study() -> str:
    """The same study in all of its own tables."""
    results = study.read(ROOT / STUDY)
    found = study.runs(results)
    if not found:
        return NO_RUN
    records = [run for by_seed in found.values() for run in by_seed.values()]
    sessions = [s for run in records for s in run["provenance"]["trained"]]
    devices = _numbers(dict.fromkeys(session["device"] for session in sessions))
    jax = _numbers(dict.fromkeys(session["versions"]["jax"] for session in sessions))
    command = "`python -m experiments.cpu_study run --data DIR --workdir runs/cpu_study`"
    note = f"Mean ± standard deviation over seeds. Made on {devices} with JAX {jax} by {command}.\n"
    return study.table(results) + "\n" + note


def cpu_study_beyond() -> str:
    """The variants of AugMax-DuBIN at the study's size."""
    own, results = study.read(ROOT / STUDY), beyond_tables.read(ROOT / STUDY)
    if not (results or beyond_tables.reference(own)):
        return NO_RUN
    text = beyond_tables.table(own, results)
    command = (
        "python -m experiments.cpu_study run --list beyond --data DIR --workdir runs/cpu_study"
    )
    return f"{text}\nMade by `{command}`.\n"


def published_baselines() -> str:
    """The classifiers that mCE is relative to, error by corruption."""
    known = [baselines.BASELINES[name] for name in ("alexnet", "tiny_imagenet_resnet18")]
    rows = [["corruption", "AlexNet, ImageNet-C", "ResNet-18, Tiny ImageNet-C"]]
    places = (6, 4)
    for corruption in known[0].errors:
        errors = [baseline.mean_error(corruption) for baseline in known]
        rows.append([corruption, *(f"{e:.{n}f}" for e, n in zip(errors, places, strict=True))])
    rows.append(["clean", *(f"{baseline.clean_error:.5g}" for baseline in known)])
    return markdown(rows)


TABLES: dict[str, Callable[[], str]] = {
    "digits": digits,
    "cpu_study": cpu_study,
    "cpu_study_accuracies": cpu_study_accuracies,
    "cpu_study_beyond": cpu_study_beyond,
    "baselines": published_baselines,
    **{
        name: lambda rows=rows: markdown(rows())  # type: ignore[misc]
        for name, rows in benchmarks.TABLES.items()
    },
}


def markdown(rows: Rows) -> str:
    """A table in Markdown; the first row is its head."""
    lines = [" | ".join(row) for row in rows]
    lines.insert(1, "|".join(["---"] * len(rows[0])))
    return "".join(f"| {line} |\n" if set(line) - {"-", "|"} else f"|{line}|\n" for line in lines)


def fill(text: str) -> str:
    """A page with its tables made anew.

    Raises:
        ValueError: it names a table that is not there.
    """

    def table(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in TABLES:
            raise ValueError(f"there is no table {name!r}: {', '.join(TABLES)}")
        return f"{found['start']}\n{TABLES[name]()}\n{found['end']}"

    return MARKED.sub(table, text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tables",
        description="Write the tables of README and docs/ from the committed JSON files.",
    )
    parser.add_argument(
        "--check", action="store_true", help="say which pages differ, and change nothing"
    )
    given = parser.parse_args(arguments)
    stale = []
    for page in pages():
        before = page.read_text()
        after = fill(before)
        if after != before:
            stale.append(page)
            if not given.check:
                files.write_text(page, after)
    verb = "differs from the JSON files" if given.check else "written"
    print("\n".join(f"{page.relative_to(ROOT)}: {verb}" for page in stale) or "nothing to change")
    return 1 if stale and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
