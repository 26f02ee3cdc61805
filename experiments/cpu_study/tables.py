"""The tables of the study, from its JSON files, as Markdown."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from augmax_jax.evaluation import metrics
from augmax_jax.runtime import files
from experiments import paper
from experiments.cpu_study import images, setting

TIME = "time.json"
ABSENT = "–"
LEVEL = 0.95
# Differences that the paper speaks about: (row, the row that it is compared with).
PAIRS = (
    ("AugMix-BN", "Normal-BN"),
    ("AugMax-DuBIN", "Normal-BN"),
    ("AugMix-DuBIN", "AugMix-BN"),
    ("AugMax-DuBIN", "AugMix-BN"),
    ("AugMax-DuBIN", "AugMix-DuBIN"),
    ("AugMax-DuBIN", "AugMax-DuBN"),
)

Results = Mapping[str, Mapping[str, Any]]  # stem of a file -> what it holds
Found = Mapping[str, Mapping[int, Mapping[str, Any]]]  # row -> seed -> the record of the run

WANTED = dict.fromkeys(setting.METHODS, setting.SEEDS)  # row -> its seeds


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The JSON files of a folder of results, by stem; empty if there is no folder.

    Raises:
        ValueError: a file is damaged.
    """
    return {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}


def runs(results: Results) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Row -> seed -> the record of the run, for the runs that are there."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for title, (method, norm) in setting.METHODS.items():
        for seed in setting.SEEDS:
            record = results.get(f"{method}-{norm}-s{seed}")
            if record is not None:
                found.setdefault(title, {})[seed] = record
    return found


def table(results: Results) -> str:
    """All tables of the study, one below the other, with what is missing.

    Args:
        results: from `read`.

    Raises:
        ValueError: the runs have different settings or images, so that they do not compare.
    """
    found = runs(results)
    members = [run for by_seed in found.values() for run in by_seed.values()]
    check_comparable(members, results)
    parts = [
        accuracies(found),
        differences(found),
        times(results, found),
        rounded(found, results),
        missing(WANTED, found),
    ]
    return "\n".join(part for part in parts if part)


def check_comparable(members: Iterable[Mapping[str, Any]], results: Results) -> None:
    """Raises ValueError if runs have different settings or images, so that they do not compare.

    Args:
        members: the records of the runs.
        results: from `read`: it says which sets of images count as the same.
    """
    members = list(members)
    same = images.rounded(results).keys()
    for name, what in (("settings_digest", "settings"), ("images_digest", "images")):
        digests = {run[name] for run in members}
        if len(digests) > 1 and not (what == "images" and digests <= same):
            raise ValueError(f"the runs have different {what}, so they make no table")


def rounded(found: Found, results: Results) -> str:
    """A line that says which runs were measured on pixels that another processor rounded."""
    named = images.rounded(results)
    of: dict[str, dict[str, list[int]]] = {}
    for title, by_seed in found.items():
        for seed, run in by_seed.items():
            corruptions = named.get(run["images_digest"])
            if corruptions:
                of.setdefault(", ".join(corruptions), {}).setdefault(title, []).append(seed)
    return "".join(
        f"Another processor made the images of {_with_seeds(members)}: it rounds pixels of {names} "
        "otherwise; those of the other corruptions are equal to the byte.\n"
        for names, members in of.items()
    )


def accuracies(found: Found) -> str:
    """SA, RA, their gap and the accuracy on each family, mean ± standard deviation over seeds."""
    families = ("noise", "blur", "weather", "digital")
    columns = {"SA": "SA %", "RA": "RA %", "gap": "SA − RA"} | {f: f"{f} %" for f in families}
    rows = [["method", "seeds", *columns.values()]]
    for title, by_seed in found.items():
        members = [figures(run) for run in by_seed.values()]
        seeds = ", ".join(map(str, by_seed))
        cells = [spread([m[name] for m in members]) for name in columns]
        rows.append([title, seeds, *cells])
    return markdown(rows) if found else ""


def figures(run: Mapping[str, Any]) -> dict[str, float]:
    """SA, RA, what corruption costs, and the accuracy on each family of them, fractions."""
    errors = {c: [1 - a for a in by.values()] for c, by in run["accuracy"].items()}
    sa, ra = run["sa"], run["ra"]
    return {"SA": sa, "RA": ra, "gap": sa - ra, **metrics.accuracy_by_family(errors)}


