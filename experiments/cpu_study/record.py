"""The small JSON of a finished run: all that tables and figures need, and no path."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from augmax_jax.report import runs as reading
from augmax_jax.runtime import files
from experiments.cpu_study import setting, usage
from experiments.recipes import Experiment

_NOT_METRICS = ("kind", "time", "step", "epoch")


def of_run(experiment: Experiment, directory: Path, images: str) -> dict[str, Any]:
    """The record of a finished run.

    Args:
        experiment: the run.
        directory: its directory.
        images: the digest of the study's images.

    Raises:
        ValueError: the directory has no results, or was not measured on the benchmark.
    """
    run = reading.load(directory)
    results = run.results
    found: Mapping[str, Any] = next(iter((results.get("benchmarks") or {}).values()), {})
    if "ra" not in found:
        raise ValueError(f"{directory} was not measured on the corrupted images")
    train, held = run.rows("train"), run.rows("eval")
    steps = results["steps"]
    return {
        "run": setting.name(experiment),
        "row": experiment.label or setting.row(experiment.method, experiment.norm),
        "method": experiment.method,
        "norm": experiment.norm,
        "seed": experiment.seed,
        "settings": setting.shared(run.config),
        "settings_digest": setting.digest(run.config, [name for name, _ in experiment.changes]),
        "consistency_weight": run.config["objective"]["consistency_weight"],
        "images_digest": images,
        "steps": steps,
        "sa": reading.clean(results)["accuracy"],
        "clean": {k: reading.clean(results)[k] for k in ("accuracy", "loss", "ece", "count")},
        "ra": found["ra"],
        "accuracy": found["accuracy"],
        "mean_loss": found["mean_loss"],
        "mean_ece": found["mean_ece"],
        "corrupted_count": found["set"].get("count"),
        "train": [_rounded(row) for row in train],
        "held_out": [_rounded(row) for row in held],
        "ascent": {str(t): round(s, 5) for t, s in reading.ascent_shares(train).items()},
        "seconds": {
            "training": results["seconds"],
            "epochs": _seconds(train, usage.read(directory)),
        },
        "provenance": _sessions(results["provenance"]),
    }


def check(folder: Path, settings: str, images: Collection[str]) -> None:
    """Finds out whether records of these runs may lie in a folder, before any work.

    Args:
        folder: of the results.
        settings: the digest of the settings.
        images: the digests of the images that count as the same.

    Raises:
        ValueError: it has records of runs that do not compare with them.
    """
    for path in sorted(folder.glob("*-s[0-9]*.json")):
        kept = files.read_json(path)
        for name, ours in (("settings", {settings}), ("images", images)):
            if kept[f"{name}_digest"] not in ours:
                raise ValueError(
                    f"{path} is of a study with other {name}, with which this one does not "
                    "compare: name another folder with --results"
                )


def write(
    experiment: Experiment,
    directory: Path,
    folder: Path,
    images: str,
    changed: list[str],
    more: dict[str, Any] | None = None,
) -> Path:
    """Writes the record of a finished run, and returns its path.

    Args:
        experiment: the run.
        directory: its directory.
        folder: of the results.
        images: the digest of the study's images.
        changed: settings in which the run differs from the study's, as the user gave them.
        more: further entries of the record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{setting.name(experiment)}.json"
    found = of_run(experiment, directory, images)
    files.write_json(path, found | ({"changed": changed} if changed else {}) | (more or {}))
    return path


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the history in five digits."""
    return {"step": row["step"], "epoch": row["epoch"]} | {
        name: float(f"{value:.5g}") if isinstance(value, float) else value
        for name, value in row.items()
        if name not in _NOT_METRICS
    }


def _seconds(
    train: list[dict[str, Any]], samples: list[dict[str, Any]]
) -> list[dict[str, float] | None]:
    """Wall and CPU seconds of an epoch in each row of the history but the first.

    Rows are about an epoch apart; the seconds are scaled to a whole one. They include the
    evaluation on the held-out images and the checkpoint, as a run does.
    """
    found = usage.between(samples, [row["time"] for row in train])
    scaled: list[dict[str, float] | None] = []
    for before, row, part in zip(train[:-1], train[1:], found, strict=True):
        epochs = row["epoch"] - before["epoch"]
        scaled.append(
            part
            and {
                "wall": round(part["wall"] / epochs, 2),
                "cpu": round(part["cpu"] / epochs, 2),
                "load": part["load"],
            }
        )
    return scaled


def _sessions(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The sessions that trained and measured the run, without their commands, which have paths."""

    def plain(session: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in session.items() if name != "command"}

    trained = (kept.get("trained") or {}).get("sessions", [])
    return {
        "trained": [plain(session) for session in trained],
        "evaluated": plain(kept["evaluated"]),
    }
