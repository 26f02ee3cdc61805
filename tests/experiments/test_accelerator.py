"""The accelerator: what it imports, its minutes, its pieces, its tables, all at toy size."""

import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.accelerator import __main__ as command
from experiments.accelerator import device, peer, pieces, pixels, runs, steps, tables
from experiments.accelerator.session import FILE, Session

ROOT = Path(__file__).parent.parent.parent
HIDDEN = ("tensorflow", "tensorflow_datasets", "clu", "matplotlib")
# As if they were not installed: nothing finds them, and nothing raises where it only looks.
HIDE = textwrap.dedent(
    f"""
    import sys

    class Without:
        def __init__(self, finder):
            self.finder = finder

        def __getattr__(self, name):
            return getattr(self.finder, name)

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] not in {HIDDEN!r}:
                return self.finder.find_spec(name, path, target)

    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
    """
)


def run_hidden(code, *arguments, **options):
    """Runs a program from which the packages are hidden."""
    return subprocess.run(
        [sys.executable, "-c", HIDE + code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_every_module_can_be_imported_without_the_hidden_packages():
    names = sorted(path.stem for path in (ROOT / "experiments" / "accelerator").glob("*.py"))
    assert "steps" in names
    code = "import importlib\n" + "".join(
        f"importlib.import_module('experiments.accelerator.{name}')\n" for name in names
    )
    code += f"assert not set({HIDDEN!r}) & sys.modules.keys()\n"
    # The training itself too, with all that it imports when it begins.
    code += "import augmax_jax\naugmax_jax.train_and_evaluate\n"
    done = run_hidden(code)
    assert done.returncode == 0, done.stderr


def test_items_are_measured_once_and_failures_again(tmp_path, caplog):
    facts = {"device": "x", "toy": True}
    session = Session(tmp_path, 1, facts)
    session.measure("a/one", lambda: {"seconds": 1})
    session.measure("a/two", lambda: 1 / 0)
    session.measure("a/one", lambda: {"seconds": 2})
    kept = json.loads((tmp_path / FILE).read_text())["items"]
    assert kept["a/one"] == {"seconds": 1}
    assert kept["a/two"]["error"].startswith("ZeroDivisionError")
    again = Session(tmp_path, 1, facts)
    again.measure("a/two", lambda: {"seconds": 3})
    assert again.results["items"]["a/two"] == {"seconds": 3}
    with pytest.raises(ValueError, match="device: x"):
        Session(tmp_path, 1, {"device": "y", "toy": True})
    with pytest.raises(ValueError, match="--minutes"):
        Session(tmp_path, 0, facts)


def test_no_item_begins_that_would_not_end_in_time(tmp_path):
    session = Session(tmp_path, 0.5 / 60, {})
    session.measure("slow/one", lambda: time.sleep(0.3))
    session.measure("slow/two", lambda: {"seconds": 0})
    session.measure("other/one", lambda: {"seconds": 0}, seconds=60)
    assert list(session.results["items"]) == ["slow/one"]


def test_a_folder_survives_its_pieces(tmp_path):
    folder = tmp_path / "runs"
    (folder / "a" / "b").mkdir(parents=True)
    content = np.random.default_rng(0).bytes(300_000)
    (folder / "a" / "b" / "weights").write_bytes(content)
    (folder / "empty").mkdir()
    made = pieces.pack(folder, tmp_path, limit=100_000)
    assert not folder.exists()
    assert [p.name for p in made] == [f"runs.tar.{i:03}" for i in range(len(made))]
    assert all(p.stat().st_size <= 100_000 for p in made)
    assert len(made) == 4
    again = pieces.unpack("runs", tmp_path)
    assert (again / "a" / "b" / "weights").read_bytes() == content
    assert (again / "empty").is_dir()

    (folder / "newer").touch()  # a session that was killed before it packed
    assert (pieces.unpack("runs", tmp_path) / "newer").exists()


def test_missing_and_damaged_pieces_are_named(tmp_path):
    assert list(pieces.unpack("runs", tmp_path).iterdir()) == []
    (tmp_path / "runs" / "file").write_bytes(b"x" * 50_000)
    second = pieces.pack(tmp_path / "runs", tmp_path, limit=20_000)[1]
    content = second.read_bytes()
    second.write_bytes(b"?" + content[1:])
    with pytest.raises(ValueError, match=r"runs\.tar\.001 is damaged"):
        pieces.unpack("runs", tmp_path)
    index = tmp_path / "runs.pieces.json"
    sound = index.read_text()
    for damage in ([], {}, {"pieces": [1]}, {"pieces": [{"name": "../x", "sha256": ""}]}):
        index.write_text(json.dumps(damage))
        with pytest.raises(ValueError, match="is no index of pieces: copy it again"):
            pieces.unpack("runs", tmp_path)
    index.write_text(json.dumps({"pieces": []}))
    with pytest.raises(ValueError, match="no archive of it"):
        pieces.unpack("runs", tmp_path)
    index.write_text(sound)
    second.unlink()
    with pytest.raises(ValueError, match=r"runs\.tar\.001 is missing"):
        pieces.unpack("runs", tmp_path)
    second.write_bytes(content)
    assert (pieces.unpack("runs", tmp_path) / "file").stat().st_size == 50_000


def test_the_time_ends_with_a_signal_that_is_taken_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), runs.interrupted_after(0.05):
        time.sleep(10)
    with runs.interrupted_after(60):
        pass
    assert signal.getsignal(signal.SIGTERM) is before
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer)]


