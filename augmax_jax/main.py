"""Trains a network and measures how robust it is.

    python -m augmax_jax.main --config=configs/X.py --workdir=DIR [--mode=...] [--config.NAME=VALUE]

--mode=train, the default, trains, evaluates the best checkpoint on the robustness sets, and writes
DIR/report.html. Started again on the same DIR it goes on where it was:

    augmax-jax train --config=digits --workdir=runs/digits
    augmax-jax train --config=cifar10_wrn40_2 --workdir=runs/wrn --config.method=augmix
    augmax-jax train --workdir=runs/wrn

--mode=evaluate measures the run in DIR, or an imported network, and leaves its training alone:

    augmax-jax evaluate --workdir=runs/digits
    augmax-jax evaluate --workdir=runs/wrn \\
        --config.evaluate.benchmarks=cifar10_c --config.evaluate.data_dir=/data

--mode=replay takes the step of the run in DIR again whose loss or gradient was NaN or infinite, and
says what it measured:

    augmax-jax train --workdir=runs/wrn --mode=replay

A config is a Python file, or one that the package has, by its name (`augmax-jax list configs`). A
workdir remembers the settings of its run, so only a new run and an imported network need a config.
Any setting is changed with --config.NAME=VALUE, for example --config.adversary.steps=5;
augmax_jax/config.py lists them all. Of a run that is there only those may change that its weights
do not depend on, such as --config.evaluate.benchmarks, --config.max_steps and
--config.eval_batch_size.
"""

# This module is short on purpose: a notebook can import and call everything that it calls.

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from augmax_jax.runtime import console

if __name__ == "__main__":
    console.first_words()

from augmax_jax import config as configs
from augmax_jax.runtime import config_file, extras, host_memory, joining, paths, storage
from augmax_jax.runtime.kinds import Kind

with extras.needed("train"):
    from absl import app, flags

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "Name or file of the settings; without it those of the run in --workdir. --config.NAME=VALUE "
    "changes one of them.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Where checkpoints, logs and the report go: a folder, or gs://BUCKET/FOLDER.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "replay"],
    "train: train (or go on), then evaluate. evaluate: evaluate the run (or the imported model) "
    "in --workdir, and leave its training alone. replay: take the last step again whose loss or "
    "gradient was not finite.",
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error arose.")

logger = logging.getLogger("augmax_jax.main")  # __name__ is __main__ in the command

_SETTING = re.compile(r"--?(?P<no>no)?config\.(?P<name>[^=]+)(?P<equals>=)?(?P<text>.*)", re.DOTALL)


def main(config: ConfigDict) -> None:
    """Runs the command that --mode names, with the other processes of the run if there are any."""
    console.prepare()
    with _errors_in_one_line(), joining.session(config.distributed) as speaks:
        if not speaks:
            console.prepare(logging.WARNING)
        _run(config)


def _run(config: ConfigDict) -> None:
    logger.info(
        "%s: %s with %s on %s, in %s%s",
        _MODE.value,
        config.model.name,
        config.method,
        config.data.name,
        _WORKDIR.value,
        "" if _CONFIG.value else ", with the settings of the run there",
    )
    # After these first words, as the rest of the package takes a while to import.
    from augmax_jax.training.commands import evaluate_workdir, replay_workdir, train_and_evaluate
    from augmax_jax.training.loop import Stopped, TrainingDiverged

    host_memory.keep_freed_memory()
    command = {
        "train": train_and_evaluate,
        "evaluate": evaluate_workdir,
        "replay": replay_workdir,
    }[_MODE.value]
    with _errors_in_one_line(TrainingDiverged):
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
    if not {"-h", "--help", "-help"}.isdisjoint(given):
        print(_help())
        sys.exit(0)
    try:
        given = flags.FLAGS.read_flags_from_files(given, force_gnu=False)
    except flags.Error as error:  # from --flagfile
        sys.exit(f"error: {str(error).removeprefix('ERROR:: ')}")
    others, settings = split_settings(given)
    for flag in (_CONFIG, _WORKDIR, _MODE, _TRACEBACK):
        flags.FLAGS[flag.name].unparse()  # forgets an earlier command line of this process
    _, *unexpected = app.parse_flags_with_usage([program, *others])
    with _errors_in_one_line():
        if unexpected:
            raise ValueError(
                f"unexpected arguments: {' '.join(unexpected)}. Settings are changed with "
                "--config.NAME=VALUE"
            )
        if not _WORKDIR.value:
            raise ValueError("--workdir=DIR is missing: name a folder, new or that of a run")
        config = _base_config(_CONFIG.value, _WORKDIR.value)
        configs.check_keys(config)
        config.lock()
        for name, text in settings:
            if text is None:
                raise ValueError(f"--config.{name} needs a value: --config.{name}=VALUE")
            configs.set_setting(config, name, configs.read_setting(name, text))
        return config


def _help() -> str:
    """The text of --help: this module's, and its flags."""
    flag_lines = [
        f"  --{holder.name}: {flags.FLAGS[holder.name].help}"
        for holder in (_CONFIG, _WORKDIR, _MODE, _TRACEBACK)
    ]
    return "\n".join([f"{__doc__}", "Flags:", *flag_lines, "  --helpfull: absl's own flags too."])


def _base_config(file: str | None, directory: str) -> ConfigDict:
    """The config of a file, or without one that of the run in the directory."""
    if file:
        return config_file.load(file)
    from augmax_jax.training import workdir

    with storage.explained(directory):
        return workdir.read_config(paths.expand_workdir(directory))


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
def _errors_in_one_line(*others: type[Exception]) -> Iterator[None]:
    """Ends the command with the message of an error: it says what to do."""
    kinds: tuple[type[Exception], ...] = (ValueError, OSError, *others)
    try:
        yield
    except kinds as error:
        if _TRACEBACK.value:
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
