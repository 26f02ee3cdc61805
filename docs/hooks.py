"""The pages of the site that are not files of docs/: those of the root, and the reference.

mkdocs.yml names this module; mkdocs calls the functions whose names start with `on_`.
"""

import importlib
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Files of the root that are pages of the site, by their path there.
ROOT_PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
REFERENCE = "reference"
# Public modules with a page of their own: those that `augmax_jax` names, and those that docs/ uses.
# A name of `augmax_jax` that is a module elsewhere is described under its name in `augmax_jax`.
MODULES = {
    "The core": (
        "augment",
        "augment.operators",
        "augment.standard",
        "adversary",
        "adversary.noise_generator",
        "adversary.spatial",
        "corruptions",
        "models",
        "objectives",
    ),
    "Training and evaluation": (
        "config",
        "methods",
        "data",
        "data.benchmarks",
        "evaluation.metrics",
        "inference.predictor",
        "report",
        "report.pictures",
    ),
    "Checkpoints and data sets": (
        "torch_import",
        "torch_export",
        "inference.exporting",
        "torch_files",
        "torch_keys",
        "corruption_sets",
        "deepaugment",
    ),
    "Tools for programs of your own": (
        "runtime.keys",
        "runtime.compiler",
        "runtime.host_memory",
    ),
}
_LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\[\]]*\])*\])\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def public_names(module: Any) -> list[str]:
    """The public functions, classes and constants of a module, in its order.

    These are its `__all__` without modules, or the functions and classes that it defines itself.
    """
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [name for name in listed if not hasattr(getattr(module, name), "__path__")
                and type(getattr(module, name)).__name__ != "module"]  # fmt: skip
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def _import(name: str) -> Any:
    """A module by its name in `augmax_jax`."""
    package = importlib.import_module("augmax_jax")
    if name in package.__all__:
        return getattr(package, name)
    return importlib.import_module(f"augmax_jax.{name}")


def reference_pages() -> dict[str, str]:
    """Path of every page of the reference -> its Markdown, with directives of mkdocstrings."""
    pages = {}
    package = importlib.import_module("augmax_jax")
    overview = [
        "# Reference",
        "",
        "Made from the docstrings. Modules are imported when they are first used.",
        "",
    ]
    for group, modules in MODULES.items():
        overview += [f"**{group}**", ""]
        for name in modules:
            module = _import(name)
            summary = (module.__doc__ or "").strip().partition("\n")[0]
            overview.append(f"- [`augmax_jax.{name}`]({name}.md): {summary}")
            pages[f"{REFERENCE}/{name}.md"] = _directives(
                f"augmax_jax.{name}", module.__name__, public_names(module)
            )
        overview.append("")
    pages[f"{REFERENCE}/index.md"] = "\n".join(
        [*overview, _directives("", "augmax_jax", public_names(package))]
    )
    return pages


def _directives(title: str, module: str, names: list[str]) -> str:
    lines = [f"# {title}", ""] if title else ["## Functions of `augmax_jax`", ""]
    if title:
        lines += [f"::: {module}", "    options:", "      members: false", ""]
    for name in names:
        if name.startswith("__"):
            continue
        lines += [
            f"::: {module}.{name}",
            "    options:",
            "      show_root_heading: true",
            "      show_root_toc_entry: true",
            f"      heading_level: {2 if title else 3}",
            "",
        ]
    return "\n".join(lines)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the reference's pages below its overview."""
    (entry,) = [item for item in config.nav or [] if "Reference" in item]
    groups = [
        {group: [{name: f"{REFERENCE}/{name}.md"} for name in modules]}
        for group, modules in MODULES.items()
    ]
    entry["Reference"] = [entry["Reference"], *groups]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are no files of docs/."""
    for path, source in ROOT_PAGES.items():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / source)))
    for path, text in reference_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turns links to files of the repository into links of the site."""
    path = page.file.src_uri
    folder = "" if path in ROOT_PAGES else posixpath.dirname(f"docs/{path}")
    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(lambda link: _relink(link, folder, path), text) for text in parts[::2]]
    return "".join(parts)


def _relink(link: re.Match[str], folder: str, path: str) -> str:
    target, hash_, anchor = link["target"].partition("#")
    if not target or "://" in target or path.startswith(REFERENCE):
        return link[0]
    place = posixpath.normpath(posixpath.join(folder, target))
    pages = {source: page for page, source in ROOT_PAGES.items()}
    if place in pages:
        found = pages[place]
    elif place.startswith("docs/"):
        found = place.removeprefix("docs/")
    else:  # a file of the code, which the site does not have
        text = link["text"][1:-1]
        return text if text.startswith("`") or " " in text else f"`{text}`"
    return (
        f"{link['text']}({posixpath.relpath(found, posixpath.dirname(path) or '.')}{hash_}{anchor})"
    )
