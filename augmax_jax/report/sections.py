"""The sections of a run's report."""

import datetime
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax import methods
from augmax_jax.report import charts, page, tables
from augmax_jax.report import runs as reading
from augmax_jax.report.embedding import Pictures
from augmax_jax.report.page import Markup, Tile
from augmax_jax.report.runs import SavedRun

_LOSSES = ("loss", "classification")
_MOST_EARLIER = 3  # earlier grids of augmentations
_SINGLE = {
    "consistency": "Consistency: Jensen-Shannon divergence of the views",
    "learning_rate": "Learning rate",
    "gradient_norm": "Gradient norm",
    "images_per_second": "Images per second, mean so far",
}


def lead(run: SavedRun) -> str:
    """What, how long, on what, when."""
    results = run.results
    parts = [run.name]
    if run.seed is not None:
        parts.append(f"seed {run.seed}")
    if results.get("steps"):
        parts.append(f"{results['steps']:,} steps")
    elif run.history:
        parts.append(f"{run.history[-1]['step']:,} steps so far")
    if results.get("seconds"):
        parts.append(f"{datetime.timedelta(seconds=round(results['seconds']))} of training")
    if results.get("device"):
        parts.append(str(results["device"]))
    if run.history and "time" in run.history[-1]:
        ended = datetime.datetime.fromtimestamp(run.history[-1]["time"], datetime.UTC)
        parts.append(f"{ended:%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)


def tiles(run: SavedRun) -> Markup:
    """SA, RA, mCE and how the checkpoint was chosen."""
    results = run.results
    shown = []
    scores = reading.clean(results)
    if "accuracy" in scores:
        count = f"{scores['count']:,} images" if scores.get("count") else ""
        what = ", ".join(filter(None, (f"clean {scores.get('split', '')}".strip(), count)))
        shown.append(Tile(tables.percent(scores["accuracy"]), "SA", what))
    for name, found in reading.benchmark_scores(results).items():
        whole = results["benchmarks"][name]
        if "accuracy" in found:
            shown.append(Tile(tables.percent(found["accuracy"]), name, whole.get("source", "")))
        if "RA" in found:
            source = f", {whole['source']}" if whole.get("source") else ""
            note = f"{name}{source}{_interval(whole)}"
            shown.append(Tile(tables.percent(found["RA"]), "RA", note))
            beside = whole.get("reference")
            if beside:
                ra = tables.percent(statistics.fmean(beside["ra"]))
                runs = f"{name}, mean of {len(beside['ra'])}" if len(beside["ra"]) > 1 else name
                note = f"{runs}{_interval(beside)}"
                shown.append(Tile(ra, f"RA of {beside['name']}", note))
        if "mCE" in found:
            against = f"against {whole['baseline']}" if whole.get("baseline") else name
            shown.append(Tile(tables.percent(found["mCE"]), "mCE", against))
    body = page.fill("tiles", tiles=shown) if shown else page.NOTHING
    selected, chosen_on = results.get("selected"), results.get("select_on")
    if selected == "best" and chosen_on == "test":
        return body + page.note(
            "The checkpoint was chosen on the test split, as is the literature's habit: its "
            "accuracy there is optimistic. The last checkpoint's is below.",
            "warn",
        )
    if selected == "best":
        return body + page.note(
            f"Figures are those of the best checkpoint (step {results.get('best_step', '?')}), "
            "chosen on a slice held out of the training set; the test split had no part in it."
        )
    if run.given:
        return body + page.note(_how_called(results))
    if selected == "average":
        return body + page.note("Figures are those of the moving average of the weights.")
    return body + page.note(f"Figures are those of the {selected} checkpoint." if selected else "")


def _interval(found: Mapping[str, Any]) -> str:
    """Behind what stands below an RA: its interval by the number of test images."""
    text = tables.interval(found)
    return f"; 95% interval {text}" if text else ""


def _how_called(results: Mapping[str, Any]) -> str:
    """How a network that was given was asked, and how its answers were read."""
    read = "probabilities" if results.get("outputs") == "probabilities" else "logits"
    compiled = results["called"] == "compiled"
    how = "compiled by JAX" if compiled else "called from the host, batch by batch"
    return f"The network was given as a function: {how}, its outputs read as {read}."


def summary(run: SavedRun, same: Sequence[SavedRun] = ()) -> Markup:
    """Every checkpoint on clean data, every benchmark, its seeds, what could not be measured.

    Args:
        run: the run.
        same: the seeds of its setting, itself among them.
    """
    results = run.results
    rows = []
    kinds = dict(results.get("clean") or {})
    if results.get("holdout"):
        kinds["best, on the selection set"] = results["holdout"]
    for kind, scores in kinds.items():
        rows.append(
            [
                kind, str(scores.get("split", "")), tables.number(scores.get("step")),
                tables.percent(scores.get("accuracy")), tables.number(scores.get("loss")),
                tables.percent(scores.get("ece")), tables.number(scores.get("count")),
            ]
        )  # fmt: skip
    body = page.NOTHING
    if rows:
        titles = ["checkpoint", "split", "step", "accuracy %", "loss", "calibration error %",
                  "images"]  # fmt: skip
        if run.given:  # it has neither checkpoints nor a split
            titles, rows = ["", *titles[3:]], [["all images", *row[3:]] for row in rows]
        body += page.card(tables.to_html(tables.Table("Clean data", titles, rows)))
    columns = {
        "accuracy": "accuracy %", "ra": "RA %", "ra_noise_free": "RA without noise %",
        "mce": "mCE %", "mce_noise_free": "mCE without noise %", "relative_mce": "relative mCE %",
        "mean_loss": "mean loss", "mean_ece": "mean calibration error %",
    }  # fmt: skip
    benchmarks = results.get("benchmarks") or {}
    used = [
        key
        for key in columns
        if any(isinstance(found.get(key), int | float) for found in benchmarks.values())
    ]
    rows = [
        [
            name,
            str(found.get("source", "")),
            *(
                tables.number(found.get(key))
                if key == "mean_loss"
                else tables.percent(found.get(key))
                for key in used
            ),
        ]
        for name, found in benchmarks.items()
    ]
    if rows:
        titles = ["benchmark", "images", *(columns[key] for key in used)]
        body += page.card(tables.to_html(tables.Table("Robustness", titles, rows)))
    spread = tables.spread(same)
    if spread is not None:
        body += page.card(tables.to_html(spread))
    remarks = [str(found["note"]) for found in benchmarks.values() if found.get("note")]
    without = [f"{name} has no mCE: {found['no_mce']}" for name, found in benchmarks.items()
               if found.get("no_mce")]  # fmt: skip
    missing = [f"{name}: {why}" for name, why in tables.not_measured(results).items()]
    return body + page.notes([*remarks, *without]) + page.notes(missing, "Not measured:")


def curves(run: SavedRun) -> Markup:
    """Losses, accuracies, what the method logs, learning rate, speed over the epochs."""
    train, evals = run.rows("train"), run.rows("eval")

    def of(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
        kept = [row for row in rows if isinstance(row.get(name), int | float)]
        return [row["epoch"] for row in kept], [row[name] for row in kept]

    accuracies = {
        f"{label} (training)": of(train, name) for name, label in _view_accuracies(train).items()
    }
    losses = {name: of(train, name) for name in _LOSSES}
    for name in dict.fromkeys(name for row in evals for name in row):
        label = name.replace("_", " ").removesuffix(" accuracy").removesuffix(" loss")
        if name.endswith("accuracy"):
            accuracies[f"{label} (evaluation)"] = of(evals, name)
        elif name.endswith("loss"):
            losses[f"{label} (evaluation)"] = of(evals, name)
    single = methods.curves() | _SINGLE
    drawn = [
        charts.line_chart(losses, title="Loss"),
        charts.line_chart(accuracies, title="Accuracy", percent=True),
        *(charts.line_chart({k: of(train, k)}, title=title) for k, title in single.items()),
    ]
    return page.group("charts", [*drawn, _ascent(train)])


def _view_accuracies(train: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Scalars that are the training accuracy of a view -> the view's name in reports."""
    prefix = "accuracy_"
    labels = methods.view_labels()
    logged = dict.fromkeys(name for row in train for name in row if name.startswith(prefix))
    views = [name.removeprefix(prefix) for name in logged]
    # In the records' order, clean first; views of methods that are not known here come last.
    ordered = [view for view in labels if view in views]
    ordered += [view for view in views if view not in labels]
    return {f"{prefix}{view}": labels.get(view, view) for view in ordered}


def _ascent(train: Sequence[Mapping[str, Any]]) -> Markup:
    """How long the inner maximisation of a sample was, and the work that saved."""
    shares = reading.ascent_shares(train)
    if not shares:
        return page.NOTHING
    needed = reading.ascent_work(shares)
    return charts.bar_chart(
        {"share": {str(taken): share for taken, share in shares.items()}},
        title=f"Samples by ascent steps taken, over the whole run: {100 * needed:.0f}% of the "
        "evaluations of a fixed number of steps",
        compact=True,
    )


def augmentations(run: SavedRun, pictures: Pictures) -> Markup:
    """The newest grid of augmentations; a few earlier ones on request."""
    found = [path for name, path in run.pictures.items() if name.startswith("augmentations")]
    if not found:
        return page.NOTHING

    def title(stem: str) -> str:
        match = re.search(r"(\d+)$", stem)
        return f"Step {int(match[1]):,}" if match else stem

    note = page.note(
        "The same images and chains each time. m says how much of the mix is chains, w how "
        "it is shared among them: drawn at random for AugMix, found by the ascent for AugMax. "
        "Below are the classes that the network sees.",
        "",
    )
    newest = pictures.figure(found[-1], title(found[-1].stem))
    chosen = found[:-1]
    if len(chosen) > _MOST_EARLIER:
        last = len(chosen) - 1
        chosen = [chosen[round(i * last / (_MOST_EARLIER - 1))] for i in range(_MOST_EARLIER)]
    earlier = page.join(pictures.figure(path, title(path.stem)) for path in reversed(chosen))
    heading = "Earlier in training"
    if len(chosen) < len(found) - 1:
        heading += f": {len(chosen)} of the {len(found) - 1} in {found[-1].parent.name}"
    return note + newest + page.details(heading, earlier)


def robustness(run: SavedRun, others: Sequence[SavedRun], pictures: Pictures) -> Markup:
    """Heat map, bars (beside those of other runs) and pictures of each benchmark."""
    parts = []
    for name, found in (run.results.get("benchmarks") or {}).items():
        table = reading.accuracy_table(found)
        if not table:
            continue
        bars = {run.name: by_corruption(found)}
        for other in others:
            theirs = by_corruption((other.results.get("benchmarks") or {}).get(name, {}))
            bars |= {other.name: theirs} if theirs else {}
        sides = [
            charts.bar_chart({run.name: found[key]}, title=f"Accuracy by {title}", compact=True)
            for key, title in (("by_family", "family"), ("by_severity", "severity"))
            if found.get(key)
        ]
        heat = charts.heat_map(table, title="Accuracy by corruption and severity")
        parts += [
            page.heading(name),
            page.group("beside", [heat, page.group("", sides)]),
            charts.bar_chart(bars, title="Accuracy by corruption"),
        ]
    return page.join([*parts, *_pictures(run, pictures)])


def _pictures(run: SavedRun, pictures: Pictures) -> list[Markup]:
    """The mistakes and the corruptions of each benchmark, and pictures of other kinds."""
    parts = []
    drawn = set()
    for of, path in run.mistakes.items():
        tiles = pictures.mistakes(path, f"The worst mistakes: {of}")
        drawn |= {of} if tiles else set()
        parts.append(tiles)
    for stem, path in run.pictures.items():
        kind, _, of = stem.partition("_")
        if kind == "corruptions":
            title = f"What the corruptions look like ({of})"
            parts.append(page.details(title, pictures.figure(path, title)))
        elif kind == "mistakes" and of not in drawn:
            remark = "wrong with the most confidence"
            parts.append(pictures.figure(path, f"The worst mistakes: {of}", remark))
        elif kind not in ("augmentations", "mistakes"):
            parts.append(pictures.figure(path, stem.replace("_", " ")))
    return parts


def by_corruption(found: Mapping[str, Any]) -> dict[str, float]:
    """Corruption, as people write it -> mean accuracy over the severities."""
    return {
        name.replace("_", " "): sum(row.values()) / len(row)
        for name, row in reading.accuracy_table(found).items()
        if row
    }
