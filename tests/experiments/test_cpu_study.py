"""The CPU study: its images, its records, its tables, and the whole command at toy size."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from augmax_jax import config as configs
from augmax_jax.corruptions import BENCHMARK
from augmax_jax.runtime import files, run_directory
from experiments import study
from experiments.cpu_study import __main__ as command
from experiments.cpu_study import figures, images, record, setting, tables, usage

TOY = {
    "model.options.depth": "10",
    "model.options.widen_factor": "1",
    "batch_size": "8",
    "epochs": "1",
    "log_every": "1",
    "augment.operators": "solarize",
    "augment.width": "1",
    "adversary.steps": "1",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three classes that differ in brightness: 12 training and 4 test images each."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for k, name in enumerate(("a", "b", "c")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 99, (8, 8, 3)) + 70 * k
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i:02}.png")
    return root


def corrupt_nothing(source, out, *, layout, seed, progress):
    """In place of the generator: five copies of the test images for every corruption."""
    del layout, seed, progress
    opened = source.open()
    opened.check()
    pixels = np.concatenate([batch for _, batch, _ in opened.batches(256)])
    out.mkdir(exist_ok=True)
    np.save(out / "labels.npy", np.tile(opened.labels, 5))
    for name in BENCHMARK:
        np.save(out / f"{name}.npy", np.concatenate([pixels + s for s in range(5)]))
    files.write_json(out / "corruptions.json", {"severities": [1, 2, 3, 4, 5], "classes": 3})


def of_run(method, norm, seed, ra, sa=0.8, ascent=None, **more):
    """A record as `record.of_run` writes it."""
    rows = [
        {"step": e, "epoch": float(e), "loss": 2.0 / e, "accuracy_clean": 0.1 * e}
        | ({f"ascent_steps/{t}": s for t, s in ascent.items()} if ascent else {})
        for e in (1, 2, 3)
    ]
    return {
        "row": setting.row(method, norm),
        "method": method,
        "norm": norm,
        "seed": seed,
        "settings_digest": "s",
        "images_digest": "i",
        "sa": sa,
        "ra": ra,
        "accuracy": {c: {str(s): ra for s in range(1, 6)} for c in BENCHMARK},
        "train": rows,
        "held_out": [{"step": e, "epoch": float(e), "holdout_accuracy": 0.2 * e} for e in (1, 2)],
        "ascent": ascent or {},
        "seconds": {"epochs": [None, {"wall": 9.0, "cpu": 10.0 * (1 + seed), "load": 3.0}]},
    } | more


def named(*records):
    return {f"{r['method']}-{r['norm']}-s{r['seed']}": r for r in records}


def test_the_order_is_seed_by_seed():
    names = [setting.name(experiment) for experiment in setting.experiments()]
    assert names[0] == "normal-bn-s0"
    assert [name[-1] for name in names] == ["0"] * 5 + ["1"] * 5 + ["2"] * 5
    assert len(set(names)) == 15


def test_usage_is_split_at_the_times_of_rows():
    samples = [
        {"session": "a", "time": 10.0 + 5 * i, "cpu": 2.0 * 5 * i, "load": 4.0} for i in range(5)
    ] + [{"session": "b", "time": 100.0 + 5 * i, "cpu": 5.0 * i, "load": 1.0} for i in range(3)]
    found = usage.between(samples, [11.0, 21.0, 101.0, 109.0])
    assert found == [
        {"wall": 10.0, "cpu": 20.0, "load": 4.0},
        None,  # the run was stopped between the two rows
        {"wall": 8.0, "cpu": 8.0, "load": 1.0},
    ]


def test_usage_is_sampled_while_the_context_lasts(tmp_path):
    with usage.recorded(tmp_path / "run", every=0.01):
        sum(i * i for i in range(300_000))
    with (tmp_path / "run" / usage.USAGE).open("a") as file:
        file.write('{"session": "half')
    samples = usage.read(tmp_path / "run")
    assert len(samples) >= 2
    assert samples[-1]["cpu"] > samples[0]["cpu"]
    assert usage.read(tmp_path / "nothing") == []


def test_images_are_stratified_and_the_fifth_is_rows_of_the_full_set(data, tmp_path, monkeypatch):
    monkeypatch.setattr(images.benchmark_writer, "generate", corrupt_nothing)
    place, size = images.Place(data, tmp_path / "w"), images.Size(train=3, every=2, side=8)
    facts = images.prepare(place, size)
    lines = place.table.read_text().splitlines()
    assert lines[1:4] == [f"train/a/{n}.png,a,train" for n in ("00", "04", "08")]
    assert sum(line.endswith(",train") for line in lines) == 9
    labels = np.load(place.fifth / "labels.npy")
    assert np.bincount(labels).tolist() == [10, 10, 10]
    full, fifth = (np.load(folder / "fog.npy") for folder in (place.full, place.fifth))
    rows = [0, 2, 4, 6, 8, 10]  # each second test image of each class
    np.testing.assert_array_equal(
        fifth.reshape(5, 6, 8, 8, 3), full.reshape(5, 12, 8, 8, 3)[:, rows]
    )
    assert images.prepare(place, size) == facts
    with pytest.raises(ValueError, match="another size"):
        images.prepare(place, images.Size(train=4, every=2, side=8))
    with pytest.raises(ValueError, match="has 12 images, and the study needs 99"):
        images.prepare(images.Place(data, tmp_path / "v"), images.Size(train=99))
    with pytest.raises(FileNotFoundError, match="--data"):
        images.prepare(images.Place(tmp_path / "gone", tmp_path / "v"), size)


def facts_of(table="1", labels="l", **pixels):
    """Facts of a set of images in which the digests of some corruptions differ."""
    return {
        "table": table,
        "corruptions": {"fifth": dict.fromkeys(BENCHMARK, "p") | {"labels": labels} | pixels},
    }


def test_other_images_than_the_committed_ones_are_said(tmp_path, caplog):
    images.keep(facts_of(), tmp_path / "r")
    images.keep(facts_of(), tmp_path / "r")
    assert not caplog.records
    images.keep(facts_of(fog="q"), tmp_path / "r")
    assert "not those of" in caplog.text
    assert "rounds fog otherwise, say so by `prepare --also NAME`" in caplog.text
    caplog.clear()
    images.keep(facts_of(table="2"), tmp_path / "r")
    assert "not those of" in caplog.text
    assert "--also" not in caplog.text
    assert list(images.read(tmp_path / "r")) == ["images"]


def test_images_that_another_processor_rounds_count_if_the_user_says_so(tmp_path):
    first, other = facts_of(), facts_of(snow="q", fog="q")
    for facts in (first, other):
        images.keep(facts, tmp_path, also="b")
    assert list(images.read(tmp_path)) == ["images", "images-b"]
    assert files.read_json(tmp_path / "images-b.json") == other
    digests = {images.identity(first), images.identity(other)}
    assert images.same(images.identity(other), tmp_path) == digests
    assert images.same("x", tmp_path) == {"x"}
    images.keep(other, tmp_path, also="c")  # it is there already
    assert list(images.read(tmp_path)) == ["images", "images-b"]
    with pytest.raises(ValueError, match="another name"):
        images.keep(facts_of(fog="r"), tmp_path, also="b")
    for facts in (facts_of(table="2"), facts_of(labels="m", fog="q")):
        with pytest.raises(ValueError, match="more than corrupted pixels"):
            images.keep(facts, tmp_path, also="c")


def test_the_tables_say_which_runs_have_images_of_another_processor():
    facts = {"images": facts_of(), "images-b": facts_of(snow="q", fog="q")}
    first, other = (images.identity(f) for f in facts.values())
    found = named(
        of_run("normal", "bn", 0, 0.6, images_digest=first),
        of_run("normal", "bn", 1, 0.6, images_digest=other),
        of_run("normal", "bn", 2, 0.6, images_digest=other),
    )
    text = tables.table(found | facts)
    assert "the images of Normal-BN (seeds 1, 2): it rounds pixels of snow, fog otherwise" in text
    assert "seed 0" not in text.split("Another processor")[1].split("\n")[0]
    with pytest.raises(ValueError, match="different images"):
        tables.table(found | {"images": facts["images"]})


def test_a_record_has_what_the_tables_need_and_no_path(tmp_path):
    experiment = setting.experiments()[4]
    place = images.Place(tmp_path / "data", tmp_path)
    options = setting.options(place.data, place.workdir, table=place.table, benchmark=place.fifth)
    config = options.config(experiment)
    assert config.model.options.depth == 10
    directory = tmp_path / "run"
    directory.mkdir()
    files.write_json(directory / run_directory.CONFIG, configs.to_dict(config))
    shares = {"ascent_steps/0": 0.0, "ascent_steps/1": 0.75, "ascent_steps/2": 0.25}
    history = [
        {"step": 78 * k, "epoch": 0.9984 * k, "kind": "train", "time": 100.0 * k, "loss": 1.0}
        | shares
        for k in (1, 2)
    ]
    (directory / run_directory.HISTORY).write_text("".join(json.dumps(r) + "\n" for r in history))
    samples = [{"session": "x", "time": t, "cpu": t / 2, "load": 2.0} for t in (90.0, 300.0)]
    (directory / usage.USAGE).write_text("".join(json.dumps(s) + "\n" for s in samples))
    accuracy = {c: {str(s): 0.5 for s in range(1, 6)} for c in BENCHMARK}
    measured = {"ra": 0.5, "accuracy": accuracy, "mean_loss": 1.0, "mean_ece": 0.1}
    session = {"command": f"python {tmp_path}", "versions": {"jax": "1"}, "commit": "c"}
    results = {
        "selected": "last",
        "steps": 156,
        "seconds": 7.0,
        "clean": {"last": {"accuracy": 0.75, "loss": 0.5, "ece": 0.1, "count": 10}},
        "benchmarks": {str(place.fifth): measured | {"set": {"count": 75}}},
        "provenance": {"trained": {"sessions": [session]}, "evaluated": session},
    }
    files.write_json(directory / run_directory.RESULTS, results)
    path = record.write(experiment, directory, tmp_path / "r", "digest", [])
    assert path.name == "augmax-dubin-s0.json"
    assert str(tmp_path) not in path.read_text()
    found = json.loads(path.read_text())
    assert (found["sa"], found["ra"], found["ascent"]["1"]) == (0.75, 0.5, 0.75)
    assert found["seconds"]["epochs"] == [{"wall": 100.16, "cpu": 50.08, "load": 2.0}]
    assert found["settings"]["adversary.steps"] == 5
    assert "seed" not in found["settings"]
    files.write_json(directory / run_directory.RESULTS, results | {"benchmarks": {}})
    with pytest.raises(ValueError, match="not measured"):
        record.of_run(experiment, directory, "digest")


def test_records_of_another_study_are_not_overwritten(tmp_path):
    files.write_json(tmp_path / "normal-bn-s0.json", of_run("normal", "bn", 0, 0.6))
    files.write_json(tmp_path / "images.json", {})
    record.check(tmp_path, "s", {"i", "j"})
    with pytest.raises(ValueError, match=r"other settings.*--results"):
        record.check(tmp_path, "x", {"i"})
    with pytest.raises(ValueError, match="other images"):
        record.check(tmp_path, "s", {"x"})


def test_intervals_are_students():
    ours = tables.interval([0.03, 0.01, 0.035])
    expected = stats.ttest_1samp([3.0, 1.0, 3.5], 0).confidence_interval(0.95)
    assert ours == f"+2.50 [{expected.low:+.2f}, {expected.high:+.2f}]"
    assert tables.interval([-0.004]) == "-0.40"


def test_the_tables_show_what_is_there_and_name_what_is_missing():
    found = named(
        of_run("normal", "bn", 0, 0.60),
        of_run("normal", "bn", 1, 0.62),
        of_run("augmax", "dubin", 0, 0.70, ascent={"0": 0.0, "1": 0.5, "5": 0.5}),
    )
    text = tables.table(found | {"images": {"size": {}}})
    assert "| Normal-BN | 0, 1 | 80.00 ± 0.00 | 61.00 ± 1.41 |" in text
    assert "| AugMax-DuBIN − Normal-BN | 0 | +0.00 | +10.00 | +16.96 |" in text
    assert "| AugMax-DuBIN | 9 | 1.00 | 10 | – | – | 3.00 |" in text
    assert "3 of 15 runs are finished." in text
    assert "AugMix-BN (seeds 0, 1, 2)" in text
    assert "Normal-BN (seed 0)" not in text
    assert tables.table({}).startswith("0 of 15 runs")


def test_the_paper_stands_beside_its_own_differences():
    found = named(of_run("augmix", "dubin", 0, 0.6), of_run("augmax", "dubin", 0, 0.7))
    assert "| AugMax-DuBIN − AugMix-DuBIN | 0 | +0.00 | +10.00 | +0.93 |" in tables.table(found)


@pytest.mark.parametrize("name", ["settings_digest", "images_digest"])
def test_runs_that_do_not_compare_make_no_table(name):
    found = named(of_run("normal", "bn", 0, 0.6), of_run("augmix", "bn", 0, 0.7, **{name: "x"}))
    with pytest.raises(ValueError, match="different"):
        tables.table(found)


def test_the_page_has_curves_maps_and_steps(tmp_path):
    found = named(
        of_run("normal", "bn", 0, 0.6),
        of_run("augmax", "dubin", 0, 0.5, ascent={"0": 0.2, "1": 0.8}),
        of_run("augmax", "dubin", 1, 0.7, ascent={"0": 0.2, "1": 0.8}),
    )
    averaged = figures.mean_accuracy({0: found["augmax-dubin-s0"], 1: found["augmax-dubin-s1"]})
    assert averaged["fog"]["5"] == pytest.approx(0.6)
    text = figures.write(found, tmp_path / "page.html").read_text()
    for part in ("Learning curves", "held-out", "AugMax-DuBIN: share of samples", "1 step<"):
        assert part in text
    assert "Missing: Normal-BN (seeds 1, 2), AugMix-BN (seeds 0, 1, 2)" in text
    with pytest.raises(ValueError, match="no run is finished"):
        figures.write({}, tmp_path / "page.html")


def test_a_bad_command_line_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(images.DATA, raising=False)
    assert command.main(["list", "--workdir", str(tmp_path)]) == 2
    assert images.DATA in capsys.readouterr().err
    where = ["--workdir", str(tmp_path), "--data", str(tmp_path)]
    assert command.main(["list", *where, "--set", "epochs"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err


def test_a_reader_who_has_seen_enough_is_no_error(tmp_path):
    files.write_json(tmp_path / "normal-bn-s0.json", of_run("normal", "bn", 0, 0.6))
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "experiments.cpu_study", "table", "--results", str(tmp_path)]
    ended = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.slow
def test_the_whole_command_at_toy_size(data, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "results"
    size = ["--train", "12", "--every", "2", "--side", "8"]
    own = ["--results", str(folder)]
    where = [*own, "--workdir", str(tmp_path / "w"), "--data", str(data), *size]
    changes = [part for name, value in TOY.items() for part in ("--set", f"{name}={value}")]
    chosen = [*where, *changes, "--only", "*-normal-bn", "--only", "*augmax-dubin-*seed1"]

    whole = command.train_and_evaluate

    def stop_once(config, directory):
        monkeypatch.setattr(command, "train_and_evaluate", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "train_and_evaluate", stop_once)
    assert command.main(["run", *chosen]) == 130
    assert command.main(["run", *chosen]) == 0
    runs = tables.runs(tables.read(folder))
    assert {row: list(seeds) for row, seeds in runs.items()} == {
        "Normal-BN": [0],
        "AugMax-DuBIN": [1],
    }
    found = runs["AugMax-DuBIN"][1]
    assert found["changed"] == [f"{name}={value}" for name, value in TOY.items()]
    assert sum(found["ascent"].values()) == pytest.approx(1, abs=1e-3)
    assert found["corrupted_count"] == 6 * 75
    assert str(tmp_path) not in (folder / "augmax-dubin-s1.json").read_text()
    facts = files.read_json(folder / images.FACTS)
    assert len(facts["corruptions"]["cifar10_c"]) == 16

    assert command.main(["record", *where]) == 2  # without the changes
    assert "other settings" in capsys.readouterr().err
    before = (folder / "augmax-dubin-s1.json").read_text()
    (folder / "augmax-dubin-s1.json").unlink()
    assert command.main(["record", *where, *changes]) == 0
    assert (folder / "augmax-dubin-s1.json").read_text() == before
    assert command.main(["list", *where, *changes]) == 0
    assert capsys.readouterr().out.count(f" {study.DONE}") == 2
    assert command.main(["time", *where, *changes, "--steps", "2"]) == 0
    measured = files.read_json(folder / tables.TIME)
    assert list(measured["rows"]) == list(setting.METHODS)
    assert measured["rows"]["Normal-BN"]["trained_network"]
    assert command.main(["table", *own]) == 0
    assert "2 of 15 runs are finished" in capsys.readouterr().out
    assert command.main(["figures", *own, "--out", str(tmp_path / "page.html")]) == 0
