"""Command lines, config files, data folders and checkpoints that must be refused.

Each runs through the command's own `main`, in this process: no traceback, a status that is not
zero, one message that names what is wrong, and nothing left behind.
"""

import json
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from absl import flags
from PIL import Image

from augmax_jax import main as train_command
from augmax_jax import predict, torch_export, torch_import
from augmax_jax.cli import listing, subcommands
from augmax_jax.corruption_sets import command as corrupt
from augmax_jax.deepaugment import __main__ as deepaugment
from augmax_jax.report import __main__ as report
from augmax_jax.runtime.run_directory import CONFIG, HISTORY, RESULTS
from tests.pytorch import pickles

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)


class Bad(NamedTuple):
    """Arguments of a command, and what its message must match.

    `prepare` writes the files that the arguments name into an empty folder, where the command runs.
    """

    arguments: str
    message: str
    prepare: Callable[[Path], Any] = lambda folder: None


def folder(path: Path, *, splits=("train", "test"), classes=("a", "b")) -> None:
    """A dataset of two images a class."""
    for split in splits:
        for name in classes:
            (path / split / name).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(IMAGE).save(path / split / name / f"{i}.png")


def photos(root: Path) -> None:
    folder(root / "photos")


def bad_photo(root: Path) -> None:
    photos(root)
    (root / "photos/test/a/0.png").write_bytes(b"no image")


def text(name: str, contents: str) -> Callable[[Path], Any]:
    """Writes one file, with the folders that it needs."""

    def prepare(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents)

    return prepare


def table(contents: str) -> Callable[[Path], Any]:
    """Writes images and a table of their labels."""

    def prepare(root: Path) -> None:
        folder(root / "photos", splits=("images",))
        (root / "photos/labels.csv").write_text(contents)

    return prepare


def npz(**arrays: Any) -> Callable[[Path], Any]:
    return lambda root: np.savez(root / "file.npz", **arrays)


