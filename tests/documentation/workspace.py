"""A folder in which the commands and snippets of the pages find what they name, at toy size."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from tests.documentation.blocks import ROOT, Command

CLASSES = (
    "bird", "boat", "car", "cat", "deer", "dog", "frog", "horse", "plane", "truck",
)  # fmt: skip
FOLDERS = (
    "my_photos", "photos", "data/photos", "data/my_photos", "data/cifar10", "data/cifar10_jpeg",
    "data/imagenet", "data/tiny-imagenet-200",
)  # fmt: skip
SIDE = 16
RUN = re.compile(r"\b(?:runs|imported)(?:/\w+)+")  # a run that a command or snippet names

# What makes a training small. The last of several values counts.
TOY = (
    "--config.data.name=my_photos",
    f"--config.data.image_size={SIDE}",
    "--config.data.train_transform=crop",
    "--config.data.test_transform=resize",
    "--config.data.test_split=test",
    "--config.data.holdout=0.2",
    "--config.data.extra_train=()",
    "--config.batch_size=8",
    "--config.eval_batch_size=20",
    "--config.epochs=1",
    "--config.max_steps=2",
    "--config.adversary.steps=1",
    "--config.ant.retrain_steps=1",
    "--config.pictures_every_epochs=0",
    "--config.evaluate.baseline=",
)
SMALL_NETWORK = ("--config.model.name=tiny", "--config.model.options={}")
# tests/training/test_several_processes.py has processes that meet.
ALONE = ("--config.distributed.processes=1",)
NO_BENCHMARK = ("--config.evaluate.benchmarks=()",)
# Arguments that make other commands small; None: a fast test reads the flags, and that is all.
SMALLER: dict[str, tuple[str, ...] | None] = {
    "augmax_jax.corruptions": (
        *("--dataset", "my_photos", "--split", "test", "--data_dir", "", "--image_size", f"{SIDE}"),
        *("--corruptions", "fog,contrast", "--severities", "1"),
    ),
    "augmax_jax.deepaugment train": (
        *("--dataset", "my_photos", "--steps", "2", "--batch_size", "2", "--limit", "4"),
    ),
    "augmax_jax.deepaugment distort": (
        *("--dataset", "my_photos", "--limit", "2", "--size", f"{SIDE}"),
    ),
    "benchmarks.augment": ("--sizes", "32", "--repeats", "1", "--out", "augment.json"),
    "benchmarks.memory": ("--model", "tiny", "--batches", "4", "--out", "memory.json"),
    "benchmarks.methods": (
        *("--methods", "augmix", "--batch", "8", "--repeats", "1", "--train", "1"),
        *("--out", "methods.json"),
    ),
    "benchmarks.bound": ("--model", "tiny", "--out", "bound.json"),
    "benchmarks.first_step": ("--model", "tiny", "--batch", "8", "--out", "first.json"),
    "benchmarks.corruptions": None,  # minutes at any size
    "benchmarks.compaction": None,  # have no small network
    "benchmarks.step": None,
    "benchmarks.plan": None,
    "benchmarks.scaling": (
        *("--model", "tiny", "--devices", "2", "--processes", "2", "--repeats", "2"),
        *("--out", "scaling.json"),
    ),
    "experiments.demo": None,  # takes runs of the digits only
    "experiments.tables": ("--check",),
    "experiments.picture": ("--epochs", "0.1", "--out", "picture.png"),
    "pytest": ("--collect-only", "-q"),
}
# Tables of the paper are listed here; tests/experiments/test_smoke.py runs them at toy size.
OF_TABLES = ("--list",)


class Workspace:
    """The folder, and the commands that were run in it.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.done: set[tuple[str, ...]] = set()
        (folder / "configs").symlink_to(ROOT / "configs")
        (folder / "tests").symlink_to(ROOT / "tests")
        (folder / "data").mkdir()
        _draw_photos(folder / "toy")
        for name in FOLDERS:
            (folder / name).symlink_to(folder / "toy")
        shutil.copy(folder / "toy" / "test" / "cat" / "0.jpg", folder / "photo.jpg")

    def make_checkpoint(self) -> None:
        """Writes `best_SA.pth`, as the authors' code would, of random numbers."""
        from augmax_jax import models, torch_export

        if (self.folder / "best_SA.pth").exists():
            return
        network = models.create("wrn40_2", 10)
        shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 32, 32, 3), "f4"))
        rng = np.random.default_rng(0)
        variables = jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                np.ones(leaf.shape, "f4")
                if "var" in jax.tree_util.keystr(path)
                else 0.05 * rng.standard_normal(leaf.shape, "f4")
            ),
            shapes,
        )
        state = torch_export.to_state_dict(variables, "wrn40_2", num_classes=10)
        torch_export.write_state_dict(self.folder / "best_SA.pth", state)

    def run(self, command: Command) -> None:
        """Runs a command of a page at toy size, unless it was run before.

        Raises:
            AssertionError: it fails; the message has the page and what it printed.
        """
        arguments = self.smaller(command)
        if arguments is None or arguments in self.done:
            return
        self.done.add(arguments)
        self._provide(command, arguments)
        two = "--xla_force_host_platform_device_count=2"
        needs_two = "--config.num_devices=2" in arguments
        arguments = tuple(name for a in arguments for name in self._matching(a))
        self._call(arguments, str(command), XLA_FLAGS=two if needs_two else command.flags)

    def _matching(self, argument: str) -> list[str]:
        """What bash makes of an argument with a `*`, which found no files when it was recorded."""
        found = self.folder.glob(argument) if "*" in argument else []
        return sorted(str(path.relative_to(self.folder)) for path in found) or [argument]

    def smaller(self, command: Command) -> tuple[str, ...] | None:
        """The arguments of Python that run a command at toy size; None: it is not run."""
        # Nothing is written outside the folder.
        arguments = tuple(
            a.replace("/data/", "data/").replace("/shared/", "") for a in command.arguments
        )
        if command.program == "python":
            arguments = arguments[1:]
        elif command.program == "augmax-jax":
            arguments = _as_module(arguments)
        else:
            return None
        module, *rest = arguments
        if module == "augmax_jax.main":
            return ("-m", module, *_smaller_run(rest))
        name = " ".join(arguments[:2]) if module == "augmax_jax.deepaugment" else module
        more = SMALLER.get(name, OF_TABLES if module.startswith("experiments.") else ())
        if more is None:
            return None
        if name.endswith("distort"):  # with weights that were trained here
            more = (*more, "--weights", f"{rest[rest.index('--network') + 1]}.npz")
        return ("-m", module, *rest, *more)

    def _provide(self, command: Command, arguments: tuple[str, ...]) -> None:
        """Makes the runs, weights and checkpoints that a command reads."""
        text = " ".join(arguments)
        new = _new_run(arguments)
        if new:
            shutil.rmtree(self.folder / new, ignore_errors=True)
        out = arguments[arguments.index("--out") + 1] if "--out" in arguments else ""
        self.provide_runs(text, but={new, out})
        if "best_SA.pth" in text and out != "best_SA.pth":
            self.make_checkpoint()
        for network in ("cae", "edsr"):
            weights = f"{network}.npz"
            if f"--weights {weights}" in text and not (self.folder / weights).exists():
                module = "augmax_jax.deepaugment"
                self._call(
                    ("-m", module, "train", "--network", network, "--out", weights)
                    + (SMALLER[f"{module} train"] or ()),
                    str(command),
                )

    def provide_runs(self, text: str, *, but: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Makes every run that a text names and that is not there: a copy of one tiny run."""
        for name in set(RUN.findall(text)) - but:
            if (self.folder / name).exists():
                continue
            tiny = self.folder / "tiny_run"
            if not tiny.exists():
                start = ("--config=digits", "--workdir=tiny_run")
                flags = (*start, *TOY, *SMALL_NETWORK, *NO_BENCHMARK)
                self._call(("-m", "augmax_jax.main", *flags), "the tiny run")
            shutil.copytree(tiny, self.folder / name)

    def run_snippets(self, program: str, where: str) -> None:
        """Runs the Python blocks of a page in one process.

        Raises:
            AssertionError: they fail.
        """
        self.provide_runs(program)
        if "best_SA.pth" in program:
            self.make_checkpoint()
        self._call(("-c", program), where)

    def _call(self, arguments: tuple[str, ...], where: str, XLA_FLAGS: str = "") -> None:
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
            "MPLBACKEND": "agg",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}".strip(),
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        shown = " ".join(arguments) if arguments[0] == "-m" else ""
        assert done.returncode == 0, f"{where}\n{shown}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


def _as_module(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments of `python -m` that a call of `augmax-jax` stands for."""
    doors = {
        "corrupt": "augmax_jax.corruptions",
        "deepaugment": "augmax_jax.deepaugment",
    }
    name, *rest = arguments
    if name in ("train", "evaluate"):
        return ("augmax_jax.main", f"--mode={name}", *rest)
    return (doors[name], *rest) if name in doors else ("augmax_jax", *arguments)


def _new_run(arguments: tuple[str, ...]) -> str:
    """The workdir of a command that starts a run; empty for others."""
    given = [a for a in arguments if a.startswith("--workdir=")]
    starts = any(a.startswith("--config=") for a in arguments)
    trains = "--mode=evaluate" not in arguments
    return given[0].removeprefix("--workdir=") if given and starts and trains else ""


def _smaller_run(arguments: list[str]) -> list[str]:
    own = [a for a in arguments if not a.startswith("--config.evaluate.data_dir")]
    evaluates = "--mode=evaluate" in own
    imported = any("imported/" in a for a in own)
    measures = [a for a in own if a.startswith("--config.evaluate.benchmarks")]
    if not any(a.startswith("--config=") for a in own):  # the run's own settings, which stay
        return [*own, "--config.eval_batch_size=20"]
    more = [*TOY, *(() if imported else SMALL_NETWORK)]
    if any(a.startswith("--config.distributed.") for a in own):
        more += ALONE
    if not (measures and "short" not in " ".join(own)):  # ten runs of one loop: not ten times 75
        more += NO_BENCHMARK
    if evaluates:
        more = [a for a in more if "max_steps" not in a]
    return [*own, *more]


def _draw_photos(folder: Path) -> None:
    """Class folders of noise around a colour of the class, as train, test and val."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 2), ("val", 2)):
        for name in CLASSES:
            target = folder / split / name
            target.mkdir(parents=True)
            colour = np.random.default_rng(len(name) + ord(name[0])).integers(40, 200, 3)
            for i in range(count):
                pixels = colour + rng.integers(-40, 40, (SIDE, SIDE, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(target / f"{i}.jpg")
