"""A run whose workdir lies in a bucket, of which `tests/bucket.py` is a stand-in."""

import contextlib
import json
import logging
import re

import jax
import numpy as np
import pytest
from PIL import Image

import augmax_jax
from augmax_jax import export, main, predict, report
from augmax_jax.pytorch.exporting import write_state_dict
from augmax_jax.report import __main__ as report_command
from augmax_jax.runtime import appending, lock, paths, storage
from augmax_jax.runtime.run_directory import has_checkpoints, read_history
from augmax_jax.training import loop, nonfinite, telemetry, workdir
from augmax_jax.training.checkpoints import Checkpoints, read_variables
from augmax_jax.training.commands import evaluate_workdir, train_and_evaluate
from augmax_jax.training.run import build
from tests.bucket import Refused, refused, stand_in
from tests.training.pair import small

pytestmark = pytest.mark.usefixtures("speck")

RUN = "gs://bucket/runs/mine"
STATE = {"params": {"w": np.arange(6, dtype=np.float32)}, "statistics": {"s": np.zeros(2)}}
NOT_OF_THE_RUN = ("time", "images_per_second")


def config(**changes):
    """A run of a few steps that leaves files of every kind."""
    return small(
        **{"tensorboard": True, "pictures_every_epochs": 0.02, "num_devices": 1, **changes}
    )


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    root = tmp_path / "objects"
    root.mkdir()
    with stand_in(root, monkeypatch) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def trained(speck, tmp_path_factory):
    """A bucket with a run of two steps that went on for two more, and its results."""
    with (
        pytest.MonkeyPatch.context() as patch,
        stand_in(tmp_path_factory.mktemp("objects"), patch) as bucket,
    ):
        train_and_evaluate(config(max_steps=2), RUN)
        first = bucket.names(RUN)
        results = train_and_evaluate(config(max_steps=4), RUN)
        yield bucket, first, results


def told(directory):
    """The history without what tells the times."""
    rows = read_history(directory)
    return [{k: v for k, v in row.items() if k not in NOT_OF_THE_RUN} for row in rows]


def test_a_run_leaves_in_a_bucket_what_it_leaves_on_a_disk(trained):
    _, names, _ = trained
    assert {"config.json", "model.json", "history.jsonl", "results.json", "report.html"} < {*names}
    assert "checkpoints/latest/2/commit_success.txt" in names
    for pattern in (
        r"events\.out\.tfevents\..*",
        r"hparams/events\.out\.tfevents\..*",
        r"pictures/augmentations_.*\.png",
        r"evaluation/spatial\.(json|csv)",
    ):
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    assert not [name for name in names if "lock" in name or "writable" in name]


def test_it_goes_on_where_it_was(trained):
    bucket, _, results = trained
    rows = read_history(RUN)
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2, 3, 4]
    assert results["clean"]["last"]["step"] == 4
    sessions = json.loads(bucket.on_disk(f"{RUN}/model.json").read_text())["provenance"]["sessions"]
    assert len(sessions) == 2
    assert all(session["end"] for session in sessions)
    assert workdir.read_config(paths.expand_workdir(RUN)).max_steps == 4


def test_it_is_evaluated_by_the_command(trained, capsys):
    _, _, results = trained
    main.main(main.parse_flags(["main", f"--workdir={RUN}", "--mode=evaluate"]))
    assert f"Report: {RUN}/report.html" in capsys.readouterr().out
    kept = json.loads((paths.expand_workdir(RUN) / "results.json").read_text())
    assert kept["clean"] == results["clean"]


def test_it_is_loaded_predicts_and_is_exported(trained, tmp_path, capsys):
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(tmp_path / "a.png")
    predict.main([RUN, str(tmp_path / "a.png"), "--top", "1", "--format", "json"])
    ((name, p),) = augmax_jax.load(RUN).predict(tmp_path / "a.png", top=1)[0]
    shown = json.loads(capsys.readouterr().out)["images"][0]["predictions"]
    assert shown == [{"class": name, "probability": pytest.approx(p)}]
    export.main([RUN])
    with pytest.raises(SystemExit, match=rf"error: {RUN}/exported.zip exists: choose another"):
        export.main([RUN])
    write_state_dict(f"{RUN}/weights.npz", {"w": np.arange(3)})
    with np.load(trained[0].on_disk(f"{RUN}/weights.npz")) as file:
        np.testing.assert_array_equal(file["w"], np.arange(3))
    ((other, q),) = augmax_jax.load(f"{RUN}/exported.zip").predict(tmp_path / "a.png", top=1)[0]
    assert (other, q) == (name, pytest.approx(p, abs=1e-5))


