"""Claims a run's directory for one config, and reads it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from augmax_jax import config as configs
from augmax_jax.runtime import model_file, storage
from augmax_jax.runtime.files import read_json, write_json
from augmax_jax.runtime.paths import RunPath
from augmax_jax.runtime.run_directory import CONFIG, RESULTS, has_checkpoints

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_GIVE = "give --config=FILE, or the name of a config such as digits"
_ADVICE = "another --workdir, or go on all the same with --config.allow_config_change=True"


def check(config: ConfigDict, workdir: RunPath) -> None:
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
    theirs = _read(workdir)
    if kept and theirs is None:
        raise ValueError(
            f"{workdir} holds checkpoints but no {CONFIG} that says of which run: put that "
            f"file back, choose {_ADVICE}"
        )
    if theirs is not None and (kept or (workdir / RESULTS).exists()):
        _check_same(configs.to_dict(config), theirs, workdir)


def claim(config: ConfigDict, workdir: RunPath) -> None:
    """Claims the workdir for this config, by writing `config.json`.

    Args:
        config: the run's config.
        workdir: the directory; made if it is missing.

    Raises:
        ValueError: as in `check`.
        OSError: the directory cannot be written.
    """
    check(config, workdir)
    storage.make(workdir)
    write_json(workdir / CONFIG, configs.to_dict(config))


def read_config(workdir: RunPath) -> ConfigDict:
    """The config of the run in a workdir, so that the run goes on or is evaluated with it.

    A run of an older version has its settings by their present names. Settings that came later
    are at their defaults, as they were in effect. `allow_config_change` is one command's and is
    not remembered.

    Raises:
        FileNotFoundError: there is no `config.json`; the message says what to give instead.
        ValueError: it is damaged, or has settings that this version does not know.
    """
    kept = _read(workdir)
    if kept is None:
        raise FileNotFoundError(f"--config=FILE is missing: {_without_config(workdir)}")
    config = configs.defaults()
    for name, value in configs.settings_of(kept).items():
        if name.partition(".")[0] in configs.FORGOTTEN:
            continue
        try:
            configs.set_setting(config, name, tuple(value) if isinstance(value, list) else value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{workdir / CONFIG}: {error}; or {_GIVE}") from error
    return config


def _read(workdir: RunPath) -> dict[str, Any] | None:
    """The contents of `config.json`; None without one."""
    kept = read_json(workdir / CONFIG)
    if kept is not None and not isinstance(kept, dict):
        raise ValueError(
            f"{workdir / CONFIG} is damaged (it holds no settings); remove it or restore it"
        )
    return kept


def _without_config(workdir: RunPath) -> str:
    """What is in a directory instead of a `config.json`, and what to do."""
    if has_checkpoints(workdir):
        return (
            f"{workdir} holds checkpoints but no {CONFIG}; put that back, or {_GIVE}, with "
            "--config.allow_config_change=True"
        )
    imported = model_file.read(workdir)
    if imported is None:
        return f"{workdir} holds no run whose {CONFIG} could be taken; {_GIVE}"
    options = [f"--config.model.options.{k}={v}" for k, v in imported["options"].items()]
    numbers = [
        f"--config.model.{name}={','.join(map(str, imported[name]))}"
        for name in ("mean", "std")
        if imported[name] is not None
    ]
    flags = " ".join(
        [
            f"--config.model.name={imported['model']}",
            f"--config.model.norm={imported['norm']}",
            *options,
            *numbers,
            "--config.data.name=DATA",
        ]
    )
    return (
        f"{workdir} holds an imported model, which says nothing of data; evaluate it with "
        f"--mode=evaluate --config=FILE, where FILE or these flags say {flags}. "
        f"To train from it, choose another --workdir and --config.init_from={workdir}"
    )


def _check_same(mine: dict[str, Any], theirs: dict[str, Any], workdir: RunPath) -> None:
    changed = configs.differences(mine, theirs)
    if changed:
        raise ValueError(
            f"{workdir} holds a run of another config. Differing keys:\n  "
            + "\n  ".join(changed)
            + f"\nChoose {_ADVICE}"
        )
