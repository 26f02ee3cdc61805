"""A run knows what it is, and goes on or is evaluated with the settings that it remembers."""

import datetime
import importlib.metadata
import json
import re
import shutil
import sys

import jax
import numpy as np
import pytest

import augmax_jax
from augmax_jax import main, models
from augmax_jax.config import defaults
from augmax_jax.pytorch import importing
from augmax_jax.report import render
from augmax_jax.runtime import provenance
from augmax_jax.training import pretrained, sessions
from augmax_jax.training.commands import evaluate_workdir, train_and_evaluate
from augmax_jax.training.run import build

pytestmark = pytest.mark.usefixtures("speck")


def small():
    c = defaults()
    c.method, c.model.name, c.model.norm = "normal", "speck", "ibn"
    c.model.mean, c.model.std = (0.5, 0.25, 0.5), (0.5, 0.5, 0.25)
    c.data.name, c.data.holdout, c.data.image_size = "digits", 0.0, 16
    c.select_on, c.seed = "test", 3
    c.batch_size, c.num_devices, c.eval_batch_size = 16, 1, 512
    c.max_steps, c.pictures_every_epochs = 2, 0.0
    c.progress = c.tensorboard = False
    c.compilation_cache = ""
    return c


def parsed(*arguments):
    return main.parse_flags(["main", "--config=", *map(str, arguments)])


def files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps, then gone on with to a third by what it remembers."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    train_and_evaluate(small(), directory)
    config = parsed(f"--workdir={directory}", "--config.max_steps=3")
    assert train_and_evaluate(config, directory)["steps"] == 3
    return directory


def test_model_json_says_what_the_network_is(run):
    known = json.loads((run / "model.json").read_text())
    made = known.pop("provenance")
    assert known == {
        "model": "speck", "norm": "ibn", "options": {}, "num_classes": 10, "dtype": "float32",
        "mean": [0.5, 0.25, 0.5], "std": [0.5, 0.5, 0.25], "image_size": 16,
        "test_transform": "resize", "route": "clean", "class_names": list("0123456789"),
        "format": 2,
    }  # fmt: skip
    assert made["seed"] == 3
    assert len(made["sessions"]) == 2
    times = []
    for session in made["sessions"]:
        assert session["device"].startswith("1 x ")
        assert sys.orig_argv[-1] in session["command"]
        assert session["versions"] == {
            "augmax_jax": augmax_jax.__version__,
            "jax": jax.__version__,
            "jaxlib": importlib.metadata.version("jaxlib"),
            "flax": importlib.metadata.version("flax"),
            "python": sys.version.split()[0],
        }
        times += [datetime.datetime.fromisoformat(session[key]) for key in ("start", "end")]
    assert times == sorted(times)
    assert all(time.utcoffset() == datetime.timedelta() for time in times)


def test_results_and_report_show_the_provenance(run):
    known = json.loads((run / "model.json").read_text())
    shown = json.loads((run / "results.json").read_text())["provenance"]
    assert shown["trained"] == known["provenance"]
    assert shown["evaluated"]["end"] >= shown["evaluated"]["start"]
    page = render(run)
    assert "Provenance" in page
    assert "Training, session 2" in page
    for part in (jax.__version__, shown["trained"]["sessions"][0]["start"], sys.orig_argv[-1]):
        assert part in page


def test_the_commit_is_that_of_the_source_alone(tmp_path, monkeypatch):
    commit = provenance.begin(jax.local_devices())["commit"]
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path)
    assert provenance.begin(jax.local_devices())["commit"] is None


def test_evaluating_again_needs_no_flags(run):
    before = files(run / "checkpoints") | {run / "model.json": (run / "model.json").read_bytes()}
    results = json.loads((run / "results.json").read_text())
    again = evaluate_workdir(parsed(f"--workdir={run}", "--mode=evaluate"), run)
    assert again["clean"] == results["clean"]
    assert again["provenance"]["trained"] == results["provenance"]["trained"]
    other = parsed(
        f"--workdir={run}", "--config.evaluate.checkpoint=last", "--config.eval_batch_size=100"
    )
    assert evaluate_workdir(other, run)["selected"] == "last"
    with pytest.raises(ValueError, match=r"another config(.|\n)*seed: 3 -> 4"):
        evaluate_workdir(parsed(f"--workdir={run}", "--config.seed=4"), run)
    after = files(run / "checkpoints") | {run / "model.json": (run / "model.json").read_bytes()}
    assert after == before