def differences(found: Found) -> str:
    """Differences between rows of equal seeds, in percentage points, with intervals."""
    rows = [["difference", "seeds", "SA, points", "RA, points", "paper: RA, points"]]
    for one, other in PAIRS:
        common = sorted(found.get(one, {}).keys() & found.get(other, {}).keys())
        if common:
            cells = [
                interval([found[one][s][name] - found[other][s][name] for s in common])
                for name in ("sa", "ra")
            ]
            rows.append(
                [f"{one} − {other}", ", ".join(map(str, common)), *cells, _paper(one, other)]
            )
    if len(rows) == 1:
        return ""
    note = (
        "Seeds are paired: they hold out the same images and visit them in the same order. "
        f"Intervals: {LEVEL:.0%}, Student's t over seeds. Paper: WRN-40-2 on CIFAR-10-C, "
        "Table 8 and, for Normal, Table 2."
    )
    return markdown(rows) + f"\n{note}\n"


def interval(values: Sequence[float]) -> str:
    """Mean difference of fractions in points, with Student's interval if there are several."""
    mean = 100 * statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:+.2f}"
    error = 100 * statistics.stdev(values) / len(values) ** 0.5
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}]"


def _paper(one: str, other: str) -> str:
    """The paper's difference of RA on CIFAR-10-C."""
    printed = {row["method"]: float(row["CIFAR-10-C"]) for row in paper.rows("table8")}
    printed["Normal-BN"] = paper.figure("table2", "Normal", model="WRN40-2", metric="RA")
    return f"{printed[one] - printed[other]:+.2f}"


def times(results: Results, found: Found) -> str:
    """Seconds of an epoch: as the runs took them, and from steps that took turns."""
    measured = results.get(Path(TIME).stem)
    wall, cpu = (
        {title: epoch_seconds(by_seed.values(), kind) for title, by_seed in found.items()}
        for kind in ("wall", "cpu")
    )
    base = wall.get("Normal-BN")
    head = ["s an epoch", "× Normal", "CPU s an epoch", "ms a step", "× Normal", "ascent steps"]
    rows = [["method", *head]]
    for title in setting.METHODS:
        row = measured["rows"].get(title) if measured else None
        seconds, work = wall.get(title), cpu.get(title)
        if row is None and seconds is None:
            continue
        rows.append(
            [
                title,
                f"{seconds:.0f}" if seconds else ABSENT,
                f"{seconds / base:.2f}" if seconds and base else ABSENT,
                f"{work:.0f}" if work else ABSENT,
                f"{1000 * row['wall_median']:.0f}" if row else ABSENT,
                f"{row['wall_ratio']:.2f}" if row else ABSENT,
                f"{ascent_mean(found[title].values()):.2f}"
                if found.get(title) and title.startswith("AugMax")
                else ABSENT,
            ]
        )
    if len(rows) == 1:
        return ""
    notes = [
        "An epoch: the median over those of the run of a row that was disturbed least.",
        "Paper, Table 7, n = 5 on ImageNet: AugMix 1.36 and AugMax 1.97 times Normal.",
    ]
    if measured:
        state = "quiet" if measured["quiet"] else f"busy (load {measured['load_before']})"
        notes.insert(1, f"Steps: medians of {measured['steps']}, in turns, on a {state} machine.")
    else:
        notes.insert(1, "Steps: not measured yet (the command `time`).")
    return markdown(rows) + "\n" + " ".join(notes) + "\n"


def ascent_mean(members: Iterable[Mapping[str, Any]]) -> float:
    """Ascent steps of a sample over the whole training, mean over runs."""
    return statistics.fmean(
        sum(int(t) * share for t, share in run["ascent"].items()) for run in members
    )


def missing(wanted: Mapping[str, Sequence[int]], found: Found) -> str:
    """A line that says which runs are not there; empty if all are.

    Args:
        wanted: the seeds of every row.
        found: the runs that are finished.
    """
    left = {
        title: [seed for seed in seeds if seed not in found.get(title, {})]
        for title, seeds in wanted.items()
    }
    texts = _with_seeds(left)
    if not texts:
        return ""
    total = sum(map(len, wanted.values()))
    done = total - sum(map(len, left.values()))
    return f"{done} of {total} runs are finished. Missing: {texts}.\n"


def _with_seeds(rows: Mapping[str, Sequence[int]]) -> str:
    """The rows that have seeds, such as "Normal-BN (seeds 0, 1), AugMix-BN (seed 2)"."""
    return ", ".join(
        f"{title} (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})"
        for title, seeds in rows.items()
        if seeds
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row has the titles, and figures stand to the right."""
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *body))


def spread(values: Sequence[float]) -> str:
    """Mean of fractions, and their sample standard deviation if there are several, in percent."""
    mean = f"{100 * statistics.fmean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def epoch_seconds(members: Iterable[Mapping[str, Any]], kind: str) -> float | None:
    """Seconds of an epoch, of "wall" clock or "cpu"; None if no epoch was timed.

    The median over the epochs of a run, and the least over the runs: other work on a machine makes
    a run's epochs longer, in CPU time too, and never shorter.
    """
    timed = ([part[kind] for part in run["seconds"]["epochs"] if part] for run in members)
    medians = [statistics.median(parts) for parts in timed if parts]
    return min(medians) if medians else None
