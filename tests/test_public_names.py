"""The names of the package itself: there, imported on first use, and typed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import augmax_jax

SOURCE = Path(augmax_jax.__file__)


def test_every_public_name_is_there():
    for name in augmax_jax.__all__:
        assert getattr(augmax_jax, name) is not None
    assert dir(augmax_jax) == sorted(augmax_jax.__all__)
    from augmax_jax import torch_files, torch_keys

    assert torch_files.read_state_dict
    assert torch_keys.entries
    with pytest.raises(AttributeError, match="no attribute 'augmaks'"):
        augmax_jax.augmaks  # noqa: B018


def test_the_package_is_imported_without_jax():
    code = "import sys, augmax_jax; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_type_checkers_see_every_public_name():
    tree = ast.parse(SOURCE.read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        alias.asname or alias.name
        for node in blocks[0].body
        for alias in getattr(node, "names", [])
    }
    assert imported == set(augmax_jax.__all__) - {"__version__"}


USER = """
import augmax_jax
from augmax_jax import models

reveal_type(augmax_jax.augmax)
reveal_type(augmax_jax.augmix)
reveal_type(augmax_jax.evaluate_model)
reveal_type(augmax_jax.train_and_evaluate)
reveal_type(augmax_jax.torch_import.from_state_dict)
reveal_type(augmax_jax.corruptions.corrupt)
reveal_type(models.create)
augmax_jax.augmaks
"""


@pytest.mark.slow
def test_mypy_of_a_user_sees_types(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER)
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "user.py"]
    environment = {"MYPYPATH": str(SOURCE.parent.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("user.py")]
    revealed = [line for line in lines if "Revealed type" in line]
    assert len(revealed) == 7
    assert not [line for line in revealed if 'is "Any"' in line]
    assert [line for line in lines if "error" in line and 'no attribute "augmaks"' in line]
