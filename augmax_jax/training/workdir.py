"""A run's directory: claimed by one config, written atomically."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax.runtime.files import read_json, write_json
from augmax_jax.runtime.run_directory import CONFIG


def claim(config: ConfigDict, workdir: Path) -> None:
    """Makes the workdir this config's, or finds that it is already.

    Args:
        config: the run's config.
        workdir: created if need be.

    Raises:
        ValueError: it holds a run of a config that differs in what is computed; the keys
            are listed. Or it holds checkpoints and no config that they could be of.
            `config.allow_config_change` goes on regardless.
        OSError: it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--workdir {workdir} cannot be made ({error.strerror}): choose another"
        ) from error
    mine = configs.to_dict(config)
    theirs = read_json(workdir / CONFIG)
    if not config.allow_config_change:
        _check_same_run(mine, theirs, workdir)
    write_json(workdir / CONFIG, mine)


def _check_same_run(mine: dict[str, Any], theirs: dict[str, Any] | None, workdir: Path) -> None:
    """Raises ValueError if the workdir holds a run of another config, or of an unknown one."""
    advice = "another --workdir, or go on all the same with --config.allow_config_change=True"
    if theirs is None:
        if any(workdir.glob("checkpoints/*/*")):
            raise ValueError(
                f"{workdir} holds checkpoints but no {CONFIG} that says of which run: put that "
                f"file back, choose {advice}"
            )
        return
    changed = configs.differences(mine, theirs)
    if changed:
        raise ValueError(
            f"{workdir} holds a run of another config. Differing keys:\n  "
            + "\n  ".join(changed)
            + f"\nChoose {advice}"
        )
