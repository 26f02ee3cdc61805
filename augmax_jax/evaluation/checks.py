"""Checks the evaluation's settings before any work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from augmax_jax import corruptions, methods
from augmax_jax.data.benchmarks import NAMES, opening
from augmax_jax.evaluation import benchmarks, comparison
from augmax_jax.evaluation.corrupted import CORRUPTED
from augmax_jax.models import ROUTES, statistics_collections
from augmax_jax.runtime import paths
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.run_directory import NETWORKS

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def check(config: ConfigDict) -> None:
    """Checks `config.evaluate` as far as possible without data.

    A benchmark that does not exist is no error: `benchmarks.missing` logs it when training
    starts, and the results name it.

    Args:
        config: the whole config; a baseline must have errors on `config.data.name`.

    Raises:
        ValueError: a setting or a name is unknown, or the baseline fits none of the
            benchmarks.
        FileNotFoundError: `data_dir` or a file of the baseline does not exist.
    """
    settings = config.evaluate
    check_name("config.evaluate.checkpoint", settings.checkpoint, NETWORKS)
    if settings.checkpoint == "average" and not config.optimizer.ema:
        raise ValueError(
            "config.evaluate.checkpoint='average' needs a run with an average of its weights: set "
            "config.optimizer.ema, such as 0.999, when it is trained"
        )
    _check_routes(config)
    check_name("config.evaluate.constants", settings.constants, corruptions.BENCHMARKS)
    _check_benchmarks(settings.benchmarks)
    _check_baseline(config)
    if settings.data_dir and not paths.expand(settings.data_dir).is_dir():
        raise FileNotFoundError(
            f"config.evaluate.data_dir {settings.data_dir!r} is no folder: name the one that holds "
            "the published sets"
        )


def _check_routes(config: ConfigDict) -> None:
    """Each route of the evaluation must be one, be there once, and have been trained."""
    chosen = config.evaluate.routes
    if not isinstance(chosen, tuple | list) or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"config.evaluate.routes must be one or more of {', '.join(ROUTES)}, each once, got "
            f"{chosen!r}"
        )
    for route in chosen:
        check_name("route in config.evaluate.routes", route, ROUTES)
    if tuple(chosen) == ("clean",):
        return
    norm = config.model.norm
    if len(statistics_collections(norm)) == 1:
        raise ValueError(
            f"config.evaluate.routes={chosen!r} needs a network with a batch norm for each route, "
            f"and config.model.norm={norm!r} has one for both: use 'clean', or dubn or dubin"
        )
    trained = methods.routes(config).values()
    if missing := [route for route in chosen if route not in trained]:
        raise ValueError(
            f"config.evaluate.routes={chosen!r} needs a network that was trained on these routes, "
            f"and method {config.method!r} sends no view over {', '.join(missing)}: use 'clean', "
            "or name the method with which it was trained"
        )


def _check_benchmarks(names: Any) -> None:
    if not isinstance(names, tuple | list) or not all(isinstance(n, str) and n for n in names):
        raise ValueError(
            f"config.evaluate.benchmarks must be a tuple of names, such as ('corrupted',), got "
            f"{names!r}"
        )
    for name in names:
        benchmarks.check_name(name)


def _check_baseline(config: ConfigDict) -> None:
    """The baseline must be readable, and fit a benchmark if one has corruptions."""
    baseline = config.evaluate.baseline
    reference = comparison.read(baseline)
    if reference is None:
        return
    reasons = []
    for name in config.evaluate.benchmarks:
        constants = _constants(name, config)
        if constants is None:
            continue
        try:
            reference.fit(comparison.Target(name, constants, config.data.name))
        except ValueError as error:
            reasons.append(str(error))
        else:
            return
    if reasons:
        raise ValueError(
            f"config.evaluate.baseline={baseline!r} serves none of config.evaluate.benchmarks: "
            f"{'; '.join(dict.fromkeys(reasons))}. Name one that does, or none with "
            "--config.evaluate.baseline="
        )


def _constants(name: str, config: ConfigDict) -> str | None:
    """The constants of a benchmark; None if it has no corruptions or does not exist."""
    if name == CORRUPTED:
        return config.evaluate.constants
    if name in NAMES:
        return opening.constants_of(name) or None
    folder = paths.expand(name)
    return opening.constants_of(str(folder)) if Path(folder).is_dir() else None
