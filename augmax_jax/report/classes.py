"""The section on classes: their accuracies, clean and corrupted, and which is taken for which."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax.report import charts, page, tables
from augmax_jax.report import runs as reading
from augmax_jax.report.page import Markup
from augmax_jax.report.runs import SavedRun

_MOST_BARS = 40  # classes with a bar of their own
_MOST_CLASSES = 200  # of a confusion matrix
_MOST_MISTAKES = 10  # rows of the table of mistakes


def classes(run: SavedRun) -> Markup:
    """Accuracy of each class, the confusion matrix of the clean test set, frequent mistakes."""
    clean = reading.clean(run.results)
    parts = [_accuracies(run)]
    confusions = _confusions(clean.get("confusions"))
    if confusions:
        highest = max([*confusions, *(c for row in confusions.values() for c in row)])
        count = max(len(clean.get("by_class") or ()), highest + 1)
        names = class_names(run.results, count)
        parts.append(_mistakes(confusions, names, clean.get("by_class")))
        if count <= _MOST_CLASSES:
            title = "Confusion matrix of the clean test images"
            parts.append(charts.confusion_matrix(confusions, names, title=title))
    return page.join(parts)


def class_names(results: Mapping[str, Any], count: int) -> list[str]:
    """The names of the classes, numbers where they are not known."""
    known = [str(name) for name in results.get("class_names") or ()]
    return known if len(known) == count else [str(i) for i in range(count)]


def _accuracies(run: SavedRun) -> Markup:
    """A bar for each class, clean and under each benchmark; the worst ones of many classes."""
    columns: dict[str, Any] = {"clean": reading.clean(run.results).get("by_class")}
    for name, found in (run.results.get("benchmarks") or {}).items():
        columns[name] = found.get("by_class")
    measured = {name: _numbers(values) for name, values in columns.items() if values}
    count = max(map(len, measured.values()), default=0)
    measured = {name: values for name, values in measured.items() if len(values) == count}
    if not count:
        return page.NOTHING
    names = class_names(run.results, count)
    shown, note = list(range(count)), ""
    if count > _MOST_BARS:
        means = [[v[i] for v in measured.values() if math.isfinite(v[i])] for i in shown]
        known = [i for i in shown if means[i]]
        shown = sorted(known, key=lambda i: sum(means[i]) / len(means[i]))[:_MOST_BARS]
        note = f"the {len(shown)} worst of {count} classes"
    labels = _told_apart([names[i] for i in shown], shown)
    bars = {
        name: {label: values[i] for label, i in zip(labels, shown, strict=True)}
        for name, values in measured.items()
    }
    return charts.bar_chart(bars, title="Accuracy by class", note=note)


def _mistakes(
    confusions: Mapping[int, Mapping[int, int]],
    names: Sequence[str],
    by_class: Sequence[float | None] | None,
) -> Markup:
    """The most frequent confusions, by name."""
    wrong = [
        (images, label, prediction)
        for label, row in confusions.items()
        for prediction, images in row.items()
        if label != prediction
    ]
    wrong.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    rows = []
    for images, label, prediction in wrong[:_MOST_MISTAKES]:
        accuracy = by_class[label] if by_class and label < len(by_class) else None
        taken = f"{names[label]} taken for {names[prediction]}"
        rows.append([taken, str(images), tables.percent(accuracy)])
    if not rows:
        return page.NOTHING
    columns = ["", "images", "accuracy of the class %"]
    title = "The most frequent mistakes on the clean test images"
    return page.card(tables.to_html(tables.Table(title, columns, rows)))


def _confusions(kept: Any) -> dict[int, dict[int, int]]:
    """As `results.json` keeps them, with the indices as numbers."""
    if not isinstance(kept, Mapping):
        return {}
    return {
        int(label): {int(prediction): int(images) for prediction, images in row.items()}
        for label, row in kept.items()
    }


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _told_apart(names: Sequence[str], indices: Sequence[int]) -> list[str]:
    """The names, with the index where several classes have the same."""
    return [
        f"{name} ({i})" if names.count(name) > 1 else name
        for name, i in zip(names, indices, strict=True)
    ]
