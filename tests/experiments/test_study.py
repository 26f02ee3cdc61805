"""Runs are done once, go on where they stopped, and do not take each other down."""

import json

import pytest

from experiments import study
from experiments.options import Options
from experiments.recipes import Experiment
from experiments.study import Study


def test_a_done_run_is_not_repeated(options, normal, augmax, worker):
    Study([normal, augmax], options).run(worker)
    assert worker.done == [normal.name, augmax.name]
    found = Study([normal, augmax], options)
    assert [found.outcome(e).state for e in (normal, augmax)] == [study.DONE] * 2
    found.run(worker)
    assert len(worker.done) == 2
    assert found.outcome(normal).results["clean"]["best"]["accuracy"] == 0.9
    assert not found.failed


def test_a_run_that_an_older_version_finished_is_done(options, normal, worker):
    Study([normal], options).run(worker)
    path = options.root / normal.name / study.FINISHED
    mark = json.loads(path.read_text())
    del mark["evaluate"]["routes"]  # a setting that came later
    path.write_text(json.dumps(mark))
    assert Study([normal], options).outcome(normal).state == study.DONE
    mark["evaluate"]["routes"] = ["augmented"]
    path.write_text(json.dumps(mark))
    assert Study([normal], options).outcome(normal).state == study.PARTLY


def test_runs_of_one_name_are_run_once(tmp_path, augmax, worker, monkeypatch):
    monkeypatch.setattr(study.smoke, "prepare", lambda root: None)
    other = Experiment("cifar100", "resnet18", "augmax", "dubin")
    found = Study([augmax, other], Options(tmp_path, smoke=True))
    found.run(worker)
    assert worker.done == ["digits-tiny-augmax-dubin"]
    assert found.outcome(other) is found.outcome(augmax)
    assert found.directory(other).parent == tmp_path / "smoke"


def test_an_unfinished_run_goes_on(options, augmax, worker):
    worker.errors[augmax.name] = KeyboardInterrupt()
    found = Study([augmax], options)
    found.run(worker)
    assert found.interrupted
    assert found.outcome(augmax).state == study.PARTLY
    worker.errors.clear()
    found = Study([augmax], options)
    found.run(worker)
    assert worker.done == [augmax.name] * 2
    assert found.outcome(augmax).state == study.DONE


def test_an_interruption_keeps_what_is_done(options, normal, augmax, worker):
    last = Experiment("cifar10", "wrn40_2", "augmix", "bn")
    worker.errors[augmax.name] = KeyboardInterrupt()
    found = Study([normal, augmax, last], options)
    found.run(worker)
    states = [found.outcome(e).state for e in (normal, augmax, last)]
    assert states == [study.DONE, study.PARTLY, study.WAITING]
    assert worker.done == [normal.name, augmax.name]


def test_missing_data_and_failures_do_not_stop_the_others(options, normal, augmax, worker, caplog):
    last = Experiment("cifar10", "wrn40_2", "augmix", "bn")
    worker.errors[normal.name] = FileNotFoundError("no cifar10: tfds build cifar10")
    worker.errors[augmax.name] = RuntimeError("out of memory\nat line 3")
    found = Study([normal, augmax, last], options)
    found.run(worker)
    assert found.outcome(normal) == study.Outcome(
        study.NO_DATA, "no cifar10: tfds build cifar10", {}
    )
    assert found.outcome(augmax).state == study.FAILED
    assert found.outcome(augmax).note == "RuntimeError: out of memory at line 3"
    assert "Traceback" in caplog.text
    assert found.outcome(last).state == study.DONE
    assert found.failed


def test_missing_data_is_no_failure(options, normal, worker):
    worker.errors[normal.name] = FileNotFoundError("no cifar10")
    found = Study([normal], options)
    found.run(worker)
    assert not found.failed


def test_a_missing_benchmark_is_looked_for_again(options, normal, worker):
    worker.options["missing"] = ("cifar10_c",)
    found = Study([normal], options)
    found.run(worker)
    outcome = found.outcome(normal)
    assert (outcome.state, outcome.note) == (study.UNMEASURED, "cifar10_c is not there")
    assert outcome.results["clean"]["best"]["accuracy"] == 0.9
    worker.options.clear()
    found = Study([normal], options)
    found.run(worker)
    assert found.outcome(normal).state == study.DONE
    assert len(worker.done) == 2


