"""Builds the frame of a report: one self-contained HTML file in light or dark colours."""

import base64
import html
from pathlib import Path

_STYLE = """
:root { color-scheme: light dark;
  --paper:#f6f7f9; --card:#fff; --ink:#1b1f24; --faint:#626b77; --rule:#dfe3e8; --grid:#e8ebef;
  --accent:#2563c9; --warm:#d1442f; --warn:#fff4dc; --best:#e6effc;
  --c1:#2a6fdb; --c2:#d9730d; --c3:#178a6b; --c4:#8a4fd0; --c5:#c83a5b; --c6:#7a828c; }
@media (prefers-color-scheme: dark) { :root {
  --paper:#14171b; --card:#1c2026; --ink:#e6e9ed; --faint:#9aa4b0; --rule:#323942; --grid:#2a3038;
  --accent:#7fb0ff; --warm:#e8604a; --warn:#3a3018; --best:#1f3253;
  --c1:#6ea6ff; --c2:#f0a04b; --c3:#4cc3a0; --c4:#b98cf0; --c5:#f07a96; --c6:#a3abb5; } }
* { box-sizing:border-box }
body { margin:0; background:var(--paper); color:var(--ink); line-height:1.5;
  font:15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif }
main { max-width:1040px; margin:0 auto; padding:28px 20px 64px }
h1 { font-size:27px; line-height:1.2; margin:0 0 4px; letter-spacing:-.01em }
h2 { font-size:19px; margin:40px 0 12px; letter-spacing:-.005em }
h3 { font-size:15px; margin:22px 0 8px }
p { margin:8px 0; max-width:75ch } .lead, .note, figcaption small { color:var(--faint) }
.note { font-size:13px; white-space:pre-line }
a { color:var(--accent) }
nav { margin:14px 0 0; display:flex; flex-wrap:wrap; gap:4px 16px; font-size:14px }
nav a { text-decoration:none } nav a:hover { text-decoration:underline }
section.card, figure, .tile, details { background:var(--card); border:1px solid var(--rule);
  border-radius:10px }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:12px;
  margin:20px 0 }
.tile { padding:12px 16px } .tile b { display:block; font-size:28px; line-height:1.15;
  font-variant-numeric:tabular-nums; letter-spacing:-.02em } .tile b small { font-size:16px }
.tile span { font-size:13px; color:var(--faint) } .tile span strong { color:var(--ink) }
.warn { background:var(--warn); border-radius:8px; padding:8px 14px; max-width:none }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));
  gap:14px }
figure { margin:0; padding:12px 14px } figure + figure { margin-top:0 }
figure.wide, figure.heat { margin:14px 0 }
figcaption { font-weight:600; font-size:14px; margin-bottom:4px }
figcaption small { font-weight:400; font-size:13px }
svg { display:block; width:100%; height:auto; font-size:11.5px; fill:var(--faint) }
svg text.end { text-anchor:end } svg text.mid { text-anchor:middle }
svg text.small { font-size:8.5px } svg text.value { font-size:11px }
svg .grid { stroke:var(--grid); fill:none } svg .line { fill:none; stroke-width:1.8;
  stroke-linejoin:round; stroke-linecap:round }
.beside { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));
  gap:14px; align-items:start; margin:14px 0 } .beside figure.heat { margin:0 }
.beside > div { display:grid; gap:14px }
.wide svg { max-width:860px }
.legend { list-style:none; margin:0 0 6px; padding:0; display:flex; flex-wrap:wrap; gap:2px 14px;
  font-size:12.5px; color:var(--faint) }
.legend i { display:inline-block; width:10px; height:10px; border-radius:3px; margin-right:5px }
.scroll { overflow-x:auto }
table { border-collapse:collapse; font-variant-numeric:tabular-nums; font-size:14px }
caption { text-align:left; font-weight:600; padding:0 0 6px }
th, td { padding:5px 14px; text-align:right; border-bottom:1px solid var(--rule);
  white-space:nowrap; font-weight:400 }
thead th { color:var(--faint); font-size:13px; border-bottom-color:var(--faint) }
th:first-child { text-align:left; padding-left:2px } td.best { font-weight:700;
  background:var(--best) }
section.card { padding:14px 16px; margin:12px 0 }
table.heat { border-collapse:separate; border-spacing:2px }
table.heat th, table.heat td { border:0; padding:3px 10px } table.heat td.gap { padding:3px }
table.heat td.cell { text-align:center; border-radius:4px; min-width:46px; padding:3px 5px;
  background:color-mix(in oklab, var(--warm) var(--e), var(--card)) }
table.heat td.deep { color:#fff } table.heat thead th { text-align:center }
table.heat th:first-child { text-align:left }
img { display:block; max-width:100%; background:#fff; border-radius:6px; padding:6px }
details { padding:10px 16px; margin:12px 0 } summary { cursor:pointer; font-weight:600;
  font-size:14px } details[open] summary { margin-bottom:10px }
code { font:13px ui-monospace, "SFMono-Regular", Menlo, "DejaVu Sans Mono", monospace }
table.config td { text-align:left; white-space:normal; overflow-wrap:anywhere }
footer { margin-top:48px; color:var(--faint); font-size:13px }
@media print { body { background:#fff } nav { display:none } figure { break-inside:avoid } }
"""


def page(title: str, lead: str, sections: list[tuple[str, str]], *, top: str = "") -> str:
    """A whole page.

    Args:
        title: heading and title of the window; plain text.
        lead: a line below it; plain text.
        sections: (heading, HTML); empty ones are left out.
        top: HTML before the first section.

    Returns:
        HTML that refers to nothing outside itself.
    """
    sections = [(heading, body) for heading, body in sections if body]
    links = "".join(
        f'<a href="#{_anchor(heading)}">{html.escape(heading)}</a>' for heading, _ in sections
    )
    bodies = "".join(
        f'<h2 id="{_anchor(heading)}">{html.escape(heading)}</h2>{body}'
        for heading, body in sections
    )
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<header><h1>{html.escape(title)}</h1><p class=lead>{html.escape(lead)}</p>"
        f"<nav>{links}</nav></header>{top}{bodies}"
        "<footer>Accuracies are in percent. Written by augmax_jax.report.</footer>"
        "</main></body></html>\n"
    )


def picture(path: Path, title: str, note: str = "") -> str:
    """A PNG file, embedded, as a figure."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    small = f" <small>{html.escape(note)}</small>" if note else ""
    return (
        f"<figure class=wide><figcaption>{html.escape(title)}{small}</figcaption><div class=scroll>"
        f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}"></div></figure>'
    )


def details(heading: str, body: str) -> str:
    """HTML that shows when its heading is clicked."""
    return f"<details><summary>{html.escape(heading)}</summary>{body}</details>" if body else ""


def card(body: str) -> str:
    """HTML on a card."""
    return f"<section class=card>{body}</section>" if body else ""


def tile(figure: str, title: str, note: str = "", unit: str = "%") -> str:
    """A figure that is to be seen first."""
    small = f"<small>{html.escape(unit)}</small>" if unit else ""
    return (
        f"<div class=tile><span><strong>{html.escape(title)}</strong></span>"
        f"<b>{html.escape(figure)}{small}</b><span>{html.escape(note)}</span></div>"
    )


def _anchor(heading: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in heading.lower())
