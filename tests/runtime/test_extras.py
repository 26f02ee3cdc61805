"""What is missing is one line with its remedy, and the core misses nothing."""

import ast
import importlib
import itertools
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import augmax_jax
from augmax_jax.runtime import extras

ROOT = Path(__file__).parent.parent.parent
PACKAGE = Path(augmax_jax.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Imports whose name is not that of the distribution.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "ml_dtypes": "ml-dtypes",
    "orbax": "orbax-checkpoint",
    "sklearn": "scikit-learn",
}

BLOCK = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
OPTIONAL = (
    "clu", "ml_collections", "matplotlib", "orbax", "sklearn", "tensorboard", "tensorflow",
    "tensorflow_datasets", "torch", "tqdm",
)  # fmt: skip
CORE = """
import jax, jax.numpy as jnp, numpy as np
import augmax_jax
from augmax_jax import adversary, corruptions, models, objectives

images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
labels, key = np.zeros(2, np.int32), jax.random.key(0)
network = models.create("tiny", 10)
variables = jax.jit(network.init)(key, jnp.zeros((1, 16, 16, 3)))

def logits_fn(x):
    return network.apply(variables, x, route="augmented")

hard = augmax_jax.augmax(key, logits_fn, images, labels, steps=1).images
mixed = augmax_jax.augmix(key, images)
noisy = corruptions.corrupt(key, images, "shot_noise", severity=3)
assert hard.shape == mixed.shape == noisy.shape == images.shape
"""


def run(code, *packages, arguments=()):
    program = BLOCK.format(packages=set(packages)) + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def distributions(requirements):
    """The distributions that a list of requirements names, those of our own extras included."""
    found = set()
    for requirement in requirements:
        name, extras_named = re.match(r"([\w-]+)(?:\[(.*)\])?", requirement).groups()
        if name == PROJECT["name"]:
            for extra in extras_named.split(","):
                found |= distributions(PROJECT["optional-dependencies"][extra])
        else:
            found.add(name)
    return found


def imports(path):
    """The packages that a file imports: name -> the extra it asks for them, "" for none."""
    found = []

    def look(node, extra):
        if isinstance(node, ast.With):
            call = node.items[0].context_expr
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("extras.needed"):
                extra = call.args[0].value
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Try) and any(
            handler.type is not None and "NotFoundError" in ast.unparse(handler.type)
            for handler in node.handlers
        ):
            return  # it does without
        if isinstance(node, ast.Import):
            found.extend((alias.name.partition(".")[0], extra) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.module.partition(".")[0], extra))
        for child in ast.iter_child_nodes(node):
            look(child, extra)

    look(ast.parse(path.read_text()), "")
    return [pair for pair in found if pair[0] not in {*sys.stdlib_module_names, "augmax_jax"}]


def test_every_import_is_declared_and_optional_ones_are_asked_for():
    core = distributions(PROJECT["dependencies"])
    optional = {
        extra: distributions(listed) for extra, listed in PROJECT["optional-dependencies"].items()
    }
    asked, unasked = set(), set()  # (room, package)
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        for package, extra in imports(path):
            name = DISTRIBUTIONS.get(package, package.replace("_", "-"))
            if extra:
                assert name in optional[extra], f"{path}: {package} is not of the extra [{extra}]"
                asked.add((room, package))
            elif name not in core:
                unasked.add((room, package))
    assert asked
    # One function of a room may rely on another that asked before.
    assert unasked <= asked


def test_all_has_what_the_other_extras_have():
    named = PROJECT["optional-dependencies"]
    assert named.keys() >= {"train", "tfds", "tensorboard", "torch", "all"}
    assert distributions(named["all"]) == set().union(*map(distributions, named.values()))


def test_no_range_of_the_package_stands_twice():
    optional = PROJECT["optional-dependencies"].values()
    stated = [*PROJECT["dependencies"], *itertools.chain.from_iterable(optional)]
    names = [re.match(r"[\w-]+", text)[0] for text in stated if not text.startswith("augmax-jax")]
    assert len(names) == len(set(names))
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith(("#", "-e ."))] == []


def test_the_core_runs_without_any_of_them():
    done = run(CORE, *OPTIONAL)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_named_with_its_extra():
    with (
        pytest.raises(extras.MissingExtraError, match=r"pip install 'augmax-jax\[tfds\]'$"),
        extras.needed("tfds"),
    ):
        importlib.import_module("no_such_package.inside")
    with pytest.raises(extras.MissingExtraError, match="no_such_package is not installed"):
        extras.check("no_such_package", "torch")
    extras.check("numpy", "torch")


def test_other_errors_of_an_import_pass_through():
    with pytest.raises(ModuleNotFoundError, match=r"augmax_jax\.nothing"), extras.needed("tfds"):
        importlib.import_module("augmax_jax.nothing")
    with pytest.raises(RuntimeError, match="as it is"), extras.needed("tfds"):
        raise RuntimeError("as it is")


@pytest.mark.parametrize(
    ("code", "package", "extra"),
    [
        ("augmax_jax.config.defaults()", "ml_collections", "train"),
        ("augmax_jax.train_and_evaluate", "orbax", "train"),
        ("augmax_jax.data.arrays.load_digits(8)", "sklearn", "train"),
        ("augmax_jax.data.builders.tensorflow()", "tensorflow", "tfds"),
        ("augmax_jax.data.builders.tensorflow()", "tensorflow_datasets", "tfds"),
        ("augmax_jax.training.tensorboard._import_writer()", "clu", "tensorboard"),
    ],
)
def test_each_place_says_which_extra_it_needs(code, package, extra):
    module = code.rpartition("(")[0].rpartition(".")[0] if "(" in code else "augmax_jax"
    done = run(
        f"import augmax_jax, importlib\nimportlib.import_module({module!r})\n{code}", package
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith(f"{package} is not installed: pip install 'augmax-jax[{extra}]'")


def test_pictures_do_without_matplotlib():
    done = run(
        """
        import numpy as np
        from augmax_jax.report import pictures
        tile = np.zeros((8, 8, 3), np.uint8)
        assert pictures.grid([[tile]], columns=["name"]).shape[2] == 3
        """,
        "matplotlib",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "package"),
    [("main", "ml_collections"), ("report", "ml_collections")],
)
def test_a_command_ends_in_one_line(command, package):
    code = f"""
        import runpy
        sys.argv = [{command!r}, "runs/none"]
        runpy.run_module("augmax_jax.{command}", run_name="__main__", alter_sys=True)
    """
    done = run(code, package)
    if command != "report":  # which reads no config
        assert done.stderr.splitlines()[-1:] == [
            f"error: the package {package} is not installed: pip install 'augmax-jax[train]'"
        ]
    assert "Traceback" not in done.stderr
    assert done.returncode != 0
