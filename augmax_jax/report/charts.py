"""Charts as inline SVG and HTML that take their colours from the page's style sheet.

Values show under the pointer, and a click on a name in the legend switches its series off and on
(`templates/page.js`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from augmax_jax.report import page

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
Colours = Mapping[str, int]  # name -> number of its colour in the style sheet, from 1

_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 34
_MOST_POINTS = 200  # of a line; of more, neighbours are averaged
_MOST_NAMED = 30  # classes that a confusion matrix names and numbers


def line_chart(
    series: Series,
    *,
    title: str,
    x: str = "epoch",
    percent: bool = False,
    log: bool = False,
    colours: Colours | None = None,
) -> Markup:
    """Lines over a common horizontal axis.

    Args:
        series: name -> (x values, y values); points that are not finite are left out.
        title: above the chart.
        x: title of the horizontal axis.
        percent: y values are fractions, shown as percentages.
        log: logarithmic vertical axis; points that are not positive are left out.
        colours: of the series on a page with one legend for all charts; by their order, with a
            legend, if None.

    Returns:
        A `figure` element, empty without any point.
    """
    kept = _points(series, log)
    if not kept:
        return page.NOTHING
    merged = max(map(_merged, kept.values()))
    kept = {name: _thin(points, _merged(points)) for name, points in kept.items()}
    every = [point for points in kept.values() for point in points]
    x_low, x_high = min(a for a, _ in every), max(a for a, _ in every)
    low, high = min(b for _, b in every), max(b for _, b in every)
    if not log and low > 0 and low < 0.5 * high and not percent:
        low = 0.0  # near enough to zero to show it
    y_ticks = log_ticks(low, high) if log else ticks(low, high, 5)
    low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])
    scale = math.log10 if log else float

    def place(a: float, b: float) -> tuple[float, float]:
        across = (a - x_low) / ((x_high - x_low) or 1)
        up = (scale(b) - scale(low)) / ((scale(high) - scale(low)) or 1)
        height = _HEIGHT - _TOP - _BOTTOM
        u, v = _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _TOP + (1 - up) * height
        return round(u, 1), round(v, 1)

    numbers = _numbers(kept, colours)
    lines = []
    for name, points in kept.items():
        places = [place(*point) for point in points]
        texts = [f"{_shown(b, percent)} at {x} {a:.4g}" for a, b in points]
        lines.append(
            {
                "name": name,
                "number": numbers[name],
                "path": "L".join(f"{u} {v}" for u, v in places),
                "radius": 2.5 if len(points) <= 40 else 1,
                "points": [(*at, text) for at, text in zip(places, texts, strict=True)],
            }
        )
    x_ticks = [t for t in ticks(x_low, x_high, 6) if x_low <= t <= x_high]
    return page.fill(
        "line_chart",
        title=title,
        note=f"points are means of up to {merged} rows of the history" if merged > 1 else "",
        legend=_legend(numbers, colours),
        x=x,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        y_ticks=[(place(x_low, tick)[1], _shown(tick, percent)) for tick in y_ticks],
        x_ticks=[(place(tick, y_ticks[0])[0], f"{tick:g}") for tick in x_ticks],
        lines=lines,
    )


def bar_chart(
    values: Mapping[str, Mapping[str, float]],
    *,
    title: str,
    note: str = "",
    compact: bool = False,
    colours: Colours | None = None,
) -> Markup:
    """Horizontal bars of fractions, a group per name and a bar per series.

    Args:
        values: series -> name -> fraction; a name may be missing in some series.
        title: above the chart.
        note: a remark beside the title.
        compact: stands among other charts.
        colours: as of `line_chart`.

    Returns:
        A `figure` element, empty without any bar.
    """
    numbers = _numbers(values, colours)
    rows = []
    for name in dict.fromkeys(name for bars in values.values() for name in bars):
        bars = [
            {
                "number": numbers[series],
                "length": round(max(0.0, min(1.0, found[name])), 4),
                "shown": f"{100 * found[name]:.1f}",
                "text": f"{series}, {name}: {100 * found[name]:.2f}%",
            }
            for series, found in values.items()
            if name in found and math.isfinite(found[name])
        ]
        if bars:
            rows.append((name, bars))
    if not rows:
        return page.NOTHING
    legend = _legend(numbers, colours)
    return page.fill("bar_chart", title=title, note=note, legend=legend, rows=rows, compact=compact)


def heat_map(table: Mapping[str, Mapping[str, float]], *, title: str) -> Markup:
    """Accuracy by corruption and severity; the redder a cell, the more errors.

    Args:
        table: corruption -> severity -> accuracy in [0, 1].
        title: above the table.

    Returns:
        A `figure` element.
    """
    severities = list(dict.fromkeys(s for row in table.values() for s in row))
    worst = max((1 - a for row in table.values() for a in row.values()), default=0)
    scale = max(0.25, worst)
    rows = []
    for name, row in table.items():
        label = name.replace("_", " ")
        cells = [_heat_cell(row.get(s), scale, f"{label}, severity {s}") for s in severities]
        known = [row[s] for s in severities if s in row]
        mean = sum(known) / len(known) if known else None
        rows.append((label, [*cells, _heat_cell(mean, scale, f"{label}, mean")]))
    return page.fill("heat_map", title=title, severities=severities, rows=rows)


def _heat_cell(accuracy: float | None, scale: float, label: str) -> dict[str, Any] | None:
    if accuracy is None or not math.isfinite(accuracy):
        return None
    return {
        "share": round(100 * min(1.0, (1 - accuracy) / scale)),
        "shown": f"{100 * accuracy:.1f}",
        "text": f"{label}: {100 * accuracy:.2f}%",
    }


def confusion_matrix(
    confusions: Mapping[int, Mapping[int, int]], names: Sequence[str], *, title: str
) -> Markup:
    """Which class was taken for which: the fuller a cell, the larger its share of the class.

    Args:
        confusions: label -> prediction -> images; what is missing is zero.
        names: of the classes. Up to 30 are written beside the matrix, and the numbers in it.
        title: above it.

    Returns:
        A `figure` element.
    """
    count = len(names)
    named = count <= _MOST_NAMED
    size = 30 if count <= 12 else 24 if named else max(3, 720 // count)
    shown = [name if len(name) <= 16 else f"{name[:15]}…" for name in names]
    longest = max(len(name) for name in shown) if named else 0
    left, top = (8 + 7 * longest, 8 + (14 if longest <= 3 else 7 * longest)) if named else (4, 4)
    cells = []
    for label, row in confusions.items():
        total = sum(row.values())
        for prediction, images in row.items():
            share = images / total
            taken = "" if label == prediction else f" taken for {names[prediction]}"
            cells.append(
                {
                    "u": left + prediction * size,
                    "v": top + label * size,
                    "right": label == prediction,
                    "share": round(max(share, 0.12), 2),
                    "shown": str(images) if named else "",
                    "text": f"{names[label]}{taken}: {images} of {total} ({100 * share:.1f}%)",
                }
            )
    middles = [size * i + size / 2 for i in range(count)] if named else []
    return page.fill(
        "confusions",
        title=title,
        width=left + size * count + 2 + (0 if longest <= 3 else 40),
        height=top + size * count + 2,
        left=left,
        top=top,
        side=size * count,
        size=size,
        turn=0 if longest <= 3 else -60,
        labels=[{"name": n, "middle": m} for n, m in zip(shown, middles, strict=False)],
        cells=cells,
    )


def legend_of(colours: Colours) -> Markup:
    """One legend for all charts of a page, which switches a series in all of them."""
    return page.fill("legend", keys=list(colours.items()), runs=True)


def _legend(numbers: Colours, colours: Colours | None) -> Markup:
    """A legend for one chart, unless the page has one or there is one series only."""
    if colours is not None or len(numbers) < 2:
        return page.NOTHING
    return page.fill("legend", keys=list(numbers.items()), runs=False)


def _numbers(names: Iterable[str], colours: Colours | None) -> dict[str, int]:
    """The colour of each series."""
    if colours is not None:
        return {name: colours[name] for name in names}
    return {name: i for i, name in enumerate(names, start=1)}


def _points(series: Series, log: bool) -> dict[str, list[tuple[float, float]]]:
    """The points of each line that can be drawn; lines without any are left out."""
    drawable = {
        name: [
            (float(a), float(b))
            for a, b in zip(xs, ys, strict=True)
            if isinstance(b, int | float) and math.isfinite(b) and (b > 0 or not log)
        ]
        for name, (xs, ys) in series.items()
    }
    return {name: points for name, points in drawable.items() if points}


def _merged(points: Sequence[tuple[float, float]]) -> int:
    """How many neighbours become one point."""
    return -(-len(points) // _MOST_POINTS)


def _thin(points: list[tuple[float, float]], merged: int) -> list[tuple[float, float]]:
    """Replaces each `merged` neighbours by their mean, so that a long run stays light."""
    groups = [points[i : i + merged] for i in range(0, len(points), merged)]
    if len(groups) > 1 and len(groups[-1]) < merged:
        groups[-2:] = [groups[-2] + groups[-1]]  # no point is the mean of fewer rows
    return [
        (sum(a for a, _ in group) / len(group), sum(b for _, b in group) / len(group))
        for group in groups
    ]


def _shown(value: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.4g}%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers that span [low, high], about `count` of them."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that span [low, high], at most seven of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    stride = math.ceil((last - first) / 6)
    return [10.0**k for k in range(first, last + stride, stride)]
