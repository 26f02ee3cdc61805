"""The command line that all scripts share, and what it makes of a run's config."""

import argparse
import contextlib
import dataclasses
import fnmatch
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax.runtime import paths
from augmax_jax.runtime.errors import nearest
from augmax_jax.training.run import check
from experiments import recipes, smoke
from experiments.recipes import Experiment

# The published robustness sets that a corrupted test split can replace.
PUBLISHED = ("cifar10_c", "cifar100_c", "tiny_imagenet_c", "imagenet_c")


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of a script's command line.

    Attributes:
        workdir: directory for runs and tables; those of smoke runs go into `smoke/` in it.
        smoke: whether to do everything at toy size.
        data: dataset of the paper -> the name or folder to train on instead.
        benchmarks: folder of the published robustness sets.
        corrupt: whether to corrupt the test split instead of reading these sets.
        deepaugment: folder of the DeepAugment copies.
        settings: settings to override, as (name, text).
        only: patterns of the names of runs; empty: all runs.
        table_only: whether to run nothing.
        command: the command as typed, for the record.
        extra: the script's own flags.
    """

    workdir: Path
    smoke: bool = False
    data: dict[str, str] = dataclasses.field(default_factory=dict)
    benchmarks: str = ""
    corrupt: bool = False
    deepaugment: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    only: tuple[str, ...] = ()
    table_only: bool = False
    command: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder of the runs' directories and the tables."""
        return self.workdir / "smoke" if self.smoke else self.workdir

    def name(self, experiment: Experiment) -> str:
        """Name of a run's directory; at toy size, runs that differ only in size share one."""
        return smoke.name(experiment) if self.smoke else experiment.name

    def wanted(self, experiment: Experiment) -> bool:
        """Whether `--only` names the run."""
        return not self.only or any(
            fnmatch.fnmatchcase(self.name(experiment), pattern) for pattern in self.only
        )

    def config(self, experiment: Experiment) -> ConfigDict:
        """The config of a run, with everything that the command line changes.

        Raises:
            ValueError: a setting does not exist, has a wrong value, or is what the rows compare.
        """
        config = recipes.make_config(experiment)
        if experiment.deepaugment:
            folder = paths.expand(
                self.deepaugment or self.workdir / "deepaugment" / experiment.dataset
            )
            config.data.extra_train = (str(folder / "edsr"), str(folder / "cae"))
        if self.smoke:
            config = smoke.shrink(experiment, config, self.root)
        elif experiment.dataset in self.data:
            config.data.name = self.data[experiment.dataset]
            folder = paths.expand(config.data.name)
            # The test split of ImageNet and Tiny ImageNet has other names in tfds and in folders.
            for split in ("validation", "val"):
                if config.data.test_split.startswith("val") and (folder / split).is_dir():
                    config.data.test_split = split
        if self.benchmarks:
            config.evaluate.data_dir = self.benchmarks
        if self.corrupt:
            named = ["corrupted" if n in PUBLISHED else n for n in config.evaluate.benchmarks]
            config.evaluate.benchmarks = tuple(named)
        override(config, self.settings, fixed=experiment.fixed)
        with contextlib.suppress(FileNotFoundError):  # said when the run's turn comes
            check(config)
        return config

    def changed(self) -> list[str]:
        """The differences between the runs and the paper's, one line each."""
        lines = [f"{name}={text}" for name, text in self.settings if configs.has_effect(name)]
        if self.corrupt:
            lines.append("test split corrupted by this code, not the published set")
        for dataset, name in self.data.items():
            found = count_classes(name)
            if found != recipes.CLASSES[dataset]:
                shown = "an unknown number of" if found is None else found
                lines.append(f"{dataset} replaced by {name} ({shown} classes)")
        return lines


def count_classes(name: str) -> int | None:
    """Number of class folders in the training split of an image folder; None for other names."""
    train = paths.expand(name) / "train"
    return sum(path.is_dir() for path in train.iterdir()) if train.is_dir() else None


