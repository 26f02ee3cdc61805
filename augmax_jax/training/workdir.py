"""Claims a run's directory for one config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from augmax_jax import config as configs
from augmax_jax.runtime.files import read_json, write_json
from augmax_jax.runtime.run_directory import CONFIG, RESULTS, has_checkpoints

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_ADVICE = "another --workdir, or go on all the same with --config.allow_config_change=True"


def check(config: ConfigDict, workdir: Path) -> None:
    """Finds out whether the workdir is this config's or free to take.

    A directory is taken once something is kept in it: a checkpoint, or results. A start that
    failed before leaves it free.

    Args:
        config: the run's config.
        workdir: need not be there.

    Raises:
        ValueError: it holds a run of a config that differs in what is computed; the keys
            are listed. Or it holds checkpoints and no config that they could be of.
            `config.allow_config_change` goes on regardless.
    """
    if config.allow_config_change:
        return
    kept = has_checkpoints(workdir)
    theirs = read_json(workdir / CONFIG)
    if kept and theirs is None:
        raise ValueError(
            f"{workdir} holds checkpoints but no {CONFIG} that says of which run: put that "
            f"file back, choose {_ADVICE}"
        )
    if theirs is not None and (kept or (workdir / RESULTS).exists()):
        _check_same(configs.to_dict(config), theirs, workdir)


def claim(config: ConfigDict, workdir: Path) -> None:
    """Makes the workdir this config's, as soon as something is kept there.

    Args:
        config: the run's config.
        workdir: created if need be.

    Raises:
        ValueError: as `check`.
        OSError: it cannot be written.
    """
    check(config, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / CONFIG, configs.to_dict(config))


def _check_same(mine: dict[str, Any], theirs: dict[str, Any], workdir: Path) -> None:
    changed = configs.differences(mine, theirs)
    if changed:
        raise ValueError(
            f"{workdir} holds a run of another config. Differing keys:\n  "
            + "\n  ".join(changed)
            + f"\nChoose {_ADVICE}"
        )
