"""The charts of the study, from its JSON files: one HTML page that refers to nothing outside it."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from augmax_jax.report import charts, page
from augmax_jax.runtime import files
from experiments.cpu_study import beyond, beyond_tables, setting, tables

PAGE = "cpu_study.html"
PAGE_BEYOND = "cpu_study_beyond.html"


def write(results: tables.Results, path: Path) -> Path:
    """Writes the page, and returns its path.

    Args:
        results: from `tables.read`.
        path: the file.

    Raises:
        ValueError: no run is finished.
        OSError: the file cannot be written.
    """
    found = tables.runs(results)
    if not found:
        raise ValueError("no run is finished, so there is nothing to draw")
    colours = {title: i for i, title in enumerate(setting.METHODS, start=1) if title in found}
    sections = [
        ("Learning curves", _curves(found, colours)),
        ("Accuracy by corruption and severity", _heat_maps(found)),
        ("Ascent steps", _ascent(found, colours)),
    ]
    missing = tables.missing(tables.WANTED, found)
    lead = "Five methods on real images; means over the seeds that are finished."
    text = page.page(
        "Study on CIFAR-10 images",
        f"{lead} {missing}".strip(),
        sections,
        top=charts.legend_of(colours),
        colours=len(setting.METHODS),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text)
    return path


def write_beyond(results: tables.Results, study: tables.Results, path: Path) -> Path:
    """Writes the page of the variants, and returns its path.

    Args:
        results: the records of the variants, from `beyond_tables.read`.
        study: those of the study.
        path: the file.

    Raises:
        ValueError: no run is finished.
        OSError: the file cannot be written.
    """
    found = beyond_tables.runs(results)
    if not found:
        raise ValueError("no run is finished, so there is nothing to draw")
    base = beyond_tables.reference(study)
    every: tables.Found = {setting.BASE: base, **found} if base else found
    titles = [setting.BASE, *(variant.title for variant in beyond.VARIANTS.values())]
    colours = {title: i for i, title in enumerate(titles, start=1) if title in every}
    sections = [
        ("Robust accuracy", _ways(every, colours)),
        ("Learning curves", _curves(every, colours)),
        ("Ascent steps", _ascent(every, colours)),
    ]
    lead = "Variants of AugMax-DuBIN; means over the seeds that are finished."
    text = page.page(
        "Beyond AugMax-DuBIN on CIFAR-10 images",
        f"{lead} {tables.missing(beyond_tables.WANTED, found)}".strip(),
        sections,
        top=charts.legend_of(colours),
        colours=len(titles),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text)
    return path


def _ways(found: tables.Found, colours: Mapping[str, int]) -> page.Markup:
    """RA in each way of evaluation."""
    values = {
        title: {
            way.name: statistics.fmean(
                beyond_tables.ways(run)[way.name]["ra"] for run in by_seed.values()
            )
            for way in reversed(beyond.WAYS)
            if all(way.name in beyond_tables.ways(run) for run in by_seed.values())
        }
        for title, by_seed in found.items()
    }
    return charts.bar_chart(values, title="RA by weights and routes", colours=colours)


def _curves(found: tables.Found, colours: Mapping[str, int]) -> page.Markup:
    drawn = (
        ("held_out", "holdout_accuracy", "Accuracy on 1,000 held-out images", True),
        ("train", "loss", "Training loss", False),
        ("train", "accuracy_clean", "Training accuracy on clean images", True),
        ("train", "ascent_steps", "Ascent steps of a sample, mean", False),
    )
    return page.group(
        "charts",
        (
            charts.line_chart(
                _series(found, kind, name), title=title, percent=percent, colours=colours
            )
            for kind, name, title, percent in drawn
        ),
    )


def _series(found: tables.Found, kind: str, name: str) -> charts.Series:
    """Row -> the curve of its mean over seeds, at the epochs that all of them have."""
    series = {}
    for title, by_seed in found.items():
        curves = [
            {row["epoch"]: row[name] for row in run[kind] if name in row}
            for run in by_seed.values()
        ]
        epochs = sorted(set.intersection(*map(set, curves)))
        if epochs:
            series[title] = (epochs, [statistics.fmean(c[e] for c in curves) for e in epochs])
    return series


def mean_accuracy(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Corruption -> severity -> accuracy, mean over seeds."""
    every = [run["accuracy"] for run in by_seed.values()]
    return {
        c: {s: statistics.fmean(run[c][s] for run in every) for s in by}
        for c, by in every[0].items()
    }


def _heat_maps(found: tables.Found) -> page.Markup:
    return page.group(
        "charts",
        (charts.heat_map(mean_accuracy(by_seed), title=title) for title, by_seed in found.items()),
    )


def _ascent(found: tables.Found, colours: Mapping[str, int]) -> page.Markup:
    """How the numbers of ascent steps spread: over the whole training, and from epoch to epoch."""
    whole = {
        title: _mean(by_seed, lambda run: run["ascent"])
        for title, by_seed in found.items()
        if any(run["ascent"] for run in by_seed.values())
    }
    if not whole:
        return page.NOTHING
    bars = charts.bar_chart(
        {
            title: {_steps(t): share for t, share in shares.items()}
            for title, shares in whole.items()
        },
        title="Share of samples by ascent steps, over the training",
        colours=colours,
    )
    lines = [
        charts.line_chart(
            {
                _steps(t): _series({title: found[title]}, "train", f"ascent_steps/{t}")[title]
                for t in shares
            },
            title=f"{title}: share of samples by ascent steps",
            percent=True,
        )
        for title, shares in whole.items()
    ]
    return page.group("charts", [bars, *lines])


def _steps(count: str) -> str:
    return f"{count} step{'' if count == '1' else 's'}"


def _mean(
    by_seed: Mapping[int, Mapping[str, Any]],
    part: Callable[[Mapping[str, Any]], Mapping[str, float]],
) -> dict[str, float]:
    every = [part(run) for run in by_seed.values()]
    return {name: statistics.fmean(one[name] for one in every) for name in every[0]}
