"""The variants of AugMax-DuBIN: their settings, their records, their tables and their commands."""

import pytest

from augmax_jax import config as configs
from augmax_jax.corruptions import BENCHMARK
from augmax_jax.runtime import files
from experiments import study
from experiments.cpu_study import __main__ as command
from experiments.cpu_study import beyond, beyond_tables, figures, images, record, setting
from tests.experiments.test_cpu_study import TOY, data, named, of_run  # noqa: F401


def variants(tmp_path, **more):
    place = images.Place(tmp_path / "data", tmp_path)
    options = setting.options(
        place.data,
        place.workdir,
        table=place.table,
        benchmark=place.fifth,
        leaving=beyond.LEAVING,
        **more,
    )
    return study.Study(beyond.experiments(), options)


def evaluated(ra, sa=0.8):
    return {"sa": sa, "ra": ra, "accuracy": {}}


def in_all_ways(ra):
    """Figures of a run whose averages are two points better, and both together four."""
    return {
        way.name: evaluated(
            ra + 0.02 * (way.weights == "average") + 0.02 * (way.routes == beyond.BOTH)
        )
        for way in beyond.WAYS
    }


def of_variant(label, seed, ra, ascent, **settings):
    """A record of a variant."""
    found = of_run("augmax", "dubin", seed, ra, ascent=ascent)
    return {f"{label}-s{seed}": found | {"row": label, "settings": settings}}


def test_the_cheapest_and_most_promising_come_first_and_their_settings_are_as_listed(tmp_path):
    found = variants(tmp_path)
    names = [setting.name(e) for e in found.experiments.values()]
    groups = (
        ["few-steps", "half-batch", "half-batch-three-losses"],
        ["three-losses", "ramp", "width-5"],
    )
    assert names == [f"{n}-s{seed}" for group in groups for seed in (0, 1) for n in group]
    by_name = dict(zip(names, found.configs.values(), strict=True))
    base = by_name["ramp-s0"]
    assert (base.adversary.steps, base.optimizer.ema, base.model.options.depth) == (5, 0.0, 10)
    assert (base.method, base.model.norm, base.evaluate.checkpoint) == ("augmax", "dubin", "last")
    few = by_name["few-steps-s1"]
    assert (few.adversary.steps, few.adversary.step_size, few.adversary.patience) == (2, 0.3, 1)
    assert (by_name["half-batch-s0"].adversary.every, few.adversary.every, few.seed) == (2, 1, 1)
    for name, every in (("three-losses-s0", 1), ("half-batch-three-losses-s0", 2)):
        weights = by_name[name].objective.weights
        assert [weights[view] for view in ("clean", "augmix", "augmax")] == [1 / 3] * 3
        assert by_name[name].adversary.every == every
    assert by_name["ramp-s0"].objective.ramp_epochs == 10
    assert by_name["width-5-s0"].augment.width == 5
    assert all(name.startswith("cifar10-wrn40_2-augmax-dubin-") for name in found.configs)


def test_variants_compare_with_the_study_and_not_with_another(tmp_path):
    found = variants(tmp_path)
    place = images.Place(tmp_path / "data", tmp_path)
    options = setting.options(place.data, place.workdir, table=place.table, benchmark=place.fifth)
    own = study.Study(setting.experiments(), options)
    digests = {
        setting.digest(configs.to_dict(runs.config(e)), [name for name, _ in e.changes])
        for runs in (own, found)
        for e in runs.experiments.values()
    }
    assert len(digests) == 1
    other = variants(tmp_path, changes=[("epochs", "3")])
    experiment = beyond.experiments()[0]
    changed = [name for name, _ in experiment.changes]
    assert setting.digest(configs.to_dict(other.config(experiment)), changed) not in digests
    with pytest.raises(ValueError, match=r"adversary.steps would undo"):
        variants(tmp_path, changes=[("adversary.steps", "3")])


def test_an_interrupted_evaluation_goes_on_with_the_ways_that_are_missing(tmp_path, monkeypatch):
    own = [e for e in setting.experiments() if setting.AVERAGE in e.changes]
    place = images.Place(tmp_path / "data", tmp_path)
    options = setting.options(place.data, place.workdir, table=place.table, benchmark=place.fifth)
    config = study.Study(own, options).config(own[0])
    assert config.optimizer.ema == 0.995
    done, fail_at = [], 3

    def train(config, directory):
        if len(done) == fail_at:
            raise KeyboardInterrupt
        done.append((config.evaluate.checkpoint, tuple(config.evaluate.routes)))
        measured = {"ra": 0.1 * len(done), "accuracy": {}}
        clean = {config.evaluate.checkpoint: {"accuracy": 0.5}}
        selected = {"selected": config.evaluate.checkpoint, "clean": clean}
        return {**selected, "benchmarks": {"set": measured}}

    monkeypatch.setattr(beyond, "train_and_evaluate", train)
    with pytest.raises(KeyboardInterrupt):
        beyond.train_and_measure(config, tmp_path)
    fail_at = 9
    beyond.train_and_measure(config, tmp_path)
    clean, both = ("clean",), ("clean", "augmented")
    assert done == [("average", both), ("average", clean), ("last", both), ("last", clean)]
    assert {name: way["ra"] for name, way in beyond.ways(tmp_path).items()} == pytest.approx(
        dict(zip([way.name for way in beyond.WAYS], (0.1, 0.2, 0.3, 0.4), strict=True))
    )
    assert config.evaluate.checkpoint == "last"
    with pytest.raises(ValueError, match="were not measured"):
        beyond.figures({"benchmarks": {}})


