"""A method is one record: everything that lists methods is read off it."""

import re
from pathlib import Path

import jax.numpy as jnp
import markupsafe
import pytest

from augmax_jax import augment, methods
from augmax_jax.config import defaults
from augmax_jax.methods import MethodSpec, View, ViewSpec
from augmax_jax.report import runs, sections
from augmax_jax.runtime.checks import check_count
from augmax_jax.training import run

ROOT = Path(__file__).parents[2]


# ---- a method in ten lines


def build(setup):
    def views(inputs):
        inverted = 1 - augment.to_float(inputs.images)
        route = setup.routes["negative"]
        shown = View("negative", inverted, route, 1.0, False)
        return [shown], {"brightness": inverted.mean()}

    return methods.stateless(views)


NEGATIVE = MethodSpec(
    "negative",
    "Negative",
    (ViewSpec("negative", "negative", "clean"),),
    build,
    check=lambda config: check_count("config.batch_size", config.batch_size, low=3),
    curves={"brightness": "Brightness of the negatives"},
)


@pytest.fixture
def registered():
    methods.register(NEGATIVE)
    yield
    del methods.METHODS["negative"]


@pytest.mark.usefixtures("registered")
def test_a_new_record_is_seen_in_every_list(tmp_path):
    config = defaults()
    assert config.objective.routes.negative is None
    config.method = "negative"
    for check in (methods.check, run.check):
        check(config)
    assert methods.routes(config) == {"negative": "clean"}
    assert "negative" in methods.view_names()

    wrong = defaults()
    wrong.batch_size = 2  # of whatever method: its check is called
    with pytest.raises(ValueError, match=r"config\.batch_size must be at least 3"):
        methods.check(wrong)
    config.objective.routes.negative = "augmented"
    with pytest.raises(ValueError, match=r"never train \(negative -> augmented\)"):
        methods.check(config)

    assert runs.method_label({"method": "negative", "norm": "dubin"}) == "Negative-DuBIN"
    row = {"kind": "train", "step": 1, "epoch": 0.1, "accuracy_negative": 0.25, "brightness": 0.5}
    drawn = sections.curves(runs.SavedRun(tmp_path, "run", {}, [row, row | {"epoch": 0.2}], {}, {}))
    assert "negative (training)" in drawn
    assert "Brightness of the negatives" in drawn


@pytest.mark.usefixtures("registered")
def test_a_new_record_is_built_and_makes_its_views():
    config = defaults()
    config.method = "negative"
    method = methods.create(config, 10)
    inputs = methods.StepInputs(
        lambda x, route: x, *[jnp.zeros((2, 4, 4, 3), jnp.uint8)] * 6, lambda tree: tree
    )
    views, diagnostics, state = method.views(inputs, method.init(None))
    assert (views[0].images == 1).all()
    assert diagnostics["brightness"] == 1
    assert state is None


def test_records_are_refused_that_clash_or_make_no_sense():
    for spec in methods.METHODS.values():
        methods.register(spec)  # the same again is no clash
    with pytest.raises(ValueError, match="already a method 'augmix'"):
        methods.register(MethodSpec("augmix", "Mine", NEGATIVE.views, build))
    with pytest.raises(ValueError, match="at least one view"):
        MethodSpec("none", "None", (), build)
    with pytest.raises(ValueError, match="unknown route of the x view 'clear'"):
        MethodSpec("x", "X", (ViewSpec("x", "x", "clear"),), build)


# ---- the lists that are not code


def test_the_readme_lists_the_methods():
    line = re.search(r"^# method: (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert line[1].split(", ") == list(methods.METHODS)


def test_the_documentation_lists_methods_and_views():
    text = (ROOT / "docs" / "methods.md").read_text()
    table = re.search(r"^\| method .*?\n\n", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE)
    assert sorted(rows) == sorted(methods.METHODS)
    listed = re.search(
        r"`objective\.routes\.VIEW` chooses the route of a view \((.*?)\)", text, re.S
    )
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == sorted(methods.view_names())


# ---- what follows from the records


def test_labels_of_views_are_told_apart():
    labels = methods.view_labels()
    assert labels["clean"] == "clean"
    assert labels["augmix"] == "AugMix"
    assert labels["augmix_2"] == "AugMix 2"
    assert len(set(labels.values())) == len(labels)
    for spec in methods.METHODS.values():
        assert runs.method_label({"method": spec.name}) == spec.label


def test_the_report_draws_the_training_accuracy_of_every_view_of_every_method(tmp_path):
    for spec in methods.METHODS.values():
        scalars = [f"accuracy_{name}" for name in spec.view_labels] + list(spec.curves)
        row = {"kind": "train", "step": 1, "epoch": 0.1} | dict.fromkeys(scalars, 0.5)
        drawn = sections.curves(
            runs.SavedRun(tmp_path, "run", {}, [row, row | {"epoch": 1.0}], {}, {})
        )
        for label in spec.view_labels.values():
            assert f"{label} (training)" in drawn
        for title in spec.curves.values():
            assert markupsafe.escape(title) in drawn


def test_operators_of_a_config():
    config = defaults()
    assert len(methods.operator_names(config)) == 9
    config.augment.operators = "all"
    assert len(methods.operator_names(config)) == 13
    config.augment.operators = "rotate, solarize"
    assert methods.operator_names(config) == ("rotate", "solarize")
