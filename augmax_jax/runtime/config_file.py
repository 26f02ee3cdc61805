"""Reads a config file: a Python file whose function `get_config()` returns the settings.

The package's own, those of the folder `configs`, are known by their names.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from augmax_jax.runtime import extras, paths
from augmax_jax.runtime.errors import check_name

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_PACKAGE = Path(__file__).parent.parent
_NAME = re.compile(r"(?P<name>\w+)(:(?P<argument>.*))?", re.DOTALL)


def load(path: str | os.PathLike[str]) -> ConfigDict:
    """The config that a file makes, as `--config=FILE` reads it.

    Args:
        path: path of the file, or the name of one of the package's own (`named`), like "digits".
            `FILE.py:TEXT` and `NAME:TEXT` pass TEXT to its `get_config`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: there is no config of that name; the file raises an error (the message has
            its line); or it returns no config.
    """
    with extras.needed("train"):
        from ml_collections import ConfigDict

    found, argument = _find(os.fspath(path))
    file = os.fspath(found)
    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"a config file is a Python file and its name ends in .py, got {file}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ValueError("it has no function get_config()")
        config = module.get_config(*([] if argument is None else [argument]))
    except Exception as error:  # whatever the file does
        raise ValueError(f"config file {file}{_line(error, file)}: {_one_line(error)}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"config file {file}: get_config() must return the ConfigDict that "
            f"augmax_jax.config.defaults() makes, got {type(config).__name__}"
        )
    return config


def named() -> dict[str, Path]:
    """The package's own configs: name -> file.

    An installed package has them inside itself, a checkout beside itself.
    """
    inside = _PACKAGE / "configs"
    folder = inside if inside.is_dir() else _PACKAGE.parent / "configs"
    return {file.stem: file for file in sorted(folder.glob("*.py"))}


def describe(file: Path) -> str:
    """The first line of a config file's docstring, which says what it trains; "" without one."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def _find(text: str) -> tuple[Path, str | None]:
    """The file that a path or a name means, and the text for its `get_config`."""
    known = named()
    name = _NAME.fullmatch(text)
    if name and not os.path.isfile(text):
        check_name("config", name["name"], known)
        return known[name["name"]], name["argument"]
    stem, colon, argument = text.partition(".py:")
    file = Path(os.path.abspath(paths.expand(f"{stem}.py" if colon else text)))
    if not file.is_file():
        own = file.stem if file.suffix == ".py" and file.stem in known else ""
        hint = f". The package has one of this name: --config={own}" if own else ""
        raise FileNotFoundError(f"there is no config file {file}{hint}")
    return file, argument if colon else None


def _line(error: Exception, file: str) -> str:
    """Where in the file an error arose."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f", line {lines[-1]}" if lines else ""


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
