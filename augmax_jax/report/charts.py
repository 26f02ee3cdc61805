"""Charts as inline SVG and HTML that take their colours from the page's style sheet."""

import html
import math
from collections.abc import Mapping, Sequence

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
COLOURS = 6  # --c1 … --c6 in the style sheet

_WIDTH, _HEIGHT = 460, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 34


def line_chart(
    series: Series, *, title: str, x: str = "epoch", percent: bool = False, log: bool = False
) -> str:
    """Lines over a common horizontal axis.

    Args:
        series: name -> (x values, y values); points that are not finite are left out.
        title: above the chart.
        x: title of the horizontal axis.
        percent: y values are fractions, shown as percentages.
        log: logarithmic vertical axis; points that are not positive are left out.

    Returns:
        A `figure` element, or "" without any point.
    """
    kept = _points(series, log)
    if not kept:
        return ""
    every = [point for points in kept.values() for point in points]
    x_ticks = ticks(min(a for a, _ in every), max(a for a, _ in every), 6)
    low, high = min(b for _, b in every), max(b for _, b in every)
    if not log and low > 0 and low < 0.5 * high and not percent:
        low = 0.0  # near enough to zero to show it
    y_ticks = log_ticks(low, high) if log else ticks(low, high, 5)
    height = _HEIGHT - _TOP - _BOTTOM
    x_low, x_high = min(a for a, _ in every), max(a for a, _ in every)
    low, high = min(low, y_ticks[0]), max(high, y_ticks[-1])
    scale = math.log10 if log else float

    def place(a: float, b: float) -> tuple[float, float]:
        across = (a - x_low) / ((x_high - x_low) or 1)
        up = (scale(b) - scale(low)) / ((scale(high) - scale(low)) or 1)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _TOP + (1 - up) * height

    parts = [_grid_line(place(x_low, tick)[1], _shown(tick, percent)) for tick in y_ticks]
    for tick in x_ticks:
        if x_low <= tick <= x_high:
            u, _ = place(tick, y_ticks[0])
            parts.append(f'<text x="{u:.1f}" y="{_HEIGHT - 18}" class="mid">{tick:g}</text>')
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" class="end">{html.escape(x)}</text>'
    )
    for index, (name, points) in enumerate(kept.items()):
        colour = f"var(--c{index % COLOURS + 1})"
        places = [place(*point) for point in points]
        path = "L".join(f"{u:.1f} {v:.1f}" for u, v in places)
        parts.append(f'<path class="line" style="stroke:{colour}" d="M{path}"/>')
        radius = 2.5 if len(points) <= 40 else 1.2
        for (a, b), (u, v) in zip(points, places, strict=True):
            label = html.escape(f"{name}: {_shown(b, percent)} at {x} {a:g}")
            parts.append(
                f'<circle cx="{u:.1f}" cy="{v:.1f}" r="{radius}" style="fill:{colour}">'
                f"<title>{label}</title></circle>"
            )
    return _figure(title, _svg(_WIDTH, _HEIGHT, parts, title), list(kept))


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


def _grid_line(v: float, label: str) -> str:
    """A horizontal grid line at height v with its label."""
    return (
        f'<path class="grid" d="M{_LEFT} {v:.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 7}" y="{v + 4:.1f}" class="end">{label}</text>'
    )


def _shown(value: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.4g}%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def bar_chart(
    values: Mapping[str, Mapping[str, float]], *, title: str, compact: bool = False
) -> str:
    """Horizontal bars of fractions, a group per name and a bar per series.

    Args:
        values: series -> name -> fraction; a name may be missing in some series.
        title: above the chart.
        compact: half the page's width, for few names.

    Returns:
        A `figure` element, or "" without any bar.
    """
    names = list(dict.fromkeys(name for bars in values.values() for name in bars))
    if not names:
        return ""
    thickness = 14 if len(values) == 1 else 9
    pitch = thickness * len(values) + 8
    width, left, right = (460, 70, 44) if compact else (760, 140, 54)
    height = pitch * len(names) + 8
    parts = []
    for fraction in (0, 0.25, 0.5, 0.75, 1):
        u = left + fraction * (width - left - right)
        parts.append(f'<path class="grid" d="M{u:.1f} 0V{height}"/>')
    for i, name in enumerate(names):
        top = 4 + i * pitch
        middle = top + thickness * len(values) / 2 + 4
        label = html.escape(name.replace("_", " "))
        parts.append(f'<text x="{left - 8}" y="{middle:.1f}" class="end">{label}</text>')
        for j, (series, bars) in enumerate(values.items()):
            if name not in bars or not math.isfinite(bars[name]):
                continue
            value = bars[name]
            v = top + j * thickness
            length = max(0.0, min(1.0, value)) * (width - left - right)
            colour = f"var(--c{j % COLOURS + 1})"
            parts.append(
                f'<rect x="{left}" y="{v}" width="{length:.1f}" height="{thickness - 1}" rx="2" '
                f'style="fill:{colour}"><title>{html.escape(series)}, {label}: '
                f"{100 * value:.2f}%</title></rect>"
            )
            baseline = v + thickness / 2 + 3.5
            parts.append(
                f'<text x="{left + length + 5:.1f}" y="{baseline:.1f}" '
                f'class="{"value" if len(values) == 1 else "small"}">{100 * value:.1f}</text>'
            )
    return _figure(title, _svg(width, height, parts, title), list(values), wide=not compact)


def heat_map(table: Mapping[str, Mapping[str, float]], *, title: str) -> str:
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
    head = "".join(f"<th scope=col>{html.escape(str(s))}</th>" for s in severities)
    body = []
    for name, row in table.items():
        cells = [_heat_cell(row.get(s), scale, f"{name}, severity {s}") for s in severities]
        known = [row[s] for s in severities if s in row]
        mean = _heat_cell(sum(known) / len(known) if known else None, scale, f"{name}, mean")
        label = html.escape(name.replace("_", " "))
        body.append(f"<tr><th scope=row>{label}</th>{''.join(cells)}<td class=gap></td>{mean}</tr>")
    return (
        f"<figure class=heat><figcaption>{html.escape(title)}</figcaption><div class=scroll>"
        f"<table class=heat><thead><tr><th>severity</th>{head}<td class=gap></td>"
        f"<th scope=col>mean</th></tr></thead><tbody>{''.join(body)}</tbody></table></div></figure>"
    )


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


def _heat_cell(accuracy: float | None, scale: float, label: str) -> str:
    if accuracy is None or not math.isfinite(accuracy):
        return "<td>–</td>"
    share = round(100 * min(1.0, (1 - accuracy) / scale))
    return (
        f'<td class="cell{" deep" if share > 66 else ""}" style="--e:{share}%" '
        f'title="{html.escape(label)}: {100 * accuracy:.2f}%">{100 * accuracy:.1f}</td>'
    )


def _svg(width: int, height: int, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _figure(title: str, chart: str, names: Sequence[str], *, wide: bool = False) -> str:
    keys = "".join(
        f'<li><i style="background:var(--c{i % COLOURS + 1})"></i>{html.escape(name)}</li>'
        for i, name in enumerate(names)
    )
    legend = f"<ul class=legend>{keys}</ul>" if len(names) > 1 else ""
    return (
        f'<figure class="chart{" wide" if wide else ""}"><figcaption>{html.escape(title)}'
        f"</figcaption>{legend}{chart}</figure>"
    )
