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
    """Raises unless the workdir belongs to this config or to none.

    A directory belongs to a config once it holds a checkpoint or results. A run that fails before
    that leaves it free.

    Args:
        config: the run's config.
        workdir: the directory; it need not exist.

    Raises:
        ValueError: the directory holds a run of a config with other results (the message lists
            the keys), or checkpoints without a config. `config.allow_config_change` turns the
            error off.
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
    """Claims the workdir for this config, by writing `config.json`.

    Args:
        config: the run's config.
        workdir: the directory; made if it is missing.

    Raises:
        ValueError: as in `check`.
        OSError: the directory cannot be written.
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