def bomb(root: Path) -> None:
    with zipfile.ZipFile(root / "file.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(96 * 2**20))


def huge_header(root: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    contents = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(root / "file.npz", "w") as archive:
        archive.writestr("w.npy", contents)


def damaged_checkpoint(root: Path) -> None:
    (root / "run/checkpoints/best/1").mkdir(parents=True)
    (root / "run/checkpoints/best/1/state").write_text("no state")
    info = {"model": "tiny", "num_classes": 3, "norm": "bn", "options": {}, "mean": None}
    (root / "run/model.json").write_text(json.dumps(info | {"std": None}))


def model_json(**changes: Any) -> Callable[[Path], Any]:
    info = {"model": "tiny", "num_classes": 3, "norm": "bn", "options": {}, "mean": None}
    return text("run/model.json", json.dumps(info | {"std": None} | changes))


IMPORT = "--checkpoint file.npz --model tiny --num_classes 3 --out out"
CONFIG_FILE = "from augmax_jax.config import defaults\ndef get_config():\n  "
OTHER = "--dataset photos --out out"

COMMANDS: dict[str, list[Bad]] = {
    "train": [
        Bad("--config=digits", "--workdir=DIR is missing"),
        Bad("--config=digit --workdir=out", "Did you mean 'digits'"),
        Bad("--config=none.py --workdir=out", "there is no config file .*none.py"),
        Bad("--config=digits --workdir=out extra", "unexpected arguments: extra"),
        Bad("--workdir=out", "holds no run whose config.json could be taken"),
        Bad("--config=digits --workdir=out --config.epochs=x", "config.epochs must be a whole"),
        Bad("--config=digits --workdir=out --config.sed=1", "Did you mean 'seed'"),
        Bad("--config=digits --workdir=out --config.seed", "--config.seed needs a value"),
        Bad("--config=digits --workdir=out --config.seed=-1", r"config.seed must be in \[0"),
        Bad("--config=digits --workdir=out --config.method=augmx", "Did you mean 'augmix'"),
        Bad("--config=digits --workdir=out --config.batch_size=0", "batch_size must be at least 1"),
        Bad("--config=digits --workdir=out --config.adversary.every=0", "every must be at least 1"),
        Bad(
            "--config=digits --workdir=out --config.adversary.every=7 --config.num_devices=1",
            "adversary.every=7 cannot divide",
        ),
        Bad(
            "--config=digits --workdir=out --config.objective.weights.augmix=-1",
            "weights.augmix must be at least 0",
        ),
        Bad(
            "--config=digits --workdir=out --config.objective.ramp_epochs=-1",
            "ramp_epochs must be at least 0",
        ),
        Bad(
            "--config=digits --workdir=out --config.evaluate.routes=clean,aux",
            "unknown route in config.evaluate.routes",
        ),
        Bad(
            "--config=digits --workdir=out --config.evaluate.routes=clean,augmented "
            "--config.model.norm=bn",
            "needs a network with a batch norm for each route",
        ),
        Bad(
            "--config=digits --workdir=out --config.data.name=./no --config.evaluate.baseline=",
            "no",
        ),
        Bad("--config=digits --workdir=s3://a/b", "is not a path on this machine"),
        Bad("--config=digits --workdir=file", "file", text("file", "")),
        Bad(
            "--config=own.py --workdir=out",
            "line 3: ZeroDivisionError",
            text("own.py", CONFIG_FILE + "1 / 0"),
        ),
        Bad("--config=own.py --workdir=out", "SyntaxError", text("own.py", "def")),
        Bad("--config=own.py --workdir=out", "has no function get_config", text("own.py", "")),
        Bad(
            "--config=own.py --workdir=out",
            "must return the ConfigDict",
            text("own.py", CONFIG_FILE + "return {}"),
        ),
        Bad("--workdir=run", "config.json is damaged", text("run/config.json", "{")),
        Bad("--workdir=run", "holds no settings", text("run/config.json", "[]")),
        Bad("--workdir=run", "nests brackets", text("run/config.json", "[" * 9999)),
        Bad("--workdir=run", "Did you mean 'seed'", text("run/config.json", '{"sed": 1}')),
        Bad(
            "--config=digits --workdir=out --config.data.name=photos --config.evaluate.baseline=",
            "has one class",
            lambda root: folder(root / "photos", classes=("a",)),
        ),
    ],
    "predict": [
        Bad("run", "required: image"),
        Bad("run none.png", "there is no image or folder 'none.png'"),
        Bad("none photos", "there is no directory 'none'", photos),
        Bad("photos photos", "holds neither an imported model .* nor a run", photos),
        Bad("run photos --top 0", "--top must be at least 1", photos),
        Bad("run photos --top x", "argument --top: invalid int value", photos),
        Bad("run photos --batch_size 0", "--batch_size must be at least 1", photos),
        Bad("run photos --format cvs", "Did you mean 'csv'", photos),
        Bad("run photos --bad_images no", "unknown --bad_images 'no'", photos),
        Bad("run photos --checkpoint bst", "Did you mean 'best'", photos),
        Bad("run photos --out photos", "is a directory: name a file", photos),
        Bad("run photos --out no/file", "cannot be written", photos),
        Bad("run empty", "holds no image", lambda root: (root / "empty").mkdir()),
        Bad("run run", "holds no image", text("run/notes.txt", "")),
        Bad(
            "run run/x.png",
            "no checkpoint can be read",
            lambda root: (damaged_checkpoint(root), (root / "run/x.png").write_bytes(b"")),
        ),
        Bad("run run/model.json", "num_classes is '1000000000000'", model_json(num_classes=10**12)),
        Bad("run run/model.json", "options is", model_json(options=[1])),
        Bad("run run/model.json", "class_names must be 3 names", model_json(class_names=["a"])),
        Bad("run run/model.json", "is damaged .*unknown model", model_json(model="huge")),
        Bad("run run/model.json", "it lacks model", text("run/model.json", "{}")),
        Bad("run run/model.json", "no JSON object", text("run/model.json", "[]")),
        Bad("run run/model.json", "has format 99", model_json(format=99)),
    ],
    "import": [
        Bad("--model tiny", "the following arguments are required"),
        Bad(IMPORT, "no checkpoint file at"),
        Bad(IMPORT, "it is empty", text("file.npz", "")),
        Bad(IMPORT, "is damaged .*BadZipFile", text("file.npz", "PK\x03\x04 not a zip archive")),
        Bad(IMPORT, "which begins with '<html>", text("file.npz", "<html> not found </html>")),
        Bad(IMPORT, "is damaged .*would take 100,663,296 bytes", bomb),
        Bad(IMPORT, "bytes, not 4000000000000", huge_header),
        Bad(IMPORT, "only plain numbers are read", npz(w=np.array([{}], object))),
        Bad(IMPORT, "missing", npz(w=np.zeros(3, np.float32))),
        Bad(IMPORT.replace("tiny", "tny"), "Did you mean 'tiny'", npz(w=np.zeros(3))),
        Bad(IMPORT.replace("3", "0"), "num_classes must be at least 1", npz(w=np.zeros(3))),
        Bad(IMPORT + " --image_size 4", "--image_size must be at least 8", npz(w=np.zeros(3))),
        Bad(
            IMPORT + " --class_names names",
            "has 1 names, but --num_classes is 3",
            text("names", "a"),
        ),
        Bad(IMPORT + " --test_transform crop", "unknown --test_transform", npz(w=np.zeros(3))),
        Bad(
            IMPORT.replace("npz", "pth"),
            "is damaged",
            lambda root: pickles.write(root / "file.pth", {"w": pickles.tensor(size=10**12)}),
        ),
        Bad(
            IMPORT.replace("npz", "pth"),
            "holds no dictionary",
            lambda root: pickles.write(root / "file.pth", [1, 2]),
        ),
        Bad(IMPORT.replace("--out out", "--out photos"), "not an empty directory", photos),
    ],
    "export": [
        Bad("--checkpoint photos --out out.txt", r"\.npz", photos),
        Bad("--checkpoint none --out out.npz", "there is no directory 'none'"),
        Bad("--checkpoint run --out out.npz", "no checkpoint can be read", damaged_checkpoint),
        Bad("--checkpoint run --out out.npz --fold x", "invalid choice: 'x'"),
    ],
    "corrupt": [
        Bad("--out out", "required: --dataset"),
        Bad(OTHER + " --corruptions fogg", "Did you mean 'fog'", photos),
        Bad(OTHER + " --severities 0,6", r"severity must be in \[1, 5\]", photos),
        Bad(OTHER + " --severities x", "must be whole numbers separated by commas", photos),
        Bad(OTHER + " --severities 2,1", "severities must ascend", photos),
        Bad(OTHER + " --benchmark cifr", "Did you mean 'cifar'", photos),
        Bad(OTHER + " --image_size 4", "image_size must be at least 8", photos),
        Bad(OTHER + " --batch_size 0", "batch_size must be at least 1", photos),
        Bad(OTHER + " --seed -1", "seed must be at least 0", photos),
        Bad(OTHER + " --format npz", "Did you mean 'npy'", photos),
        Bad(OTHER + " --corruptions fog --split tst", "tst", photos),
        Bad("--dataset ./photos --out out --corruptions fog", "photos"),
        Bad(OTHER + " --corruptions fog", "bad_images skip", bad_photo),
        Bad("--dataset photos --out photos --corruptions fog", "so it was not made here", photos),
        Bad(
            "--dataset photos --out file --corruptions fog",
            "out 'file' cannot be made",
            lambda root: (photos(root), (root / "file").write_text("")),
        ),
        Bad(
            OTHER + " --corruptions fog --split train",
            "no column for the label",
            table("file\nimages/a/0.png\n"),
        ),
        Bad(
            OTHER + " --corruptions fog --split train",
            "there is no file 'c.png'",
            table("file,label\nc.png,a\n"),
        ),
        Bad(
            OTHER + " --corruptions fog --split train",
            "has no label",
            table("file,label\nimages/a/0.png,\n"),
        ),
        Bad(
            OTHER + " --corruptions fog --split train",
            "unknown split 'tran'. Did you mean",
            table("file,label,split\nimages/a/0.png,a,tran\n"),
        ),
    ],
    "deepaugment": [
        Bad("distort", "the following arguments are required"),
        Bad("distort --network esdr --weights w.pt " + OTHER, "Did you mean 'edsr'", photos),
        Bad("distort --network edsr --weights w.pt " + OTHER, "no checkpoint file", photos),
        Bad(
            "distort --network edsr --weights file.npz " + OTHER,
            "not hold the weights of",
            npz(w=np.zeros(3, np.float32)),
        ),
        Bad("distort --network edsr --weights w.pt --shard 2 " + OTHER, "must be i/n", photos),
        Bad("train --network cae --dataset photos --out out.txt", "out must end in .npz", photos),
        Bad("train --network cae --dataset photos --out o.npz --steps 0", "steps must be", photos),
        Bad("train --network cae --dataset ./none --out o.npz", "none"),
    ],
    "report": [
        Bad("", "required: RUN"),
        Bad("none", "run 'none' is not a directory"),
        Bad("run", "holds none of config.json", text("run/notes.txt", "")),
        Bad("run", "damaged", text("run/results.json", '{"clean": [1]}')),
        Bad("run", "damaged", text("run/results.json", '{"benchmarks": [1]}')),
        Bad("run run", "damaged", text("run/results.json", '{"benchmarks": 3}')),
        Bad("run --out run", "cannot write run", text("run/results.json", '{"clean": {}}')),
    ],
    "list": [Bad("network", "Did you mean 'networks'"), Bad("x y", "unrecognized arguments")],
    "": [Bad("trian", "Did you mean 'train'"), Bad("", "usage")],
}
MAINS: dict[str, Callable[[list[str]], Any]] = {
    "train": lambda arguments: train_command.main(train_command.parse_flags(["x", *arguments])),
    "predict": predict.main,
    "import": torch_import.main,
    "export": torch_export.main,
    "corrupt": corrupt.main,
    "deepaugment": deepaugment.main,
    "report": report.main,
    "list": listing.main,
    "": subcommands.main,
}
TABLE = [(name, bad) for name, cases in COMMANDS.items() for bad in cases]


def tree(root: Path) -> set[Path]:
    return set(root.rglob("*"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder, where the command runs; absl's flags are new, and as if it had not."""
    monkeypatch.chdir(tmp_path)
    forget_flags()
    yield tmp_path
    forget_flags()
    shutil.rmtree(tmp_path)


def forget_flags() -> None:
    flags.FLAGS.unparse_flags()
    for name in ("config", "workdir", "mode"):
        flags.FLAGS[name].unparse()


@pytest.mark.parametrize(
    ("name", "bad"),
    TABLE,
    ids=[f"{name} {bad.arguments} {bad.message}"[:90] for name, bad in TABLE],
)
def test_is_refused_in_words(name, bad, place, capsys):
    bad.prepare(place)
    before = tree(place)
    try:
        status = MAINS[name](bad.arguments.split())
    except SystemExit as stop:
        status = stop.code
    shown = capsys.readouterr()
    message = shown.err + shown.out
    if isinstance(status, str):  # Python prints it, and ends with status 1
        message, status = message + status, 1
    assert status
    message = " ".join(message.split())
    assert re.search(bad.message, message), message
    assert "Traceback" not in message
    left = tree(place) - before
    assert not {path for path in left if path.is_file()}


def test_a_damaged_line_of_the_history_is_passed_over(place):
    (place / HISTORY).write_text('[[[[\n{"step": 1}\n')
    (place / CONFIG).write_text("{}")
    (place / RESULTS).write_text('{"clean": {}}')
    with pytest.warns(UserWarning, match="line 1 is damaged"):
        report.main([str(place)])
