"""What the pages say is there: links, files, modules, settings, examples, workflows, citation."""

import ast
import functools
import importlib.util
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from ml_collections import ConfigDict

import augmax_jax
from augmax_jax.config import defaults

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = "augmax_jax|benchmarks|configs|experiments|notebooks|tests"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACEHOLDER = re.compile(r"[A-Z<*]")  # configs/X.py, table<N>.csv, benchmarks.NAME

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@functools.cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def blocks(page: Path) -> list[tuple[int, str]]:
    """The Python examples of a page, each with the line that it starts on."""
    text = page.read_text()
    found = PYTHON_BLOCK.finditer(text)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


def settings() -> set[str]:
    """Every setting and every section of the config, with dots."""

    def names(config: ConfigDict, prefix: str) -> set[str]:
        found = set()
        for name, value in config.items():
            found.add(prefix + name)
            if isinstance(value, ConfigDict):
                found |= names(value, f"{prefix}{name}.")
        return found

    return names(defaults(), "")


@every_page
def test_links_lead_somewhere(page):
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@every_page
def test_files_that_are_named_exist(page):
    named = re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./<>*]*[\w>*])", page.read_text())
    assert [n for n in named if not PLACEHOLDER.search(n) and not (ROOT / n).exists()] == []


@every_page
def test_commands_that_are_named_exist(page):
    named = re.findall(r"python -m ((?:augmax_jax|benchmarks|experiments)[\w.]*)", page.read_text())
    named = [name for name in named if not PLACEHOLDER.search(name)]
    assert [name for name in named if importlib.util.find_spec(name) is None] == []


@every_page
def test_settings_that_are_named_exist(page):
    text = page.read_text()
    named = re.findall(r"--config\.([\w.]*\w)", text)
    # In the text a setting is written `config.a.b` or `config.a.b = value`; files have a suffix.
    named += re.findall(r"`config\.((?!py\b|json\b)[a-z_]\w*(?:\.\w+)*)", text)
    # Not settings: a placeholder, and a function of the module.
    known = settings() | {"NAME", "defaults"}
    assert [n for n in named if n not in known and not n.startswith("model.options.")] == []


@every_page
def test_examples_are_python(page):
    for line, code in blocks(page):
        try:
            ast.parse(code)
        except SyntaxError as error:
            pytest.fail(f"{page.name}:{line + (error.lineno or 1) - 1}: {error}")


def test_every_page_is_reached_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    missing = [page.name for page in PAGES if f"({page.relative_to(ROOT)})" not in readme]
    assert missing == ["README.md"]


def test_citation_names_the_package_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == augmax_jax.__version__
    assert citation["license"] == project["license"]
    assert {"message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    assert paper["url"] == project["urls"]["Paper"]
    readme = (ROOT / "README.md").read_text()
    bibtex = readme[readme.index("@inproceedings") :]
    assert paper["title"] in bibtex
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in bibtex


def test_workflows_cover_the_oldest_and_the_newest_versions():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())
    rows = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (lowest,) = re.findall(r"\bjax>=([\d.]+),<", " ".join(project["dependencies"]))
    assert project["requires-python"] == f">={rows[0]['python']}"
    assert rows[0]["jax"] == f"=={lowest}.*"
    assert rows[-1]["jax"] == f">={lowest}"  # bounded by pyproject.toml alone
    pythons = {f"Programming Language :: Python :: {row['python']}" for row in rows}
    assert pythons <= set(project["classifiers"])


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda p: p.stem)
def test_workflows_run_what_is_there(path):
    workflow = yaml.safe_load(path.read_text())
    assert {"name", True, "jobs"} <= workflow.keys()  # YAML reads `on` as true
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for job in workflow["jobs"].values():
        commands = "\n".join(step.get("run", "") for step in job["steps"])
        assert commands
        for target in re.findall(r"\bmake ([\w-]+)", commands):
            assert target in targets
        for script in re.findall(r"\.ci/\w+", commands):
            assert os.access(ROOT / script, os.X_OK)


def test_hooks_run_what_the_linters_run():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    commands = [h["entry"] for repo in hooks["repos"] for h in repo["hooks"] if "entry" in h]
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    for tool in ("ruff check", "ruff format", "mypy"):
        assert f"/{tool}" in lint
        assert any(command.startswith(f".venv/bin/{tool}") for command in commands)