def override(
    config: ConfigDict, settings: Sequence[tuple[str, str]], *, fixed: Sequence[str] = ()
) -> None:
    """Changes settings as the command line says; settings that follow them change too.

    Args:
        config: changed in place.
        settings: (name, text of the value).
        fixed: names that may not be changed.

    Raises:
        ValueError: a name is unknown or fixed, or a value is not of the setting's type.
    """
    for name, text in settings:
        if name in fixed:
            raise ValueError(f"--set {name} would undo what tells the rows of this table apart")
        value = configs.read_setting(name, text)
        configs.set_setting(config, name, value)


def parser(module_doc: str, prog: str) -> argparse.ArgumentParser:
    """The flags that all scripts have.

    Args:
        module_doc: the script's docstring; its first line describes the command.
        prog: the script's name, "table2".
    """
    made = argparse.ArgumentParser(
        prog=f"python -m experiments.{prog}",
        description=module_doc.split("\n")[0],
        epilog="docs/experiments.md says what each script needs and costs.",
    )
    add = made.add_argument
    add("--workdir", required=True, type=Path, help="where runs and tables go; shared by scripts")
    add("--smoke", action="store_true", help="the whole script at toy size on embedded digits")
    add("--list", action="store_true", help="list the runs and their states, and run nothing")
    add("--table-only", action="store_true", help="print the table of finished runs; run nothing")
    add("--only", action="append", default=[], metavar="NAME", help="runs (* and ? allowed)")
    add(
        "--data", action="append", default=[], metavar="[SET=]NAME",
        help="train on this tfds data set or folder instead (SET: cifar10, ...)",
    )  # fmt: skip
    add("--benchmarks", default="", metavar="DIR", help="folder of the published robustness sets")
    add(
        "--corrupt", action="store_true",
        help="corrupt the test split here instead of reading a published -C set",
    )  # fmt: skip
    add(
        "--deepaugment", default="", metavar="DIR",
        help="folder of the copies edsr/ and cae/ (default: WORKDIR/deepaugment/SET)",
    )  # fmt: skip
    add(
        "--set", action="append", default=[], metavar="config.A.B=VALUE",
        help="change a setting of every run",
    )  # fmt: skip
    return made


def read(
    given: argparse.Namespace,
    experiments: Sequence[Experiment],
    arguments: Sequence[str] | None = None,
    prog: str = "",
) -> Options:
    """Checks what the parser read.

    Args:
        given: from the parser.
        experiments: the runs of the script.
        arguments: arguments as typed, without the program's name; None: `sys.argv`.
        prog: the script's name.

    Raises:
        ValueError: a flag does not fit the script, or a setting does not exist.
    """
    datasets = list(dict.fromkeys(experiment.dataset for experiment in experiments))
    settings = []
    for text in given.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set must be NAME=VALUE, got {text!r}")
        settings.append((name.removeprefix("config."), value))
    typed = sys.argv[1:] if arguments is None else arguments
    known = vars(given).keys() - {"list", "set", "table_only", "only", "data"}
    own = {field.name for field in dataclasses.fields(Options)}
    options = Options(
        workdir=paths.expand(given.workdir),
        smoke=given.smoke,
        data=dict(_dataset(text, datasets) for text in given.data),
        benchmarks=given.benchmarks,
        corrupt=given.corrupt,
        deepaugment=given.deepaugment,
        settings=tuple(settings),
        only=tuple(given.only),
        table_only=given.table_only,
        command=shlex.join(["python", "-m", f"experiments.{prog}", *typed]),
        extra={name: vars(given)[name] for name in known - own},
    )
    names = [options.name(experiment) for experiment in experiments]
    for pattern in options.only:
        if not fnmatch.filter(names, pattern):
            raise ValueError(f"--only {pattern!r} is none of the runs.{nearest(pattern, names)}")
    return options


def _dataset(text: str, datasets: Sequence[str]) -> tuple[str, str]:
    """Reads `SET=NAME`, or a name alone if the script has one dataset."""
    dataset, equals, name = text.partition("=")
    if equals and dataset in datasets:
        return dataset, name
    if len(datasets) == 1:
        return datasets[0], text
    raise ValueError(f"--data must be SET=NAME with SET one of {', '.join(datasets)}, got {text!r}")
