"""Runs that a table needs: which are there, running the rest, reading what they left."""

import contextlib
import dataclasses
import gc
import io
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax.runtime import files, run_directory
from augmax_jax.training.commands import train_and_evaluate
from experiments import needs, smoke
from experiments.options import Options
from experiments.recipes import Experiment

logger = logging.getLogger(__name__)

FINISHED = "finished.json"  # written to the directory of a run that is trained and evaluated
# States of a run.
DONE, UNMEASURED, PARTLY, WAITING = "done", "sets missing", "interrupted", "not run"
NO_DATA, FAILED, LEFT_OUT = "data missing", "failed", "left out by --only"

# The work of one run: (config, directory) -> anything.
Execute = Callable[[ConfigDict, Path], Any]


@dataclasses.dataclass
class Outcome:
    """The state of a run.

    Attributes:
        state: one of the constants above.
        note: what is missing, or the error.
        results: its `results.json`, empty without one.
    """

    state: str
    note: str = ""
    results: dict[str, Any] = dataclasses.field(default_factory=dict)


# (config, directory) -> the state of a run.
Look = Callable[[ConfigDict, Path], Outcome]


class Study:
    """The runs of one script under one set of options.

    Args:
        experiments: the runs; runs of the same name count once.
        options: options from the command line.
        look: gives the state of a run from its config and directory; None: `standing`.

    Raises:
        ValueError: a run's config is not valid.
    """

    def __init__(
        self, experiments: Sequence[Experiment], options: Options, look: Look | None = None
    ):
        self.options = options
        self._look = look or standing
        self.interrupted = False
        self.configs: dict[str, ConfigDict] = {}
        self.experiments: dict[str, Experiment] = {}
        for experiment in experiments:
            name = options.name(experiment)
            if name not in self.configs:
                self.configs[name] = options.config(experiment)
                self.experiments[name] = experiment
        self._outcomes: dict[str, Outcome] = {}

    def directory(self, experiment: Experiment) -> Path:
        """The directory of a run's files."""
        return self.options.root / self.options.name(experiment)

    def config(self, experiment: Experiment) -> ConfigDict:
        """A run's config."""
        return self.configs[self.options.name(experiment)]

    def outcome(self, experiment: Experiment) -> Outcome:
        """The state of a run."""
        name = self.options.name(experiment)
        if name not in self._outcomes:
            self._outcomes[name] = self._stands(name)
        return self._outcomes[name]

    def _stands(self, name: str) -> Outcome:
        try:
            return self._look(self.configs[name], self.options.root / name)
        except ValueError as error:  # a damaged file
            return failure(name, error)

    def note(self, name: str, outcome: Outcome) -> None:
        """Sets the state of a run."""
        self._outcomes[name] = outcome

    def outcomes(self) -> dict[str, Outcome]:
        """The states of all runs, by name."""
        return {name: self.outcome(e) for name, e in self.experiments.items()}

    @property
    def failed(self) -> bool:
        """Whether a run of this session failed."""
        return any(outcome.state == FAILED for outcome in self._outcomes.values())

    def wanted(self) -> list[str]:
        """Names of the runs that `--only` selects; the others count only if they are done."""
        wanted = [n for n, e in self.experiments.items() if self.options.wanted(e)]
        for name in self.experiments.keys() - set(wanted):
            found = self._stands(name)
            self._outcomes[name] = found if found.results else Outcome(LEFT_OUT)
        return wanted

    def run(self, execute: Execute = train_and_evaluate) -> None:
        """Runs the runs that are not done; interrupted ones go on.

        If a run fails or its data is missing, this is noted, and the other runs go on. Ctrl-C
        ends the loop; finished work stays.

        Args:
            execute: does the work of one run, from its config and directory.
        """
        wanted = self.wanted()
        for number, name in enumerate(wanted, start=1):
            config, directory = self.configs[name], self.options.root / name
            before = self._stands(name)
            self._outcomes[name] = before
            if before.state in (DONE, FAILED):
                continue
            print(f"[{number}/{len(wanted)}] {name} ({before.state})", flush=True)
            try:
                self._execute(execute, config, directory, self.experiments[name])
            except KeyboardInterrupt:
                self.interrupted = True
                self._outcomes[name] = self._stands(name)
                return
            except FileNotFoundError as error:
                self._outcomes[name] = Outcome(NO_DATA, str(error), before.results)
            except Exception as error:  # after any error the other runs go on
                self._outcomes[name] = failure(name, error, before.results)
            else:
                self._outcomes[name] = self._stands(name)

    def _execute(
        self, execute: Execute, config: ConfigDict, directory: Path, experiment: Experiment
    ) -> None:
        silence: contextlib.AbstractContextManager = contextlib.nullcontext()
        if not self.options.smoke and (missing := needs.lacks(experiment, config)):
            raise FileNotFoundError(missing)
        if self.options.smoke:
            self.options.root.mkdir(parents=True, exist_ok=True)
            smoke.prepare(self.options.root)
            if experiment.deepaugment:
                smoke.prepare_copies(self.options.root)
            # The summary of a run does not say that it is a smoke run.
            silence = contextlib.redirect_stdout(io.StringIO())
        try:
            with silence:
                execute(config, directory)
        finally:
            # The next run needs the compiled programs only if its network is the same.
            if not self.options.smoke:
                jax.clear_caches()
            gc.collect()
        mark = {"max_steps": config.max_steps, "evaluate": _measured(configs.to_dict(config))}
        files.write_json(directory / FINISHED, mark)


def failure(name: str, error: Exception, results: dict[str, Any] | None = None) -> Outcome:
    """The state of a run that failed; the log has the traceback."""
    logger.error("%s failed:\n%s", name, "".join(traceback.format_exception(error)))
    return Outcome(FAILED, _one_line(error), results or {})


def standing(config: ConfigDict, directory: Path) -> Outcome:
    """The state of a run, from its files.

    It is done if training and evaluation finished under this config and every robustness set
    was measured. If a set was missing, it is not done, so that the set is looked for again.

    Args:
        config: the run's config.
        directory: the run's directory, which need not exist.
    """
    kept = files.read_json(directory / run_directory.CONFIG)
    if kept is None:
        return Outcome(WAITING)
    mine = configs.to_dict(config)
    if changed := configs.differences(mine, kept):
        return Outcome(WAITING, f"{directory} holds a run of another config: {'; '.join(changed)}")
    mark = files.read_json(directory / FINISHED)
    if mark is None or mark["max_steps"] != config.max_steps:
        return Outcome(PARTLY)
    results = files.read_json(directory / run_directory.RESULTS) or {}
    missing = {
        name: reason
        for name, reason in (results.get("not_measured") or {}).items()
        if name in config.evaluate.benchmarks
    }
    # If an older version wrote the mark, settings that came later have their defaults.
    measured = _measured(configs.to_dict(configs.defaults())) | mark["evaluate"]
    if not missing and measured == _measured(mine):
        return Outcome(DONE, results=results)
    if missing:
        return Outcome(UNMEASURED, "\n".join(missing.values()), results)
    return Outcome(PARTLY, results=results)


def _measured(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of evaluation that change the results."""
    settings = config["evaluate"].items()
    return {name: value for name, value in settings if configs.has_effect(f"evaluate.{name}")}


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:600]
