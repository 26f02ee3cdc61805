"""Reads a config file: a Python file whose function `get_config()` returns the settings."""

import importlib.util
import os
import traceback

from ml_collections import ConfigDict

from augmax_jax.runtime import paths


def load(path: str | os.PathLike[str]) -> ConfigDict:
    """The config that a file makes, as `--config=FILE` reads it.

    Args:
        path: path of the file. `FILE.py:TEXT` passes TEXT to its `get_config`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file raises an error (the message has its line), or returns no config.
    """
    path = os.fspath(path)
    stem, colon, argument = path.partition(".py:")
    file = os.path.abspath(paths.expand(f"{stem}.py" if colon else path))
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no config file {file}")
    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"a config file is a Python file and its name ends in .py, got {file}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*([argument] if colon else []))
    except Exception as error:  # the file is the user's code and may raise anything
        raise ValueError(f"config file {file}{_line(error, file)}: {_one_line(error)}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"config file {file}: get_config() must return the ConfigDict that "
            f"augmax_jax.config.defaults() makes, got {type(config).__name__}"
        )
    return config


def _line(error: Exception, file: str) -> str:
    """Where in the file an error arose."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f", line {lines[-1]}" if lines else ""


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
