"""The tables of the variants, from their JSON files and the study's, as Markdown."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augmax_jax.report import runs as reading
from experiments.cpu_study import beyond, setting, tables

# How tables call the weights of a way, and its routes.
_WEIGHTS = {"last": "last", "average": "averaged"}
_ROUTES = {("clean",): "clean", beyond.BOTH: "both"}
_VIEWS = 3  # of AugMax's objective, each of which has one gradient

WANTED = {variant.title: beyond.SEEDS for variant in beyond.VARIANTS.values()}  # row -> its seeds


def read(folder: Path) -> tables.Results:
    """The JSON files of the variants, by stem.

    Args:
        folder: of the study's results.

    Raises:
        ValueError: a file is damaged.
    """
    return tables.read(folder / beyond.FOLDER)


def runs(results: tables.Results) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Title of a variant -> seed -> the record of the run, for the runs that are there."""
    found: dict[str, dict[int, Mapping[str, Any]]] = {}
    for experiment in beyond.experiments():
        record = results.get(setting.name(experiment))
        if record is not None:
            title = beyond.VARIANTS[experiment.label].title
            found.setdefault(title, {})[experiment.seed] = record
    return {v.title: found[v.title] for v in beyond.VARIANTS.values() if v.title in found}


def reference(study: tables.Results) -> Mapping[int, Mapping[str, Any]]:
    """Seed -> the study's record of AugMax-DuBIN."""
    return tables.runs(study).get(setting.BASE, {})


def table(study: tables.Results, results: tables.Results) -> str:
    """All tables of the variants, one below the other, with what is missing.

    Args:
        study: the records of the study, from `tables.read`.
        results: those of the variants, from `read`.

    Raises:
        ValueError: the runs have different settings or images, so that they do not compare.
    """
    found, base = runs(results), reference(study)
    tables.check_comparable([*base.values(), *results.values()], study)
    parts = [
        accuracies(found, base),
        tables.rounded(found, study),
        tables.missing(WANTED, found),
    ]
    return "\n".join(part for part in parts if part)


def accuracies(found: tables.Found, base: Mapping[int, Mapping[str, Any]]) -> str:
    """Every variant in every way: its cost, SA, RA, and the difference from AugMax-DuBIN's RA."""
    head = ["variant", "weights", "routes", "seeds", "gradients"]
    rows = [[*head, "SA %", "RA %", f"RA − {setting.BASE}, points"]]
    for title, by_seed in {setting.BASE: base, **found}.items():
        if not by_seed:
            continue
        attack = statistics.fmean(attack_gradients(run) for run in by_seed.values())
        kept = {seed: ways(run) for seed, run in by_seed.items()}
        for way in reversed(beyond.WAYS):
            own = {seed: figures[way.name] for seed, figures in kept.items() if way.name in figures}
            if not own:
                continue
            common = [seed for seed in own if seed in base]
            is_base = title == setting.BASE and way == beyond.PLAIN
            rows.append(
                [
                    title,
                    _WEIGHTS[way.weights],
                    _ROUTES[way.routes],
                    ", ".join(map(str, own)),
                    f"{_VIEWS + attack:.2f}",
                    *(tables.spread([o[name] for o in own.values()]) for name in ("sa", "ra")),
                    tables.interval([own[s]["ra"] - base[s]["ra"] for s in common])
                    if common and not is_base
                    else tables.ABSENT,
                ]
            )
    if len(rows) == 1:
        return ""
    note = (
        f"{setting.BASE} is the study's. Differences are from its last weights on the clean route, "
        f"at equal seeds; intervals: {tables.LEVEL:.0%}, Student's t over seeds, wide with two. "
        "Gradients: forward and backward passes of an image in a step, mean over the training, "
        f"{_VIEWS} of them for the update; this does not depend on the machine. "
        "Routes “both”: probabilities averaged over the clean and the augmented route, at twice "
        "the cost of a prediction. "
        f"Averaged weights: decay {setting.AVERAGE[1]:g}."
    )
    return tables.markdown(rows) + f"\n{note}\n"


def ways(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """SA and RA of a run in each way in which it was evaluated, by the way's name."""
    return run.get("ways") or {beyond.PLAIN.name: {"sa": run["sa"], "ra": run["ra"]}}


def attack_gradients(run: Mapping[str, Any]) -> float:
    """Gradients that the attack took for an image in a step, mean over the training.

    A sample that stops after t steps is evaluated once more, to see that it is misclassified. Of
    images that are not attacked there is none.
    """
    shares = {int(taken): share for taken, share in run["ascent"].items()}
    every = run["settings"].get("adversary.every", 1)
    return reading.ascent_work(shares) * max(shares) / every
