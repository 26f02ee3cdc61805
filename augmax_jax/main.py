"""The command: python -m augmax_jax.main --config=configs/X.py --workdir=DIR [--mode=...].

Any setting is changed with --config.NAME=VALUE, for example --config.adversary.steps=5;
augmax_jax/config.py lists them all.

This module is short on purpose: a notebook can import and call everything that it calls.
"""

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence

from absl import app, flags
from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax.runtime import config_file, console, host_memory
from augmax_jax.runtime.kinds import Kind
from augmax_jax.training.commands import evaluate_workdir, train_and_evaluate
from augmax_jax.training.loop import Stopped, TrainingDiverged

_CONFIG = flags.DEFINE_string(
    "config", None, "File of settings. --config.NAME=VALUE changes one of them."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and the report go.")
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate"],
    "train: train (or go on), then evaluate. evaluate: evaluate the run in --workdir.",
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error arose.")

_SETTING = re.compile(r"--?(?P<no>no)?config\.(?P<name>[^=]+)(?P<equals>=)?(?P<text>.*)", re.DOTALL)


def main(config: ConfigDict) -> None:
    """Runs the command that --mode names."""
    console.prepare()
    host_memory.keep_freed_memory()
    command = train_and_evaluate if _MODE.value == "train" else evaluate_workdir
    with _errors_in_one_line():
        try:
            command(config, _WORKDIR.value or "")  # parse_flags requires a workdir
        except Stopped as stop:
            sys.exit(stop.status)
        except KeyboardInterrupt:
            sys.exit(130)


def parse_flags(arguments: Sequence[str]) -> ConfigDict:
    """Parses the command line, and returns the config with every change that it makes.

    Args:
        arguments: as in `sys.argv`, with the program's name first.
    """
    program, *given = arguments
    try:
        given = flags.FLAGS.read_flags_from_files(given, force_gnu=False)
    except flags.Error as error:  # from --flagfile
        sys.exit(f"error: {str(error).removeprefix('ERROR:: ')}")
    others, settings = split_settings(given)
    _, *unexpected = app.parse_flags_with_usage([program, *others])
    with _errors_in_one_line():
        if unexpected:
            raise ValueError(
                f"unexpected arguments: {' '.join(unexpected)}. Settings are changed with "
                "--config.NAME=VALUE"
            )
        if not _CONFIG.value:
            raise ValueError("--config=FILE is missing: name a file such as configs/digits.py")
        if not _WORKDIR.value:
            raise ValueError("--workdir=DIR is missing: name a folder, new or that of a run")
        config = config_file.load(_CONFIG.value)
        configs.check_keys(config)
        for name, text in settings:
            if text is None:
                raise ValueError(f"--config.{name} needs a value: --config.{name}=VALUE")
            configs.set_setting(config, name, configs.read_setting(name, text))
        return config


def split_settings(
    arguments: Sequence[str],
) -> tuple[list[str], list[tuple[str, str | None]]]:
    """Takes the settings out of a command line.

    It reads `--config.NAME=VALUE`, `--config.NAME VALUE`, and for a setting that is true or
    false also `--config.NAME` and `--noconfig.NAME`.

    Args:
        arguments: without the program's name.

    Returns:
        The other arguments; and the settings in their order, each with the text of its value, or
        None if there is no text.
    """
    others: list[str] = []
    settings: list[tuple[str, str | None]] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*others, argument, *rest], settings
        found = _SETTING.fullmatch(argument)
        if found is None:
            others.append(argument)
            continue
        name, text = found["name"], found["text"] if found["equals"] else None
        follows = rest[0] if rest and not rest[0].startswith("--") else None
        if text is None and found["no"]:
            text = "false"
        elif text is None and configs.kinds().get(name) == Kind(bool):
            # A flag without a value is true, unless the next argument is a value.
            text = rest.pop(0) if follows and _is_bool(follows) else "true"
        elif text is None and follows is not None:
            text = rest.pop(0)
        settings.append((name, text))
    return others, settings


def _is_bool(text: str) -> bool:
    try:
        Kind(bool).read(text)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Ends the command with an error's message, which says what to do, and no traceback."""
    try:
        yield
    except (ValueError, OSError, TrainingDiverged) as error:
        if _TRACEBACK.value:
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
