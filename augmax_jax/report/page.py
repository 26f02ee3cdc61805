"""Builds the frame of a report: one self-contained HTML file in light or dark colours.

HTML comes from the templates beside this file alone, with escaping on: text from a run (names of
classes, folders, settings) can hold anything.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from augmax_jax.runtime import extras

with extras.needed("train"):
    import jinja2
    from markupsafe import Markup

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
NOTHING = Markup("")


class Tile(NamedTuple):
    """A figure in percent that is to be seen first."""

    figure: str
    title: str
    note: str = ""


def fill(template: str, **values: Any) -> Markup:
    """HTML from a template.

    Args:
        template: its name, without `.html`.
        values: what it shows; text is escaped, `Markup` is HTML already.
    """
    return Markup(_TEMPLATES.get_template(f"{template}.html").render(**values))


def join(parts: Iterable[Markup]) -> Markup:
    """Pieces of HTML one after the other."""
    return NOTHING.join(parts)


def page(
    title: str,
    lead: str,
    sections: Sequence[tuple[str, Markup]],
    *,
    top: Markup = NOTHING,
    colours: int = 0,
) -> str:
    """A whole page.

    Args:
        title: heading and title of the window; plain text.
        lead: a line below it; plain text.
        sections: (heading, HTML); empty ones are left out.
        top: HTML before the first section.
        colours: the style sheet's `--c1`, `--c2`, ... reach at least to this number.

    Returns:
        HTML that refers to nothing outside itself.
    """
    shown = [(heading, body) for heading, body in sections if body]
    return str(
        fill("page", title=title, lead=lead, sections=shown, top=top, colours=colours,
             anchor=_anchor)
    )  # fmt: skip


def details(heading: str, body: Markup) -> Markup:
    """HTML that shows when its heading is clicked."""
    return fill("details", heading=heading, body=body) if body else NOTHING


def card(body: Markup) -> Markup:
    """HTML on a card."""
    return fill("card", body=body) if body else NOTHING


def group(kind: str, parts: Iterable[Markup]) -> Markup:
    """Pieces of HTML laid out side by side where there is room.

    Args:
        kind: class of the style sheet: "charts" or "beside"; "" for one below the other.
        parts: the pieces; empty ones are left out.
    """
    body = join(part for part in parts if part)
    return Markup('<div class="{}">{}</div>').format(kind, body) if body else NOTHING


def notes(texts: Sequence[str], heading: str = "") -> Markup:
    """Remarks as a list."""
    return fill("notes", heading=heading, notes=texts) if texts else NOTHING


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return Markup("<h3>{}</h3>").format(text)


def note(text: str, kind: str = "note") -> Markup:
    """A paragraph of the style sheet's class `kind`."""
    return Markup('<p class="{}">{}</p>').format(kind, text) if text else NOTHING


def _anchor(heading: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in heading.lower())
