"""The sections of a run's report."""

import datetime
import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax import methods
from augmax_jax.report import charts, page, tables
from augmax_jax.report import runs as reading
from augmax_jax.report.runs import SavedRun
from augmax_jax.runtime.run_directory import flatten

_LOSSES = ("loss", "classification")
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
    if results.get("images_per_second"):
        parts.append(f"{results['images_per_second']:,.0f} images/s")
    if results.get("device"):
        parts.append(str(results["device"]))
    if run.history and "time" in run.history[-1]:
        when = datetime.datetime.fromtimestamp(run.history[-1]["time"], datetime.UTC)
        parts.append(f"{when:%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)


def tiles(run: SavedRun) -> str:
    """SA, RA, mCE and how the checkpoint was chosen."""
    results = run.results
    shown = []
    scores = reading.clean(results)
    if "accuracy" in scores:
        count = f", {scores['count']:,} images" if scores.get("count") else ""
        shown.append(
            page.tile(
                tables.percent(scores["accuracy"]), "SA", f"clean {scores.get('split', '')}{count}"
            )
        )
    for name, found in reading.benchmark_scores(results).items():
        whole = results["benchmarks"][name]
        if "accuracy" in found:
            shown.append(
                page.tile(tables.percent(found["accuracy"]), name, whole.get("source", ""))
            )
        if "RA" in found:
            source = f", {whole['source']}" if whole.get("source") else ""
            shown.append(page.tile(tables.percent(found["RA"]), "RA", f"{name}{source}"))
        if "mCE" in found:
            against = f"against {whole['baseline']}" if whole.get("baseline") else name
            shown.append(page.tile(tables.percent(found["mCE"]), "mCE", against))
    body = f"<div class=tiles>{''.join(shown)}</div>" if shown else ""
    selected, chosen_on = results.get("selected"), results.get("select_on")
    if selected == "best" and chosen_on == "test":
        body += (
            "<p class=warn>The checkpoint was chosen on the test split, as is the literature's "
            "habit: its accuracy there is optimistic. The last checkpoint's is below.</p>"
        )
    elif selected == "best":
        body += (
            f"<p class=note>Figures are those of the best checkpoint (step "
            f"{html.escape(str(results.get('best_step', '?')))}), chosen on a slice held out of "
            "the training set; the test split had no part in it.</p>"
        )
    elif selected:
        body += f"<p class=note>Figures are those of the {html.escape(selected)} checkpoint.</p>"
    return body


def summary(run: SavedRun) -> str:
    """Every checkpoint on clean data, every benchmark, what could not be measured."""
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
    body = ""
    if rows:
        titles = [
            "checkpoint",
            "split",
            "step",
            "accuracy %",
            "loss",
            "calibration error %",
            "images",
        ]
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
    missing = "".join(
        f"<li>{html.escape(name)}: {html.escape(why)}</li>"
        for name, why in tables.not_measured(results).items()
    )
    return body + (f"<p>Not measured:</p><ul class=note>{missing}</ul>" if missing else "")


def curves(run: SavedRun) -> str:
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
    body = "".join(drawn) + _ascent(train)
    return f"<div class=charts>{body}</div>" if body else ""


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


def _ascent(train: Sequence[Mapping[str, Any]]) -> str:
    """How long the inner maximisation of a sample was, and the work that saved."""
    shares = reading.ascent_shares(train)
    if not shares:
        return ""
    needed = reading.ascent_work(shares)
    return charts.bar_chart(
        {"share": {str(taken): share for taken, share in shares.items()}},
        title=f"Samples by ascent steps taken, over the whole run: {100 * needed:.0f}% of the "
        "evaluations of a fixed number of steps",
        compact=True,
    )


def augmentations(run: SavedRun) -> str:
    """The newest grid of augmentations; earlier ones on request."""
    found = [path for name, path in run.pictures.items() if name.startswith("augmentations")]
    if not found:
        return ""

    def title(stem: str) -> str:
        match = re.search(r"(\d+)$", stem)
        return f"Step {int(match[1]):,}" if match else stem

    note = (
        "<p>The same images and chains each time. m says how much of the mix is chains, w how "
        "it is shared among them: drawn at random for AugMix, found by the ascent for AugMax. "
        "Below are the classes that the network sees.</p>"
    )
    earlier = "".join(page.picture(path, title(path.stem)) for path in reversed(found[:-1]))
    newest = page.picture(found[-1], title(found[-1].stem))
    return note + newest + page.details("Earlier in training", earlier)


def robustness(run: SavedRun, others: Sequence[SavedRun] = ()) -> str:
    """Heat map, bars (beside those of other runs) and pictures of each benchmark."""
    body = ""
    for name, found in (run.results.get("benchmarks") or {}).items():
        table = reading.accuracy_table(found)
        if not table:
            continue
        bars = {run.name: by_corruption(found)}
        for other in others:
            theirs = by_corruption((other.results.get("benchmarks") or {}).get(name, {}))
            bars |= {other.name: theirs} if theirs else {}
        sides = "".join(
            charts.bar_chart({run.name: found[key]}, title=f"Accuracy by {title}", compact=True)
            for key, title in (("by_family", "family"), ("by_severity", "severity"))
            if found.get(key)
        )
        body += (
            f"<h3>{html.escape(name)}</h3><div class=beside>"
            + charts.heat_map(table, title="Accuracy by corruption and severity")
            + f"<div>{sides}</div></div>"
            + charts.bar_chart(bars, title="Accuracy by corruption")
        )
    for kind, title, note in (
        ("corruptions", "What the corruptions look like", ""),
        ("mistakes", "The worst mistakes", "wrong with the most confidence"),
    ):
        for stem, path in run.pictures.items():
            if stem.startswith(kind):
                of = stem.removeprefix(kind).strip("_")
                figure = page.picture(path, f"{title}{': ' if of else ''}{of}", note)
                body += figure if kind == "mistakes" else page.details(f"{title} ({of})", figure)
    known = ("augmentations", "corruptions", "mistakes")
    rest = [path for stem, path in run.pictures.items() if not stem.startswith(known)]
    return body + "".join(page.picture(path, path.stem.replace("_", " ")) for path in rest)


def by_corruption(found: Mapping[str, Any]) -> dict[str, float]:
    """Corruption -> mean accuracy over the severities."""
    return {
        name: sum(row.values()) / len(row)
        for name, row in reading.accuracy_table(found).items()
        if row
    }


def settings(runs: Sequence[SavedRun]) -> str:
    """The config; of several runs, what differs between them."""
    flat = [flatten(run.config) for run in runs]
    names = list(dict.fromkeys(name for config in flat for name in config))
    if len(runs) > 1:
        names = [n for n in names if len({str(config.get(n, "–")) for config in flat}) > 1]
    rows = "".join(
        f"<tr><th scope=row><code>{html.escape(name)}</code></th>"
        + "".join(f"<td><code>{html.escape(str(c.get(name, '–')))}</code></td>" for c in flat)
        + "</tr>"
        for name in names
    )
    if not rows:
        return ""
    head = ""
    if len(runs) > 1:
        titles = "".join(f"<th scope=col>{html.escape(run.name)}</th>" for run in runs)
        head = f"<thead><tr><th></th>{titles}</tr></thead>"
    table = f"<div class=scroll><table class=config>{head}<tbody>{rows}</tbody></table></div>"
    return page.card(table) if len(runs) > 1 else page.details(f"{len(names)} settings", table)