def test_a_run_of_an_older_version_learns_what_it_is(run, tmp_path):
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "model.json").unlink()
    kept = json.loads((tmp_path / "old" / "config.json").read_text())
    kept["optimizer"]["per"] = kept["optimizer"].pop("schedule_unit")
    kept["data"]["resident"] = None
    del kept["data"]["test_transform"]
    kept["allow_config_change"] = True
    (tmp_path / "old" / "config.json").write_text(json.dumps(kept))
    config = parsed(f"--workdir={tmp_path / 'old'}")
    assert config.optimizer.schedule_unit == "epoch"
    assert (config.data.resident, config.data.test_transform) == ("auto", "resize")
    assert config.allow_config_change is False
    assert config.model.mean == (0.5, 0.25, 0.5)
    results = evaluate_workdir(config, tmp_path / "old")
    assert results["clean"] == json.loads((run / "results.json").read_text())["clean"]
    _, info = pretrained.read_network(tmp_path / "old")
    assert info["class_names"] == list("0123456789")
    assert info["provenance"]["sessions"] == []  # nobody knows


def interrupted(run, directory, *, resumed, kept=True):
    """A session that is cut short."""
    with sessions.session(run, directory, resumed=resumed) as begin:
        if kept:
            begin()
            assert noted(directory)[-1]["end"] is None
        raise KeyboardInterrupt


def noted(directory):
    return json.loads((directory / "model.json").read_text())["provenance"]["sessions"]


def test_every_end_of_a_session_is_noted(tmp_path):
    run = build(small())
    with pytest.raises(KeyboardInterrupt):
        interrupted(run, tmp_path, resumed=False, kept=False)
    assert not list(tmp_path.iterdir())  # the directory was not the run's
    for resumed in (False, True, True):
        with pytest.raises(KeyboardInterrupt):
            interrupted(run, tmp_path, resumed=resumed)
    assert len(noted(tmp_path)) == 3
    assert all(session["end"] for session in noted(tmp_path))
    with sessions.session(run, tmp_path, resumed=False) as begin:  # another run, from its start
        begin()
    assert len(noted(tmp_path)) == 1


def test_an_import_is_not_trained_over(tmp_path):
    variables = jax.jit(models.create("speck", 10, norm="bn").init)(
        jax.random.key(5), np.zeros((1, 16, 16, 3), np.float32)
    )
    info = {"model": "speck", "num_classes": 10, "norm": "bn", "options": {"stem_stride": 2}}
    info |= {"mean": [0.5] * 3, "std": [0.5] * 3, "source": {"file": "a.pth"}}
    importing.save_imported(tmp_path / "import", variables, info)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"an imported model, which training would overwrite"):
        train_and_evaluate(small(), tmp_path / "import")
    with pytest.raises(SystemExit) as stop:
        parsed(f"--workdir={tmp_path / 'import'}", "--mode=evaluate")
    assert files(tmp_path) == before
    message = stop.value.code
    assert "holds an imported model, which says nothing of data" in message
    # The flags that it says make the evaluation work.
    flags = re.search(r"(--config\.model\.name=.*)--config\.data\.name=DATA", message)[1].split()
    config = main.parse_flags(
        ["main", "--config=configs/digits.py", f"--workdir={tmp_path / 'import'}", *flags,
         "--config.data.image_size=16", "--config.evaluate.benchmarks=()",
         "--config.evaluate.baseline=", "--config.tensorboard=False"]
    )  # fmt: skip
    results = evaluate_workdir(config, tmp_path / "import")
    assert results["provenance"]["imported"] == {"file": "a.pth"}
    assert pretrained.is_imported(tmp_path / "import")
    again = evaluate_workdir(parsed(f"--workdir={tmp_path / 'import'}"), tmp_path / "import")
    assert again["clean"] == results["clean"]
    assert "a.pth" in render(tmp_path / "import")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--config=FILE is missing: .* holds no run .* give --config=FILE"),
        ("{", r"config\.json is damaged .* restore it"),
        ("[1]", r"config\.json is damaged \(it holds no settings\)"),
        ('{"methods": "normal"}', r"config\.json: unknown config key 'methods'.*'method'.*; or "),
        ('{"seed": "a"}', r"config\.json: config\.seed must be a whole number"),
    ],
)
@pytest.mark.parametrize("mode", ["train", "evaluate"])
def test_a_directory_without_settings_is_named(tmp_path, text, message, mode):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(SystemExit) as stop:
        parsed(f"--workdir={tmp_path}", f"--mode={mode}")
    assert re.match(f"error: .*{message}", stop.value.code)
    assert "\n" not in stop.value.code


def test_checkpoints_without_settings_are_named(tmp_path):
    (tmp_path / "checkpoints" / "latest" / "1").mkdir(parents=True)
    with pytest.raises(SystemExit) as stop:
        parsed(f"--workdir={tmp_path}")
    assert "holds checkpoints but no config.json; put that back" in stop.value.code