@pytest.mark.parametrize("setting", ["max_steps=5", "evaluate.checkpoint=last"])
def test_a_run_that_ended_otherwise_is_not_done(tmp_path, normal, worker, setting):
    Study([normal], Options(tmp_path)).run(worker)
    changed = Options(tmp_path, settings=(tuple(setting.split("=")),))
    assert Study([normal], changed).outcome(normal).state == study.PARTLY


def test_a_run_of_another_config_is_refused_and_kept(tmp_path, normal, worker):
    Study([normal], Options(tmp_path)).run(worker)
    before = (tmp_path / normal.name / "config.json").read_text()
    found = Study([normal], Options(tmp_path, settings=(("batch_size", "64"),)))
    assert found.outcome(normal).results == {}
    found = Study([normal], Options(tmp_path, settings=(("batch_size", "64"),)))
    found.run(worker)
    assert found.outcome(normal).state == study.FAILED
    assert "batch_size: 256 -> 64" in found.outcome(normal).note
    assert (tmp_path / normal.name / "config.json").read_text() == before


def test_only_some_runs(tmp_path, normal, augmax, worker):
    found = Study([normal, augmax], Options(tmp_path, only=("*augmax*",)))
    found.run(worker)
    assert worker.done == [augmax.name]
    assert found.outcome(normal).state == study.LEFT_OUT
    Study([normal], Options(tmp_path)).run(worker)
    found = Study([normal, augmax], Options(tmp_path, only=("*augmax*",)))
    found.run(worker)
    assert found.outcome(normal).state == study.DONE  # done before: its figures count


def test_smoke_runs_say_nothing(tmp_path, augmax, capsys, monkeypatch):
    monkeypatch.setattr(study.smoke, "prepare", lambda root: None)

    def talk(config, directory):
        print("SA 99.9")
        directory.mkdir(parents=True)

    Study([augmax], Options(tmp_path, smoke=True)).run(talk)
    assert "99.9" not in capsys.readouterr().out


def test_the_mark_of_a_finished_run_is_readable(options, normal, worker):
    Study([normal], options).run(worker)
    mark = json.loads((options.root / normal.name / study.FINISHED).read_text())
    assert mark["max_steps"] == 0
    assert "data_dir" not in mark["evaluate"]


def test_a_damaged_file_takes_down_its_run_only(options, normal, augmax, worker):
    Study([normal], options).run(worker)
    (options.root / normal.name / study.FINISHED).write_text("{")
    found = Study([normal, augmax], options)
    found.run(worker)
    assert found.outcome(normal).state == study.FAILED
    assert "finished.json is damaged" in found.outcome(normal).note
    assert found.outcome(augmax).state == study.DONE


def test_folders_that_are_missing_are_named_with_what_makes_them(tmp_path, worker):
    plain = Experiment("tiny_imagenet", "resnet18", "augmix", "bn")
    deep = Experiment("tiny_imagenet", "resnet18", "augmix", "bn", deepaugment=True)
    found = Study([plain, deep], Options(tmp_path))
    found.run(worker)
    assert not worker.done
    assert found.outcome(plain).state == study.NO_DATA
    assert "no folder 'tiny-imagenet-200'" in found.outcome(plain).note
    assert "--data DIR" in found.outcome(plain).note
    notes = found.outcome(deep).note.splitlines()
    copies = tmp_path / "deepaugment" / "tiny_imagenet"
    assert "--network edsr --weights FILE --dataset tiny-imagenet-200 " in notes[1]
    assert f"--out {copies / 'cae'} " in notes[2]
    assert not found.failed

    (tmp_path / "tiny").mkdir()
    for network in ("edsr", "cae"):
        (copies / network / "train").mkdir(parents=True)
    found = Study([plain, deep], Options(tmp_path, data={"tiny_imagenet": str(tmp_path / "tiny")}))
    found.run(worker)
    assert worker.done == [plain.name, deep.name]


def test_copies_need_imagenet_as_a_folder(tmp_path, worker):
    deep = Experiment("imagenet", "resnet18", "augmix", "bn", deepaugment=True)
    found = Study([deep], Options(tmp_path))
    found.run(worker)
    assert "cannot be mixed with a streamed tfds set" in found.outcome(deep).note
