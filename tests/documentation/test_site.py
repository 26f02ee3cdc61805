"""The site: every public name is in its reference, it builds without a warning, links hold."""

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import augmax_jax
from tests.documentation.blocks import ROOT

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")
import yaml

_SPEC = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "hooks.py")
hooks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hooks)

# Public modules beside those that `augmax_jax` names: what the pages import.
IMPORT = re.compile(
    r"^(?:from (augmax_jax[\w.]*) import ([\w, ]+)|import (augmax_jax[\w.]*))$", re.M
)
# What a browser loads with a page.
LOADED = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]+(?:src|href)="(https?://[^"]+)"')
# Modules that a page imports to show how the package is extended or measured.
INNER = {"corruptions.constants", "corruptions.registry", "models.cpu.convolution"} | {
    "deepaugment.distortion",
    "deepaugment.training",
    "corruption_sets.tfds_builder",
}


def members(module) -> list[str]:
    """Public functions and classes of a module."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return [n for n in names if callable(getattr(module, n)) and not n.startswith("__")]


def public_names() -> set[str]:
    """Every public function and class, by the full name that the reference gives it."""
    found = set()
    for name in augmax_jax.__all__:
        value = getattr(augmax_jax, name)
        if inspect.ismodule(value):
            found |= {f"{value.__name__}.{member}" for member in members(value)}
        elif name != "__version__":
            found.add(f"augmax_jax.{name}")
    for name in imported_modules():
        module = importlib.import_module(f"augmax_jax.{name}")
        found |= {f"{module.__name__}.{member}" for member in members(module)}
    return found


def imported_modules() -> set[str]:
    """Modules below `augmax_jax` that the snippets of the pages import, without the inner ones."""
    found = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for source, names, module in IMPORT.findall(page.read_text()):
            candidates = [module or source, *(f"{source}.{n.strip()}" for n in names.split(","))]
            for candidate in candidates:
                if candidate.startswith("augmax_jax.") and _is_module(candidate):
                    found.add(candidate.removeprefix("augmax_jax."))
    return found - INNER


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_every_public_name_has_an_entry_in_the_reference():
    text = "\n".join(hooks.reference_pages().values())
    entries = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    expected = public_names()
    assert len(expected) > 80
    assert expected - entries == set()


def test_every_page_has_a_place_in_the_navigation():
    class Loader(yaml.SafeLoader):
        """Passes over the tags that name Python functions."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]

    def leaves(item):
        if isinstance(item, str):
            return [item]
        values = item.values() if isinstance(item, dict) else item
        return [leaf for value in values for leaf in leaves(value)]

    pages = {path.name for path in (ROOT / "docs").glob("*.md")} | set(hooks.ROOT_PAGES)
    assert sorted(leaves(nav)) == sorted([*pages, "reference/index.md"])


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "[a](docs/data.md#images)", "[a](data.md#images)"),
        ("index.md", "![a [b]](docs/pictures/augmax.png)", "![a [b]](pictures/augmax.png)"),
        ("index.md", "[the configs](configs)", "the configs"),
        ("contributing.md", "[log](CHANGELOG.md)", "[log](changelog.md)"),
        ("data.md", "[way](#sizes)", "[way](#sizes)"),
        ("data.md", "[home](../README.md#train)", "[home](index.md#train)"),
        ("data.md", "[`config`](../augmax_jax/config.py)", "`config`"),
        ("data.md", "[paper](https://arxiv.org/abs/1)", "[paper](https://arxiv.org/abs/1)"),
        ("data.md", "```\n[a](docs/x.md)\n```", "```\n[a](docs/x.md)\n```"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page, link, expected):
    class Stub:
        class file:
            src_uri = page

    assert hooks.on_page_markdown(link, Stub) == expected


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site. A warning ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_built_site_has_every_public_name(site):
    text = "\n".join(path.read_text() for path in (site / "reference").glob("*.html"))
    anchors = set(re.findall(r'id="(augmax_jax[\w.]+)"', text))
    assert public_names() - anchors == set()


@pytest.mark.slow
def test_the_built_site_needs_nothing_from_elsewhere(site):
    for path in site.glob("**/*.html"):
        assert LOADED.findall(path.read_text()) == [], path
    assert (site / "pictures" / "augmax.png").stat().st_size <= 300_000
    assert 'src="pictures/augmax.png"' in (site / "index.html").read_text()
