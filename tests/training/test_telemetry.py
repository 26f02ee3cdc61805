"""The history file, TensorBoard logs read back by TensorBoard's own reader, and errors."""

import io
import json
import math
import sys
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from augmax_jax.config import defaults
from augmax_jax.runtime.run_directory import flatten, read_history
from augmax_jax.training import tensorboard
from augmax_jax.training.telemetry import Telemetry


def make(workdir, **options):
    options = {"tensorboard": False, "progress": False, "process": 0} | options
    return Telemetry(workdir, total_steps=100, examples_per_epoch=200, batch_size=20, **options)


def steps(workdir, kind="train"):
    return [row["step"] for row in read_history(workdir) if row["kind"] == kind]


def test_rows_hold_step_epoch_kind_time_and_metrics(tmp_path):
    with make(tmp_path / "new" / "run") as log:
        log.scalars(
            5, "train", {"loss": jnp.float32(0.5), "lr": np.float64(0.1), "n": jnp.int32(3)}
        )
        log.scalars(10, "eval", {"accuracy": 0.75})
        log.scalars(10, "benchmark", {"benchmark": "digits", "ra": 0.5, "mce": None})
    rows = read_history(tmp_path / "new" / "run")
    assert [row["kind"] for row in rows] == ["train", "eval", "benchmark"]
    assert rows[0] | {"time": 0} == {
        "step": 5, "epoch": 0.5, "kind": "train", "time": 0, "loss": 0.5, "lr": 0.1, "n": 3,
    }  # fmt: skip
    assert rows[0]["time"] > 1.6e9
    assert rows[2]["benchmark"] == "digits"
    assert rows[2]["mce"] is None


def test_non_finite_numbers_are_valid_json_and_come_back(tmp_path):
    values = {"a": float("nan"), "b": jnp.inf, "c": -np.inf, "d": jnp.bfloat16(2)}
    with make(tmp_path) as log:
        log.scalars(1, "train", values)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    line = (tmp_path / "history.jsonl").read_text()
    assert json.loads(line, parse_constant=refuse)["a"] == "nan"
    row = read_history(tmp_path)[0]
    assert math.isnan(row["a"])
    assert (row["b"], row["c"], row["d"]) == (math.inf, -math.inf, 2.0)


def test_rows_are_on_disk_before_close(tmp_path):
    log = make(tmp_path)
    log.scalars(1, "train", {"loss": 1.0})
    assert steps(tmp_path) == [1]
    log.close()
    log.close()


@pytest.mark.parametrize(
    ("start_step", "left"), [(0, []), (20, [10, 20]), (25, [10, 20]), (None, [10, 20, 30, 40])]
)
def test_resume_drops_what_lies_beyond_its_step(tmp_path, start_step, left):
    with make(tmp_path) as log:
        for step in (10, 20, 30, 40):
            log.scalars(step, "train", {"loss": float("nan")})
    with make(tmp_path, start_step=start_step):
        assert steps(tmp_path) == left
    assert math.isnan(sum(row["loss"] for row in read_history(tmp_path))) or not left
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_kinds_that_a_session_writes_anew_replace_what_was_there(tmp_path):
    for value in (0.5, 0.25):
        with make(tmp_path, start_step=None, renew=("benchmark",)) as log:
            log.scalars(100, "train", {"loss": 1.0})
            log.scalars(100, "benchmark", {"corrupted/ra": value})
    rows = read_history(tmp_path)
    assert [row["corrupted/ra"] for row in rows if row["kind"] == "benchmark"] == [0.25]
    assert steps(tmp_path) == [100, 100]


@pytest.mark.parametrize("tail", ['{"step": 30, "epo', '{"step": 30}', "{", "\x00\x00", '"x"'])
def test_half_written_last_line_is_tolerated(tmp_path, tail):
    with make(tmp_path) as log:
        log.scalars(10, "train", {"loss": 1.0})
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text() + tail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_history(tmp_path)[0]["loss"] == 1.0
    with make(tmp_path, start_step=20) as log:
        log.scalars(30, "train", {"loss": 2.0})
    assert steps(tmp_path) == [10, 30]


def test_damage_elsewhere_is_skipped_with_a_warning(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1, "kind": "train"}\n{"ste\n{"step": 2, "kind": "train"}\n')
    with pytest.warns(UserWarning, match=r"history\.jsonl, line 2"):
        assert steps(tmp_path) == [1, 2]


def test_no_history_is_an_empty_list(tmp_path):
    assert read_history(tmp_path) == []


def test_other_processes_stay_quiet(tmp_path, capsys):
    with make(tmp_path / "run", process=1, progress=True, tensorboard=True) as log:
        log.scalars(1, "train", {"loss": 1.0})
        log.images(1, "grid", np.zeros((1, 4, 4, 3), np.uint8))
        log.progress(100, {"loss": 1.0})
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda log: log.scalars(1, "evel", {}), "unknown kind of history row 'evel'.*'eval'"),
        (lambda log: log.scalars(1, "train", {"step": 1}), "may not be named step"),
        (lambda log: log.scalars(1, "train", {"loss": np.zeros(2)}), r"'loss'.*\[2\]"),
        (lambda log: log.scalars(1, "train", {"loss": {}}), "'loss' must be one number"),
        (lambda log: log.images(1, "x", np.zeros((1, 4, 4, 3))), "uint8.*float64"),
        (lambda log: log.images(1, "x", np.zeros((4, 4, 3), np.uint8)), r"\[4, 4, 3\]"),
    ],
)
def test_bad_calls_are_named(tmp_path, call, message):
    with make(tmp_path) as log, pytest.raises(ValueError, match=message):
        call(log)