def test_the_tables_pair_seeds_and_count_gradients(tmp_path):
    steps = {"0": 0.0, "1": 0.5, "5": 0.5}
    own = named(
        *(
            of_run("augmax", "dubin", s, ra, ascent=steps, settings={}, ways=in_all_ways(ra))
            for s, ra in ((0, 0.60), (1, 0.62))
        )
    )
    half = {"adversary.every": 2}
    found = (
        of_variant("ramp", 0, 0.61, {"0": 0.0, "5": 1.0})
        | of_variant("half-batch", 0, 0.63, {"0": 0.0, "1": 0.5, "5": 0.5}, **half)
        | of_variant("half-batch", 1, 0.65, {"0": 0.0, "1": 0.5, "5": 0.5}, **half)
    )
    text = beyond_tables.table(own, found)
    # Half of the samples stop after 1 of 5 steps, and are evaluated once more.
    own_row = "| AugMax-DuBIN | {} | 0, 1 | 6.50 | 80.00 ± 0.00 | {} ± 1.41 | {}"
    assert own_row.format("last | clean", "61.00", "– |") in text
    assert own_row.format("last | both", "63.00", "+2.00 [") in text
    assert own_row.format("averaged | both", "65.00", "+4.00 [") in text
    title, ramp = beyond.VARIANTS["half-batch"].title, beyond.VARIANTS["ramp"].title
    assert (
        f"| {title} | last | clean | 0, 1 | 4.75 | 80.00 ± 0.00 | 64.00 ± 1.41 | +3.00 [+3.00"
        in text
    )
    assert f"| {ramp} | last | clean | 0 | 8.00 | 80.00 | 61.00 | +1.00 |" in text
    assert text.count(f"| {title} |") == 1
    assert "3 of 12 runs are finished. Missing: " in text
    assert f"{ramp} (seed 1)" in text
    page = figures.write_beyond(found, own, tmp_path / "page.html").read_text()
    assert "RA by weights and routes" in page
    assert "AugMax-DuBIN, average, clean+augmented: 65.00%" in page
    assert f"{title}, last, clean: 64.00%" in page
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.write_beyond({}, own, tmp_path / "page.html")
    found["ramp-s0"]["settings_digest"] = "x"
    with pytest.raises(ValueError, match="different settings"):
        beyond_tables.table(own, found)


@pytest.mark.slow  # it trains seven networks
def test_every_variant_runs_by_the_real_command_beside_the_study(data, tmp_path, capsys):  # noqa: F811
    folder = tmp_path / "results"
    size = ["--train", "12", "--every", "2", "--side", "8"]
    own = ["--results", str(folder)]
    where = [*own, "--workdir", str(tmp_path / "w"), "--data", str(data), *size]
    toy = {name: TOY[name] for name in TOY if name not in ("adversary.steps", "augment.width")}
    # One device, whose images half of the batch divides; compaction is for larger batches.
    toy |= {"num_devices": "1", "compaction.enabled": "false"}
    changes = [part for name, value in toy.items() for part in ("--set", f"{name}={value}")]
    assert command.main(["run", *where, *changes, "--only", "*-ema0.995"]) == 0
    own_path = folder / "augmax-dubin-s0.json"
    before = own_path.read_text()

    labels = [f"*dubin-{label}" for label in beyond.VARIANTS]
    chosen = [part for label in labels for part in ("--only", label)]
    listed = ["--list", "beyond"]
    assert command.main(["run", *listed, *where, *changes, *chosen]) == 0
    assert own_path.read_text() == before
    variant_paths = list((folder / beyond.FOLDER).glob("*.json"))
    assert {path.stem for path in variant_paths} == {f"{label}-s0" for label in beyond.VARIANTS}
    for path in (own_path, *variant_paths):
        found = files.read_json(path)
        assert str(tmp_path) not in path.read_text()
        assert ("ways" in found) == (path == own_path)
    own_ways = files.read_json(own_path)["ways"]
    assert set(own_ways["last, clean+augmented"]["accuracy"]) == set(BENCHMARK)
    assert own_ways[beyond.PLAIN.name]["ra"] == files.read_json(own_path)["ra"]
    assert len(own_ways) == 4

    ramp = files.read_json(folder / beyond.FOLDER / "ramp-s0.json")["train"]
    # λ = 10 at the end of 10 epochs.
    assert [row["consistency_weight"] for row in ramp] == pytest.approx(
        [row["epoch"] for row in ramp], rel=1e-3
    )
    assert command.main(["list", *listed, *where, *changes]) == 0
    assert capsys.readouterr().out.count(f" {study.DONE}") == len(beyond.VARIANTS)
    path = folder / beyond.FOLDER / "half-batch-s0.json"
    kept_text = path.read_text()
    path.unlink()
    assert command.main(["record", *listed, *where, *changes]) == 0
    assert path.read_text() == kept_text
    assert command.main(["table", *listed, *own]) == 0
    assert "6 of 12 runs are finished" in capsys.readouterr().out
    out = tmp_path / "page.html"
    assert command.main(["figures", *listed, *own, "--out", str(out)]) == 0
    assert out.is_file()
    # The study goes on as if nothing had been beside it.
    assert command.main(["list", *where, *changes]) == 0
    assert capsys.readouterr().out.count(f" {study.DONE}") == 1
    with pytest.raises(ValueError, match="other settings"):
        record.check(folder / beyond.FOLDER, "x", {"i"})
