"""The rooms of the package stand in the layers that docs/architecture.md gives them."""

import ast
import graphlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "augmax_jax"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
# Files that give a name to what lies in other rooms, whatever their layer.
DOORS = ("__init__.py", "__main__.py", "corruptions/__main__.py")

CORE = {"adversary", "augment", "corruptions", "models", "objectives"}
STRICT = {
    **{room: CORE | {"runtime"} for room in CORE},
    "config": {"methods", "models", "runtime"},
    "methods": CORE | {"runtime"},
    "runtime": set(),
}
SHELL = {"clu", "ml_collections", "orbax", "tensorboard", "tensorflow", "tensorflow_datasets"}
FILES = {
    "appending",
    "console",
    "files",
    "lock",
    "model_file",
    "paths",
    "progress",
    "provenance",
    "run_directory",
    "storage",
    "untrusted",
}


class Import(NamedTuple):
    """One name that a file imports."""

    file: str
    line: int
    source: str  # the importing module, with dots
    target: str  # what it imports, with dots
    lazy: bool  # inside a function


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, packages by their folder's."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
ROOMS = {name.split(".")[1] for name in MODULES if "." in name} - {"__main__"}


def imports_of(name: str, path: Path) -> list[Import]:
    """All imports of a file, those inside functions and type checks included."""
    found = []
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inside = {node for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            prefix = [*base, node.module] if node.level else [node.module]
            start = ".".join(part for part in prefix if part)
            targets = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        file = path.relative_to(PACKAGE).as_posix()
        found += [Import(file, node.lineno, name, target, node in inside) for target in targets]
    return found


IMPORTS = [
    imported
    for name, path in MODULES.items()
    if path.relative_to(PACKAGE).as_posix() not in DOORS
    for imported in imports_of(name, path)
]
INNER = [imported for imported in IMPORTS if imported.target.startswith("augmax_jax.")]


def room(name: str) -> str:
    """The room of a dotted name."""
    return name.split(".")[1]


def between_rooms() -> list[Import]:
    """The imports from one room into another."""
    return [
        imported
        for imported in INNER
        if room(imported.target) in ROOMS and room(imported.target) != room(imported.source)
    ]


def lines(imports: list[Import]) -> list[str]:
    """The imports as lines that a reader can jump to."""
    return [f"{i.file}:{i.line}: {room(i.source)} -> {i.target}" for i in imports]


def layers() -> dict[str, int]:
    """The layer of every room in the page's table."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| \S.*\|$", PAGE, re.MULTILINE)
    assert len(rows) == len({name for _, name in rows}), "a room stands twice in the table"
    return {name: int(layer) for layer, name in rows}


def doors() -> set[str]:
    """The rooms of the layer that the page says is of doors."""
    found = re.search(r"rooms of layer (\d+) are doors", PAGE)
    assert found
    return {name for name, layer in layers().items() if layer == int(found[1])}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph, empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_the_page_names_every_room_and_no_other():
    assert set(layers()) == ROOMS


def test_the_drawing_names_every_room():
    drawing = PAGE.split("```")[1]
    assert set(re.findall(r"\w+", drawing)) >= ROOMS


def test_at_most_twenty_rooms_stand_at_the_top_besides_doors():
    assert len(ROOMS - doors()) <= 20, sorted(ROOMS - doors())


def test_a_door_is_one_short_file():
    for name in doors():
        path = PACKAGE / f"{name}.py"
        assert path.is_file(), f"{name} is a package, no door"
        assert len(path.read_text().splitlines()) <= 250, f"{path} holds more than flags"


def test_imports_inside_the_package_name_rooms():
    # `from augmax_jax import evaluate_model` would hide a room behind the package's door.
    hidden = [i for i in INNER if room(i.target) not in ROOMS | {"__version__"}]
    assert lines(hidden) == []


def test_rooms_import_lower_layers_only():
    layer = layers()
    wrong = [i for i in between_rooms() if layer[room(i.target)] >= layer[room(i.source)]]
    assert lines(wrong) == []


def test_no_circle_between_rooms():
    graph: dict[str, set[str]] = {name: set() for name in ROOMS}
    for imported in between_rooms():
        graph[room(imported.source)].add(room(imported.target))
    assert cycle(graph) == []


def test_no_circle_between_modules():
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for imported in INNER:
        target = imported.target
        if target not in MODULES:
            target = target.rpartition(".")[0]
        if target != "augmax_jax":  # the door
            graph[imported.source].add(target)
    assert cycle(graph) == []


@pytest.mark.parametrize("name", sorted(STRICT))
def test_rooms_with_a_rule_of_their_own_keep_it(name):
    wrong = [
        i for i in between_rooms() if room(i.source) == name and room(i.target) not in STRICT[name]
    ]
    assert lines(wrong) == []


def test_the_core_reads_no_files_and_needs_no_tensorflow():
    wrong = [
        i
        for i in IMPORTS
        if i.source.startswith("augmax_jax.")
        and room(i.source) in CORE
        and (
            i.target.split(".")[0] in SHELL
            or any(i.target.startswith(f"augmax_jax.runtime.{module}") for module in FILES)
        )
    ]
    assert lines(wrong) == []


def test_tensorflow_is_imported_by_the_functions_that_need_it():
    heavy = {"clu", "tensorboard", "tensorflow", "tensorflow_datasets"}
    wrong = [i for i in IMPORTS if i.target.split(".")[0] in heavy and not i.lazy]
    assert {i.file for i in wrong} == {"corruption_sets/tfds_builder.py"}
