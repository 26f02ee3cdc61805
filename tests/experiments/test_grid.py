"""Tables: what was measured, beside what the paper prints, and never mixed up with it."""

import json
import statistics

import pytest

from augmax_jax.report.tables import to_text
from experiments import common, grid, needs, smoke, table2, table6, table8, table11
from experiments.options import Options
from experiments.study import Study


def show(module, options, worker):
    found = Study(module.GRID.experiments, options)
    if worker is not None:
        found.run(worker)
    return grid.finish(module.GRID.table(found), module.TITLE, "source", found)


def test_columns_of_the_paper_stand_apart(options, worker):
    table = show(table2, options, worker)
    assert table.columns == [
        "", "Normal", "AugMix", "AugMax-DuBIN", "│",
        "paper: Normal", "paper: AugMix", "paper: AugMax-DuBIN",
    ]  # fmt: skip
    assert table.rows[0] == [
        "ResNet18 SA %", "90.00", "90.00", "90.00", "│", "95.56", "95.79", "95.76"
    ]  # fmt: skip
    assert table.rows[-1][:2] == ["ResNeXt29 RA %", "70.00"]
    assert table.rows[-1][-1] == "92.11"
    assert table.title == table2.TITLE
    assert "Columns 'paper': source." in table.note


def test_what_is_not_there_is_a_dash_with_a_reason(options, worker):
    table = show(table2, options, None)
    assert all(cell == "–" for row in table.rows for cell in row[1:4])
    assert "not run: cifar10-resnet18-normal-bn, " in table.note

    worker.errors["cifar10-wrn40_2-normal-bn"] = FileNotFoundError("get cifar10 there")
    worker.errors["cifar10-wrn40_2-augmix-bn"] = RuntimeError("boom")
    worker.options["missing"] = ("cifar10_c",)
    table = show(table2, options, worker)
    rows = {row[0]: row[1:4] for row in table.rows}
    assert rows["WRN40-2 SA %"] == ["–", "–", "90.00"]
    assert rows["WRN40-2 RA %"] == ["–", "–", "–"]
    assert "data missing: cifar10-wrn40_2-normal-bn\n    get cifar10 there" in table.note
    assert "failed: cifar10-wrn40_2-augmix-bn\n    RuntimeError: boom" in table.note
    assert "sets missing: cifar10-resnet18-normal-bn, " in table.note
    assert "--benchmarks DIR says where published sets lie" in table.note


def test_seeds_become_mean_and_deviation(options, worker):
    found = Study(table8.GRID.experiments, options)
    accuracy = {"": 0.70, "seed1": 0.72, "seed2": 0.71}
    for experiment in table8.GRID.experiments:
        ending = experiment.name.split("-")[-1]
        if experiment.dataset == "cifar100" and ending == "seed2":
            continue
        worker.options["robust"] = accuracy.get(ending, 0.70)
        study = Study([experiment], options)
        study.run(worker)
    row = table8.GRID.table(found).rows[0]
    assert row[:3] == ["AugMix-BN", "71.00 ±1.00", "71.00 ±1.41 [2]"]
    assert row[4:] == ["89.01 ±0.03", "64.56 ±0.04"]
    assert statistics.stdev([70, 72]) == pytest.approx(1.41, abs=0.005)
    assert "over 3 seeds; [k]: only k of them" in table8.GRID.table(found).note


def test_figures_of_subsets_and_shifts(options, worker, monkeypatch):
    monkeypatch.setattr(needs, "lacks", lambda experiment, config: "")
    table = show(table6, options, worker)
    assert table.rows[0] == [
        "Normal", "90.00", "75.00", "75.00", "│", "61.64", "24.38", "100.00"
    ]  # fmt: skip
    table = show(table11, options, worker)
    assert table.rows[-1] == ["AugMax-DuBIN", "60.00", "60.00", "│", "90.64", "63.20"]


def test_a_smoke_table_cannot_be_taken_for_a_result(tmp_path, worker, monkeypatch):
    monkeypatch.setattr(smoke, "prepare", lambda root: None)
    table = show(table2, Options(tmp_path, smoke=True), worker)
    lines = to_text(table).splitlines()
    for line in (lines[0], lines[-1]):
        assert line.startswith("!!! SMOKE RUN, NOT A RESULT")
    assert all(title.startswith("smoke: ") for title in table.columns[1:4])
    assert all(title.startswith("paper: ") for title in table.columns[5:])


def test_another_setting_is_said_above_and_below(tmp_path, worker):
    options = Options(tmp_path, settings=(("epochs", "3"), ("data.download", "True")))
    lines = to_text(show(table2, options, worker)).splitlines()
    assert lines[0] == lines[-1] == "!!! NOT THE PAPER'S SETTING: epochs=3"


def run(arguments, worker, monkeypatch):
    monkeypatch.setattr(Study.run, "__defaults__", (worker,))
    return common.run_grid("table2", "Doc.", table2.TITLE, table2.GRID, arguments)


def test_the_script_runs_prints_and_writes(tmp_path, worker, monkeypatch, capsys):
    assert run(["--workdir", str(tmp_path)], worker, monkeypatch) == 0
    assert len(worker.done) == 9
    shown = capsys.readouterr().out
    written = (tmp_path / "table2.txt").read_text()
    assert written in shown
    record = json.loads((tmp_path / "table2.json").read_text())
    assert record["smoke_not_a_result"] is False
    assert record["command"] == f"python -m experiments.table2 --workdir {tmp_path}"
    assert record["rows"][0][1] == "90.00"
    assert run(["--workdir", str(tmp_path), "--table-only"], worker, monkeypatch) == 0
    assert len(worker.done) == 9


def test_the_script_lists_without_running(tmp_path, worker, monkeypatch, capsys):
    assert run(["--workdir", str(tmp_path), "--list"], worker, monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "9 runs in" in shown
    assert shown.count("not run") == 9
    assert not worker.done
    assert not (tmp_path / "table2.txt").exists()


def test_exit_statuses(tmp_path, worker, monkeypatch, capsys):
    arguments = ["--workdir", str(tmp_path), "--only", "cifar10-resnet18-*"]
    worker.errors["cifar10-resnet18-normal-bn"] = FileNotFoundError("no data")
    assert run(arguments, worker, monkeypatch) == 0
    worker.errors["cifar10-resnet18-normal-bn"] = RuntimeError("boom")
    assert run(arguments, worker, monkeypatch) == 1
    worker.errors["cifar10-resnet18-normal-bn"] = KeyboardInterrupt()
    assert run(arguments, worker, monkeypatch) == 130
    assert "goes on from here" in capsys.readouterr().err
    assert run([*arguments, "--set", "epoch=3"], worker, monkeypatch) == 2
    assert "error: unknown config key 'epoch'" in capsys.readouterr().err