def test_its_report_is_written_anywhere(trained, tmp_path, capsys):
    report_command.main([RUN])
    assert f"Report: {RUN}/report.html" in capsys.readouterr().out
    report_command.main([RUN, "--out", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").read_text() == report.render(RUN)
    assert report.comparison_table([RUN, RUN])


def test_another_config_is_refused(trained):
    with pytest.raises(ValueError, match=rf"{RUN} holds a run of another config.*\n.*seed: 0 -> 1"):
        train_and_evaluate(config(seed=1), RUN)


def test_a_killed_run_is_not_there_twice(trained):
    """What came after the checkpoint from which a run goes on is removed."""
    place = paths.expand_workdir("gs://bucket/runs/killed")
    counts = {"total_steps": 9, "examples_per_epoch": 8, "batch_size": 4}
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        log = telemetry.Telemetry(place, start_step=start, progress=False, **counts)
        for step in steps:
            log.scalars(step, "train", {"loss": step + start})
        log.sync()  # and it is killed
    assert [(row["step"], row["loss"]) for row in read_history(place)] == [
        (1, 1),
        (2, 2),
        (3, 5),
        (4, 6),
    ]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(trained[0].on_disk(place)))
    events.Reload()
    logged = events.Tensors("train/loss")
    found = [(event.step, make_ndarray(event.tensor_proto).item()) for event in logged]
    assert found == [(1, 1), (2, 2), (3, 5), (4, 6)]


def test_the_history_is_not_written_for_every_row(bucket, monkeypatch):
    writes = []
    bucket.refuse = lambda kind, name: writes.append(name) if kind == "write" else None
    now = 1000.0
    monkeypatch.setattr(appending.time, "monotonic", lambda: now)
    place = paths.expand_workdir("gs://bucket/lines.txt")
    file = appending.open_to_append(place)
    for number in range(5):
        file.write(f"{number}\n")
        file.flush()
    assert (len(writes), place.read_text()) == (1, "0\n")
    now += appending.EVERY
    file.flush()
    assert (len(writes), place.read_text()) == (2, "0\n1\n2\n3\n4\n")
    file.write("é\n")
    file.close()
    with appending.open_to_append(place) as file:
        file.write("more\n")
    assert (len(writes), place.read_bytes().decode()) == (4, "0\n1\n2\n3\n4\né\nmore\n")


def saved(*steps):
    with contextlib.closing(Checkpoints(RUN)) as checkpoints:
        for step in steps:
            state = jax.tree.map(lambda x, step=step: x + step, STATE)
            checkpoints.save("latest", step, state, {"step": step})


def newest():
    with contextlib.closing(Checkpoints(RUN)) as checkpoints:
        return checkpoints.restore("latest", STATE)


def test_a_checkpoint_that_is_not_whole_does_not_count(bucket):
    saved(1)
    mark = bucket.on_disk(f"{RUN}/checkpoints/latest/1/commit_success.txt")
    contents = mark.read_bytes()
    mark.unlink()
    assert not has_checkpoints(paths.expand_workdir(RUN))
    with pytest.raises(ValueError, match=f"{RUN} holds no checkpoint"):
        read_variables(RUN)
    mark.write_bytes(contents)
    assert has_checkpoints(paths.expand_workdir(RUN))
    assert newest()[0] == 1
    mark.unlink()
    assert newest() is None  # and orbax begins to remove it
    saved(1)
    step, state, record = newest()
    assert (step, record) == (1, {"step": 1})
    np.testing.assert_array_equal(state["params"]["w"], STATE["params"]["w"] + 1)


def test_a_damaged_checkpoint_is_passed_over_and_replaced(bucket, caplog):
    saved(1, 2)
    folder = bucket.on_disk(f"{RUN}/checkpoints/latest/2")
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "commit_success.txt":
            file.write_bytes(b"damaged")
    assert newest()[0] == 1
    assert "of step 2 is damaged" in caplog.text
    saved(2)
    step, state, record = newest()
    assert (step, record) == (2, {"step": 2})
    np.testing.assert_array_equal(state["params"]["w"], STATE["params"]["w"] + 2)


def test_a_batch_that_is_not_finite_is_kept(bucket):
    run, place = build(config()), paths.expand_workdir(RUN)
    for step in (3, 4):
        assert nonfinite.keep_batch(run, place, step) == place / f"nonfinite/step_{step:08}.npz"
    kept = nonfinite.last_kept(place)
    assert kept.name == "step_00000004.npz"
    np.testing.assert_array_equal(
        nonfinite.read_batch(kept)["image"], nonfinite.host_batch(run, 4)["image"]
    )


def test_a_profile_is_brought_to_the_bucket(bucket, monkeypatch):
    def start(folder, **_):
        file = loop.Path(folder, "plugins", "trace.pb")
        file.parent.mkdir(parents=True)
        file.write_text("trace")

    monkeypatch.setattr(loop.jax.profiler, "start_trace", start)
    monkeypatch.setattr(loop.jax.profiler, "stop_trace", lambda: None)
    for step in range(10):
        with loop.profiled(True, paths.expand_workdir(RUN), step):
            pass
    assert bucket.names(RUN) == ["profile/plugins/trace.pb"]


@pytest.mark.parametrize("host", ["", "elsewhere"])
def test_a_directory_in_use_is_refused(bucket, host, monkeypatch):
    place = paths.expand_workdir(RUN) / ".lock"
    with lock.held(place):
        if host:
            monkeypatch.setattr(lock.socket, "gethostname", lambda: host)
        with pytest.raises(lock.InUse, match=rf"{RUN} is in use by process \d+ on host"):
            train_and_evaluate(config(), RUN)
    assert bucket.names(RUN) == []


def test_a_lock_that_was_left_is_taken_over(bucket, caplog, monkeypatch):
    place = paths.expand_workdir(RUN) / ".lock"
    caplog.set_level(logging.INFO)
    left = {"host": "elsewhere", "process": 7, "token": "a", "time": lock.time.time()}
    for owner in (
        {**left, "time": left["time"] - lock.STALE - 1},
        {**left, "host": lock.socket.gethostname(), "process": 2**22 + 1},  # no process's number
    ):
        place.write_text(json.dumps(owner))
        caplog.clear()
        with lock.held(place):
            assert f"was left by process {owner['process']} on host" in caplog.text
        assert not place.exists()
    place.write_text("half a li")
    with lock.held(place):
        pass
    place.write_text(json.dumps(left))
    ends = r"If it was killed, its lock ends in (300|299) seconds"
    with pytest.raises(lock.InUse, match=ends), lock.held(place):
        pass


def test_a_lock_is_renewed(bucket, monkeypatch):
    place = paths.expand_workdir(RUN) / ".lock"
    monkeypatch.setattr(lock, "RENEWED", 0.01)
    with lock.held(place):
        first = json.loads(place.read_text())
        for _ in range(1000):
            if (now := json.loads(place.read_text()))["time"] > first["time"]:
                break
            lock.time.sleep(0.01)
        assert {**now, "time": 0} == {**first, "time": 0}
        assert now["time"] > first["time"]


def test_the_last_of_two_that_lock_at_once_has_it(bucket, monkeypatch):
    place = paths.expand_workdir(RUN) / ".lock"
    other = {"host": "elsewhere", "process": 7, "token": "a", "time": lock.time.time()}
    monkeypatch.setattr(lock.time, "sleep", lambda _: bucket.put(place, json.dumps(other).encode()))
    with pytest.raises(lock.InUse, match="process 7 on host elsewhere"), lock.held(place):
        pass
    assert json.loads(place.read_text()) == other


@pytest.mark.parametrize("kind", [Refused, PermissionError])
@pytest.mark.parametrize("when", ["config.json", "writable", "checkpoints"])
def test_what_the_bucket_refuses_is_said_in_one_line(bucket, kind, when, capsys):
    def refuse(action, name):
        if action == "write" and when in name:
            refused(kind("Forbidden: no access\n<html>more</html>"))

    bucket.refuse = refuse
    with pytest.raises(OSError, match=RUN) as caught:
        train_and_evaluate(config(max_steps=1, tensorboard=False), RUN)
    assert "Forbidden: no access" in str(caught.value)
    assert "html" not in str(caught.value)


def test_what_cannot_be_read_is_said_in_one_line(bucket):
    def refuse(action, name):
        raise Refused("403, Forbidden")

    bucket.refuse = refuse
    message = rf"{RUN} cannot be read or written \(Refused: 403, Forbidden\): see that the bucket"
    for command in (augmax_jax.load, report.render, report.write, lambda p: evaluate_workdir(
        config(), p
    )):  # fmt: skip
        with pytest.raises(OSError, match=message):
            command(RUN)
    with pytest.raises(SystemExit, match=f"error: {message}"):
        main.parse_flags(["main", f"--workdir={RUN}"])


def test_errors_that_are_not_of_the_bucket_stay(bucket):
    for error in (FileNotFoundError("no data"), ValueError("no"), KeyError("no")):
        with pytest.raises(type(error)) as caught, storage.explained(RUN):
            raise error
        assert caught.value is error
    with pytest.raises(Refused), storage.explained("runs/mine"):
        raise Refused


@pytest.mark.parametrize("name", ["gs://", "gs://bucket", "gs://bucket/", "gs://b/../c", "gs:///"])
def test_a_name_without_a_folder_is_refused(bucket, name):
    with pytest.raises(ValueError, match="names no folder of a bucket, such as gs://BUCKET/runs"):
        paths.expand_workdir(name)


def test_names_in_a_bucket(bucket, tmp_path):
    for name in (RUN, f"{RUN}/", "gs:/bucket/runs/mine", "GS://bucket/runs//mine", f"{RUN}/."):
        assert str(paths.expand_workdir(name)) == RUN
    assert paths.expand_workdir(paths.expand_workdir(RUN)) == paths.expand_workdir(RUN)
    assert type(paths.expand_workdir(str(tmp_path))) is type(tmp_path)
    for name, message in (
        ("gs://bucket/a[1]", r"holds \[ \]"),
        ("gs://bucket/" + "a" * 1000, "choose a shorter one"),
    ):
        with pytest.raises(ValueError, match=message):
            train_and_evaluate(config(), name)
    with pytest.raises(ValueError, match="is not a path on this machine"):
        train_and_evaluate(config(), "s3://bucket/run")


@pytest.mark.slow
def test_a_run_in_a_bucket_is_that_on_a_disk(bucket, tmp_path):
    changes = {"eval_every_epochs": 0.02, "checkpoint__every_epochs": 0.02, "method": "augmax"}
    found = {}
    for place in (RUN, tmp_path / "run"):
        for steps in (3, 8):  # it goes on once
            found[place] = train_and_evaluate(config(max_steps=steps, **changes), place)
    one, other = found.values()
    for name in ("clean", "benchmarks", "test_set", "class_names", "selected"):
        assert one[name] == other[name]
    assert told(RUN) == told(tmp_path / "run")
    for kind in ("best", "latest"):
        pair = [read_variables(place, kind) for place in found]
        jax.tree.map(np.testing.assert_array_equal, *pair)

    def names(files):
        return {re.sub(r"tfevents.*|/d/.*", "", name) for name in files}

    disk = [p.relative_to(tmp_path / "run") for p in (tmp_path / "run").rglob("*") if p.is_file()]
    marks = {f"checkpoints/{kind}/.checkpoints" for kind in ("best", "latest")}
    assert names(bucket.names(RUN)) - marks == names(map(str, disk))
    assert (tmp_path / "objects").exists()
