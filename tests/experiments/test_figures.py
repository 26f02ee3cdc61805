"""Table 1, Table 7 and Figure 1: what they compute and draw from runs."""

import jax
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from augmax_jax import config as configs
from augmax_jax import models
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.runtime import files
from experiments import figure1, study, table1, table7
from experiments.options import Options


def network(norm):
    """Variables of a narrow WRN-40-2 with variances that tell the layers apart."""
    module = models.create("wrn40_2", 10, norm=norm, widen_factor=1)
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), np.zeros((1, 8, 8, 3)), route="clean")
    )
    variables = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    for route, scale in (("clean", 1.0), ("augmented", 1.5)):
        stats = variables[f"batch_stats_{route}"]
        for unit in (2, 3):
            var = stats[f"block1_{unit}"]["bn1"]["var"]
            var[:] = scale * unit * np.linspace(0.5, 1.5, len(var))
    return variables


@pytest.mark.parametrize(("norm", "channels"), [("dubn", 16), ("dubin", 8)])
def test_variances_are_means_over_the_channels_of_the_batch_norm(norm, channels):
    variables = network(norm)
    assert len(variables["batch_stats_clean"]["block1_2"]["bn1"]["var"]) == channels
    found = table1.variances(variables)
    assert found["clean"]["block1_2/bn1"] == pytest.approx(2.0)
    assert found["augmented"]["block1_3/bn1"] == pytest.approx(4.5)
    assert len(found["clean"]) == 37  # 12 DuBIN and 25 DuBN
    names = list(found["clean"])
    assert names.index("block1_2/bn1") < names.index("block1_3/bn1") < names.index("block2_0/bn1")
    assert set(table1.LAYERS.values()) <= set(names)


@pytest.fixture
def trained(monkeypatch):
    """Says that all runs are done; Table 1 then reads these networks."""
    done = study.Outcome(study.DONE, results={"clean": {}})
    monkeypatch.setattr(study, "standing", lambda config, directory: done)
    monkeypatch.setattr(
        table1, "read_variables", lambda directory: network(directory.name.split("-")[-1])
    )


def test_table_1_beside_the_papers(tmp_path, trained):
    options = Options(tmp_path, extra={"all_layers": False})
    table = table1.draw(study.Study(list(table1.RUNS.values()), options))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["AugMax-DuBN σ²c"] == [
        "2.0000", "3.0000", "1.0000", "│", "0.0369", "0.0450", "0.0301"
    ]  # fmt: skip
    assert rows["AugMax-DuBIN σ²a/σ²c"] == [
        "1.500", "1.500", "1.000", "│", "1.137", "1.156", "1.106"
    ]  # fmt: skip
    every = table1.draw(
        study.Study(list(table1.RUNS.values()), Options(tmp_path, extra={"all_layers": True}))
    )
    assert len(every.rows) == 37
    assert every.rows[3][0] == "block1_1/bn2"


def test_table_1_without_runs_shows_the_papers_alone(tmp_path):
    options = Options(tmp_path, extra={"all_layers": False})
    table = table1.draw(study.Study(list(table1.RUNS.values()), options))
    assert table.rows[0] == [
        "AugMax-DuBN σ²c", "–", "–", "–", "│", "0.0369", "0.0450", "0.0301"
    ]  # fmt: skip


def timing(options, found, name, seconds):
    run = table7.RUNS[name]
    results = {
        "seconds_per_step": seconds,
        "steps_timed": 20,
        "steps_per_epoch": 100,
        "seconds_per_epoch": 100 * seconds,
        "ascent_steps": 2.5 if name == "AugMax" else None,
        "ascent_steps_at_most": 5 if name == "AugMax" else None,
        "trained_network": True,
        "device": "1 x test",
    }
    found.directory(run).mkdir(parents=True)
    kept = {"config": configs.to_dict(found.config(run)), "results": results}
    files.write_json(found.directory(run) / table7.TIMING, kept)


def test_table_7_gives_ratios(tmp_path):
    options = Options(tmp_path, extra={"steps": 20})
    runs = list(table7.RUNS.values())
    found = study.Study(runs, options, table7.look)
    for name, seconds in {"Normal": 0.5, "AT": 5.0, "AugMax": 1.0}.items():
        timing(options, found, name, seconds)
    table = table7.draw(found)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Normal"] == ["50", "1.00", "│", "2,669", "1.00"]
    assert rows["AT"] == ["500", "10.00", "│", "37,162", "13.92"]
    assert rows["AugMix"][:2] == ["–", "–"]
    assert "2.50 of at most 5 ascent steps a sample; 1 x test." in table.note
    other = Options(tmp_path, settings=(("batch_size", "64"),), extra={"steps": 20})
    assert study.Study(runs, other, table7.look).outcome(runs[0]).state == study.WAITING


def test_table_7_counts_its_steps(tmp_path):
    options = Options(tmp_path, extra={"steps": 0})
    found = study.Study(list(table7.RUNS.values()), options, table7.look)
    with pytest.raises(ValueError, match="--steps must be at least 1, got 0"):
        table7.measure(found)


def test_numbers_of_figure_1(rng):
    features = rng.normal(size=(30, 7)).astype(np.float32)
    labels = np.repeat([4, 1, 7], 10)
    predicted = labels.copy()
    predicted[:6] = 0
    found = figure1.measure(features, predicted, labels)
    assert found["misclassified"] == pytest.approx(0.2)
    assert found["distance"] == pytest.approx(pdist(features).mean(), rel=1e-6)
    within = np.mean([pdist(features[labels == k]).mean() for k in (1, 4, 7)])
    assert found["distance_within_class"] == pytest.approx(within, rel=1e-6)


def test_figure_1_is_drawn(rng, tmp_path):
    labels = np.repeat([4, 1, 7], 5)
    points = {kind: rng.normal(size=(15, 2)) for kind in figure1.KINDS}
    predicted = {kind: rng.permutation(labels) for kind in figure1.KINDS}
    numbers = {
        k: {"misclassified": 0.25, "distance": 1.234, "distance_within_class": 0.5}
        for k in figure1.KINDS
    }
    figure = figure1.paint(
        points, predicted, labels, ["cat", "dog", "eel"], numbers, warning="NOT A RESULT"
    )
    panels = figure.get_axes()
    assert [ax.get_title() for ax in panels] == ["Clean", "AugMix", "PGD", "AugMax"]
    assert panels[2].get_xlabel() == (
        "misclassified 25.0 %\nmean distance 1.23 (0.5 within a class)"
    )
    drawn = sum(len(part.get_offsets()) for part in panels[0].collections)
    assert drawn == 4 * 15 + 15  # the faint ones of all panels, and its own
    assert figure.get_suptitle() == "NOT A RESULT"
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_images_of_three_classes_are_chosen(rng):
    labels = np.arange(40, dtype=np.int32) % 4
    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)

    class Stub:
        class data:
            class_names = ("ant", "bee", "cat", "dog")
            test = ArraySplit(images, labels)

        class config:
            eval_batch_size = 16

    chosen, of, names = figure1.choose(Stub, "dog, ant,cat", 3)
    np.testing.assert_array_equal(of, [3, 3, 3, 0, 0, 0, 2, 2, 2])
    np.testing.assert_array_equal(chosen[:3], images[labels == 3][:3])
    assert names == ["dog", "ant", "cat"]
    with pytest.raises(ValueError, match="3 different ones of ant, bee, cat, dog, got 'dog,emu,c'"):
        figure1.choose(Stub, "dog,emu,c", 3)
    with pytest.raises(ValueError, match="--images must be at most 10, got 11"):
        figure1.choose(Stub, "", 11)