@pytest.mark.parametrize("name", ["total_steps", "examples_per_epoch", "batch_size", "start_step"])
def test_bad_counts_are_named(tmp_path, name):
    options = {"total_steps": 1, "examples_per_epoch": 1, "batch_size": 1} | {name: -1}
    with pytest.raises(ValueError, match=f"{name} must be at least . *.*got -1"):
        Telemetry(tmp_path, **options, process=0)


def test_unwritable_workdir_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/run/history\.jsonl.*--workdir"):
        make(tmp_path / "file" / "run")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_full_disk_is_named(tmp_path):
    log = make(tmp_path)
    log._file.close()
    log._file = open("/dev/full", "w")  # noqa: SIM115
    with pytest.raises(OSError, match=r"cannot write .*history\.jsonl: No space left.*Free"):
        log.scalars(1, "train", {"loss": 1.0})
    with pytest.raises(OSError, match=r"cannot write .*history\.jsonl: No space left"):
        log.close()
    log.close()


def test_without_tensorflow_the_history_goes_on_with_one_warning(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.warns(UserWarning, match="TensorBoard logs are off") as caught:
        log = make(tmp_path, tensorboard=True)
    with log:
        log.scalars(1, "train", {"loss": 1.0})
        log.images(1, "grid", np.zeros((1, 4, 4, 3), np.uint8))
    assert len(caught) == 1
    assert steps(tmp_path) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_flatten_makes_dotted_names():
    tree = {"a": {"b": 1, "c": {"d": None}}, "e": (1, 2), "f": True}
    assert flatten(tree) == {"a.b": 1, "a.c.d": "None", "e": "(1, 2)", "f": True}


def accumulator(workdir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(workdir), size_guidance={"tensors": 0}).Reload()


def tensorboard_scalars(events, tag):
    from tensorboard.util import tensor_util

    return {e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}


def test_tensorboard_reads_scalars_and_images(tmp_path, rng):
    pytest.importorskip("tensorflow")
    images = rng.integers(0, 256, (2, 6, 5, 3), np.uint8)
    with make(tmp_path, tensorboard=True) as log:
        log.scalars(3, "train", {"loss": 0.5, "note": "text"})
        log.scalars(4, "eval", {"accuracy": 1})
        log.images(4, "augmentations", images)
        live = tensorboard_scalars(accumulator(tmp_path), "train/loss")
        assert live == {3: 0.5}  # seen before the run ends
    events = accumulator(tmp_path)
    assert tensorboard_scalars(events, "eval/accuracy") == {4: 1.0}
    assert "train/note" not in events.Tags()["tensors"]

    width, height, *pngs = events.Tensors("augmentations")[0].tensor_proto.string_val
    assert (int(width), int(height)) == (5, 6)
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in pngs])
    np.testing.assert_array_equal(decoded, images)


def test_tensorboard_shows_the_settings_that_differ_and_the_results_once(tmp_path):
    pytest.importorskip("tensorflow")
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    config = defaults()
    config.adversary.steps, config.log_every = 3, 7
    for results in ({}, {"clean/accuracy": 0.5}, {"clean/accuracy": 0.75}):
        tensorboard.write_hparams(tmp_path, config, results)
    assert len(list(tmp_path.rglob("*tfevents*"))) == 1
    events = accumulator(tmp_path / tensorboard.HPARAMS)
    assert tensorboard_scalars(events, "clean/accuracy") == {0: 0.75}
    (content,) = events.PluginTagToContent("hparams").values()
    shown = HParamsPluginData.FromString(content).session_start_info.hparams
    always = {"method", "model.name", "model.norm", "data.name", "seed"}
    assert {*shown} == always | {"adversary.steps"}
    assert shown["adversary.steps"].number_value == 3
    assert shown["method"].string_value == "augmax"


def test_tensorboard_forgets_the_results_of_an_earlier_evaluation(tmp_path):
    pytest.importorskip("tensorflow")
    for value in (0.5, 0.25):
        with make(tmp_path, tensorboard=True, start_step=None, renew=("benchmark",)) as log:
            log.scalars(100, "train", {"loss": value})
            log.scalars(100, "benchmark", {"corrupted/accuracy/fog/3": value})
    events = accumulator(tmp_path)
    assert len(events.Tensors("benchmark/corrupted/accuracy/fog/3")) == 1
    assert tensorboard_scalars(events, "benchmark/corrupted/accuracy/fog/3") == {100: 0.25}
    assert len(events.Tensors("train/loss")) == 2


def test_tensorboard_forgets_what_a_resumed_run_draws_again(tmp_path):
    pytest.importorskip("tensorflow")
    with make(tmp_path, tensorboard=True) as log:
        for step in (10, 20, 30, 40):
            log.scalars(step, "train", {"loss": 1.0})
    with next(tmp_path.glob("*tfevents*")).open("ab") as file:
        file.write(b"\x20\0\0")  # the half-written record of a killed process
    with make(tmp_path, tensorboard=True, start_step=20) as log:
        for step in (30, 50):
            log.scalars(step, "train", {"loss": 2.0})
    expected = {10: 1.0, 20: 1.0, 30: 2.0, 50: 2.0}
    assert tensorboard_scalars(accumulator(tmp_path), "train/loss") == expected
