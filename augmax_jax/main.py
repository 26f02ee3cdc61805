"""The command: python -m augmax_jax.main --config=configs/X.py --workdir=DIR [--mode=...].

Deliberately short: everything it calls can be imported and called from a notebook.
"""

import sys

from absl import app, flags
from ml_collections import config_flags

from augmax_jax import config as configs
from augmax_jax.runtime import console, host_memory, paths
from augmax_jax.training.commands import evaluate_workdir, train_and_evaluate
from augmax_jax.training.loop import Stopped, TrainingDiverged

_CONFIG = config_flags.DEFINE_config_file("config", None, "Settings of the run.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and the report go.")
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate"],
    "train: train (or go on), then evaluate. evaluate: evaluate the run in --workdir.",
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error arose.")


def main(arguments: list[str]) -> None:
    """Dispatches on --mode."""
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(arguments[1:])}")
    console.prepare()
    host_memory.keep_freed_memory()
    directory = _WORKDIR.value or ""  # required, see below
    command = train_and_evaluate if _MODE.value == "train" else evaluate_workdir
    try:
        command(_CONFIG.value, directory)
    except (ValueError, OSError, TrainingDiverged) as error:
        # The message says what the user can do; a traceback would only hide it.
        if _TRACEBACK.value:
            raise
        sys.exit(f"error: {error}")
    except Stopped as stop:
        sys.exit(stop.status)
    except KeyboardInterrupt:
        sys.exit(130)


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses the command line; a setting that does not exist ends it with one line.

    Args:
        arguments: of the process, its name first.

    Returns:
        What is no flag.
    """
    try:
        arguments = [_expanded(argument) for argument in arguments]
        return app.parse_flags_with_usage(arguments)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        # What ml_collections raises for a setting or a file that is not there.
        wanted = (a.removeprefix("--config.") for a in arguments if a.startswith("--config."))
        message = str(error)
        try:
            configs.check_settings(name.partition("=")[0] for name in wanted)
        except ValueError as unknown:
            message = str(unknown)
        sys.exit(f"error: {message}")


def _expanded(argument: str) -> str:
    """`--config=~/mine.py` with the home directory in place; other arguments as they are."""
    flag, _, path = argument.partition("=")
    return f"{flag}={paths.expand(path)}" if flag == "--config" and path else argument


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=parse_flags)