def test_the_run_list_is_that_of_table_2_with_the_smallest_network_first():
    names = [experiment.name for experiment in runs.experiments()]
    assert len(names) == 9
    assert names[:3] == [
        "cifar10-wrn40_2-normal-bn",
        "cifar10-wrn40_2-augmix-bn",
        "cifar10-wrn40_2-augmax-dubin",
    ]


def test_the_kinds_of_steps_cover_the_ways_to_stop():
    kinds = steps.kinds()
    assert list(kinds)[:2] == ["normal", "augmix"]
    for n in (5, 10):
        for way in (steps.FIXED, steps.EARLY, steps.COMPACTED):
            assert kinds[f"augmax n={n} {way}"]["steps"] == n
    assert len(steps.chunk_kinds(256)) == 8
    assert len(steps.chunk_kinds(64)) == 6


def test_batches_have_every_class():
    made = steps.batches(steps.TOY[0], 2)
    labels = np.concatenate([batch["label"] for batch in made])
    assert set(labels.tolist()) == set(range(steps.CLASSES))
    assert made[0]["image"].shape == (16, 8, 8, 3)


def test_the_device_is_checked_and_has_a_peak():
    assert device.check()["first_program_seconds"] > 0
    assert device.peak("float32", 64, 1)["flops_per_second"] > 0
    assert device.facts()["platform"] == "cpu"


def test_the_tables_give_ratios_shares_and_failures():
    step = {
        "first_step_seconds": 12.0,
        "memory_mib": {"temporary": 1000.0},
        "images_per_second": 100.0,
    }
    items = {
        "device/peak/float32": {"flops_per_second": 1e12},
        "device/flops/wrn40_2": {"forward": 1e9},
        "steps/wrn40_2/float32/normal": {**step, "seconds": 0.01, "forward_passes": 3.0},
        "steps/wrn40_2/float32/augmax n=5 compacted": {
            **step,
            "seconds": 0.03,
            "forward_passes": 15.0,
            "ascent_steps": 2.5,
        },
        "steps/wrn40_2/bfloat16/normal": {"error": "XlaRuntimeError: out of memory"},
        "peer/wrn40_2/float32/eager": {
            "seconds": {"normal": 0.02, "maximise 5": 0.06, "update": 0.04}
        },
        "pixels/operators/32": {
            "ours_ms_per_sample": 0.1,
            "pillow_ms_per_sample": 0.4,
            "ratio": 4.0,
        },
    }
    runs = {
        "a": {"state": "failed", "epoch": 1.0, "epochs": 2, "SA": None, "RA": None, "note": "!"}
    }
    facts = {"device": "chip", "devices": 1, "cores": 8, "jax": "0.11.0"}
    text = tables.table({"facts": facts, "items": items, "runs": runs})
    assert "| 30.00 | 100 | 3.00 | 50.0 % | 1,000 | 2.50 |" in text
    assert "| eager | 20.00 | 100.00 | 0.50 × | 0.30 × |" in text
    assert "| 10,000 | 2,500 | 4.0 |" in text
    assert "- steps/wrn40_2/bfloat16/normal: XlaRuntimeError: out of memory" in text
    assert "| a | failed | 1.0 of 2 | – | – |" in text
    assert "- a: failed: !" in text


def test_a_bad_command_line_says_what_to_do(tmp_path, capsys):
    where = ["--out", str(tmp_path)]
    assert command.main([*where, "--minutes", "1", "--parts", "step"]) == 2
    assert "none of device" in capsys.readouterr().err
    assert command.main([*where, "--minutes", "-1"]) == 2
    assert "--minutes must be positive" in capsys.readouterr().err
    assert command.main([*where, "--minutes", "1", "--data", str(tmp_path)]) == 2
    assert "train/<class>/" in capsys.readouterr().err


@pytest.mark.slow
def test_pytorchs_steps_are_timed_in_a_process_of_their_own():
    pytest.importorskip("torch")
    assert peer.is_there()
    found = peer.measure(steps.TOY[0], "float32", compiled=False, repeats=1, seconds=300)
    assert set(found["seconds"]) == {"normal", "update", "maximise 5", "maximise 10"}
    with pytest.raises(subprocess.TimeoutExpired):
        peer.measure(steps.TOY[0], "float32", compiled=False, repeats=1, seconds=0.1)


@pytest.mark.slow
def test_corruptions_are_timed_on_all_cores():
    pixels.check_peer()
    found = pixels.corrupt_on_cores(32, 1, ("brightness",), "cifar")
    assert found["images_per_second"] > 0


@pytest.mark.slow
def test_the_whole_script_at_toy_size_without_the_hidden_packages(tmp_path):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in "abcdefghij":
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i in range(2):
                pixels_ = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels_).save(tmp_path / "data" / split / name / f"{i}.png")
    out = tmp_path / "out"
    code = (
        "from experiments.accelerator import __main__ as command\n"
        "sys.exit(command.main(sys.argv[1:]))\n"
    )
    arguments = ["--toy", "--minutes", "60", "--out", str(out), "--data", str(tmp_path / "data")]
    parts = ["--parts", "device,steps,pixels,chunks,runs"]
    done = run_hidden(code, *arguments, *parts)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((out / FILE).read_text())
    assert kept["runs"]["cifar10-wrn40_2-normal-bn"]["state"] == "done"
    assert "steps/wrn40_2/bfloat16/augmax n=1 compacted" in kept["items"]
    assert str(tmp_path) not in json.dumps(kept)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == []
    assert run_hidden(code, *arguments, *parts).returncode == 0
    again = json.loads((out / FILE).read_text())
    assert again["items"] == kept["items"]  # nothing is measured twice
    assert again["runs"] == kept["runs"]
    assert len(again["sessions"]) == 2
