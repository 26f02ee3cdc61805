"""The form of all public functions: key first, options by keyword, a full docstring."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).parent
MODULES = (
    "augmax_jax.adversary",
    "augmax_jax.adversary.noise_generator",
    "augmax_jax.augment",
    "augmax_jax.augment.operators",
    "augmax_jax.augment.standard",
    "augmax_jax.corruptions",
    "augmax_jax.evaluation.metrics",
    "augmax_jax.models",
    "augmax_jax.objectives",
)
# Array types in a signature; such functions say the shapes of what they take.
ARRAYS = re.compile(r"\bArray\b|ndarray|ArrayLike")
SHAPE = re.compile(r"`?\[[A-Za-z0-9_.' +\-*/,]*\]`?|any shape|scalar|like `")
# A docstring that sends the reader to that of another function.
AS_ANOTHER = re.compile(r"\b[Aa]s (in )?`")
# Defaults that may be given by position: which part of the first argument is meant.
BY_POSITION: dict[str, set[str]] = {
    **{
        f"augmax_jax.evaluation.metrics.{name}": {"corruptions"}
        for name in (
            "accuracy_by_corruption",
            "accuracy_by_severity",
            "corruption_errors",
            "error_matrix",
            "mean_corruption_error",
            "relative_mean_corruption_error",
            "robust_accuracy",
        )
    },
    "augmax_jax.evaluation.metrics.tally": {"mask"},
    "augmax_jax.models.input_normalization": {"mean", "std"},
    "augmax_jax.models.single_route": {"route"},
}


def members(module: ModuleType) -> dict[str, Any]:
    """The public functions and classes of a module: its `__all__`, or what it defines itself."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    found = {name: getattr(module, name) for name in names}
    return {
        name: value
        for name, value in found.items()
        if callable(value) and getattr(value, "__module__", "").startswith("augmax_jax")
    }


PUBLIC = {
    f"{module}.{name}": value
    for module in ("augmax_jax", *MODULES)
    for name, value in members(importlib.import_module(module)).items()
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if not inspect.isclass(value)}
assert len(FUNCTIONS) > 40


def arguments(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_key_comes_first(name):
    names = [parameter.name for parameter in arguments(FUNCTIONS[name])]
    assert "key" not in names[1:]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_given_by_keyword(name):
    by_position = {
        parameter.name
        for parameter in arguments(FUNCTIONS[name])
        if parameter.default is not parameter.empty and parameter.kind != parameter.KEYWORD_ONLY
    }
    assert by_position == BY_POSITION.get(name, set())


@pytest.mark.parametrize("name", PUBLIC)
def test_everything_public_has_a_docstring_of_its_own(name):
    value = PUBLIC[name]
    own = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
    assert own
    assert not own.startswith(f"{value.__name__}(")  # what NamedTuple writes by itself


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_arrays_say_their_shapes(name):
    function = FUNCTIONS[name]
    annotations = {p.name: str(p.annotation) for p in arguments(function)}
    arrays = [k for k, v in annotations.items() if ARRAYS.search(v) and k != "key"]
    doc = function.__doc__
    if arrays and not AS_ANOTHER.search(doc):
        assert SHAPE.search(doc), arrays


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstrings_say_what_is_raised_and_what_every_argument_is(name):
    """Where there is a list of arguments, all of them are in it; `raise` in the body is told."""
    function = FUNCTIONS[name]
    doc = function.__doc__
    if "Args:" in doc:
        listed = set(re.findall(r"^\s+\*{0,2}(\w+):", doc, re.MULTILINE))
        assert {p.name for p in arguments(function)} <= listed
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(inspect.unwrap(function))))
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    if raises:
        assert re.search(r"Raises:|[Rr]aises? ValueError", doc) or AS_ANOTHER.search(doc)


# Private names that tests may use, with the reason.
PRIVATE = {
    "tests/bucket.py": {"_is_tf_installed"},  # of etils: which client it takes
    "tests/evaluation/test_robustness.py": {"_mistakes"},  # else only seen in a picture's pixels
    "tests/runtime/test_progress.py": {"_recent"},  # that memory does not grow with the run
    "tests/training/test_checkpoints.py": {"_managers"},  # a full disk, as Orbax meets it
    "tests/training/test_kills.py": {"_exit"},  # of `os`: how a forked process ends
    "tests/training/test_telemetry.py": {"_file"},  # a full disk: the file becomes /dev/full
    "tests/deepaugment/test_distortion.py": {"_program", "_save"},  # quick networks; a crash
    "tests/models/test_norm.py": {"_joined", "_normalising"},  # names in the compiled program
    "tests/corruptions/test_parts.py": {
        "_inverse_affine",  # geometry against OpenCV, which `elastic_transform` hides in noise
        "_bilinear",
        "_motion",  # of the tests' own reference
        "_reflect",
        "_reflect_101",
    },
}
NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}


def private_names(path: Path) -> set[str]:
    """Private names of others that a test reads, imports or replaces; its own do not count."""
    tree = ast.parse(path.read_text())
    own = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") != "self":
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
            found |= {text.rpartition(".")[2] for text in texts if isinstance(text, str)}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
            found |= {a.value for a in node.args[1:2] if isinstance(a, ast.Constant)}
    return {name for name in found if re.match(r"_[a-z]", name)} - own - NAMED_TUPLES


def test_tests_do_not_pin_private_names():
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        allowed = PRIVATE.get(path.relative_to(TESTS.parent).as_posix(), set())
        if names := private_names(path) - allowed:
            found[path.relative_to(TESTS).as_posix()] = sorted(names)
    assert not found
