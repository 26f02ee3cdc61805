"""Checks made before any work, and what makes two configs the same run."""

import pytest

from augmax_jax import config as configs
from augmax_jax import methods


def change(config, name, value):
    *path, last = name.split(".")
    for part in path:
        config = config[part]
    config[last] = value


def test_defaults_are_valid():
    configs.validate(configs.defaults())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("method", "augmx", "Did you mean 'augm"),
        ("model.name", "wrn40-2", "Did you mean 'wrn40_2'"),
        ("model.norm", "dubi", "Did you mean 'dubin'"),
        ("dtype", "float16", "unknown dtype"),
        ("adversary.early_stop", "batches", "Did you mean 'batch'"),
        ("adversary.steps", -1, "config.adversary.steps must be at least 0"),
        ("adversary.patience", 0, "config.adversary.patience must be at least 1"),
        ("objective.variant", "release", "Did you mean 'released'"),
        ("objective.routes.augmix", "aux", "unknown route of the augmix view"),
        ("augment.operators", "rotate,sheer_x", "Did you mean 'shear_x'"),
        ("augment.severity", 11.0, r"config.augment.severity must be in \[0.1, 10\]"),
        ("augment.depth", 0, "config.augment.depth must be at least 1"),
        ("data.holdout", 1.0, "config.data.holdout must be in"),
        ("data.train_transform", "flip", "train_transform 'flip'"),
        ("data.extra_train", ("a", "a"), "config.data.extra_train must be a tuple of different"),
        ("select_on", "train", "unknown select_on"),
        ("batch_size", 0, "config.batch_size must be at least 1"),
        ("checkpoint.keep", 0, "config.checkpoint.keep must be at least 1"),
        ("pgd.eps", -0.1, r"config.pgd.eps must be in \[0, 1\], got -0.1"),
        ("fat.eps", 8.0, r"config.fat.eps must be in \[0, 1\], got 8.0"),
        ("fat.budgets", (0, -1, 2), "config.fat.budgets must be whole numbers of at least 0"),
        ("fat.boundaries", (50.0,), "config.fat.boundaries must be .* one fewer"),
        ("worst_of_k.k", 0, "config.worst_of_k.k must be at least 1, got 0"),
        ("maxup.copies", 0, "config.maxup.copies must be at least 1"),
        ("stadv.max_flow", -1.0, "config.stadv.max_flow must be at least 0"),
        ("ant.kernel", 2, "config.ant.kernel must be 1 or 3, got 2"),
        ("ant.share", 0.9, "must be at most 1, got 0.9"),
        ("ant.history", 0, "config.ant.history must be at least 1"),
        ("ant.rms", 135.0, "config.ant.rms must be in"),
    ],
)
def test_bad_settings_are_named(name, value, message):
    config = configs.defaults()
    change(config, name, value)
    with pytest.raises(ValueError, match=message):
        configs.validate(config)


def test_unknown_and_missing_keys_are_named():
    config = configs.defaults()
    config.adversary.step = 3
    with pytest.raises(ValueError, match=r"'adversary.step'.*Did you mean 'adversary.steps'"):
        configs.validate(config)
    config = configs.defaults()
    del config.adversary["steps"]
    with pytest.raises(ValueError, match=r"lacks adversary\.steps"):
        configs.validate(config)


def test_selection_needs_something_to_select_on():
    config = configs.defaults()
    config.data.holdout = 0.0
    with pytest.raises(ValueError, match="nothing is held out"):
        configs.validate(config)
    config.select_on = "test"
    configs.validate(config)


def test_evaluation_uses_a_batch_norm_that_the_method_trains():
    config = configs.defaults()
    for method in methods.METHODS:
        config.method = method
        configs.validate(config)
    config.method = "pgd_at"
    config.objective.routes.pgd = "augmented"
    with pytest.raises(ValueError, match=r"pgd_at.* never train \(pgd -> augmented\)"):
        configs.validate(config)
    config.model.norm = "ibn"  # one batch norm: routes make no difference
    configs.validate(config)


def test_a_setting_that_an_older_config_lacks_is_at_its_default():
    ours, theirs = configs.to_dict(configs.defaults()), configs.to_dict(configs.defaults())
    del theirs["pgd"]
    assert configs.differences(ours, theirs) == []
    ours["pgd"]["steps"] = 7
    assert configs.differences(ours, theirs) == ["pgd.steps: 10 -> 7"]


def test_operator_names():
    config = configs.defaults()
    assert len(configs.operator_names(config)) == 9
    config.augment.operators = "all"
    assert len(configs.operator_names(config)) == 13
    config.augment.operators = "rotate, solarize"
    assert configs.operator_names(config) == ("rotate", "solarize")


def test_only_settings_that_matter_make_another_run():
    a, b = configs.defaults(), configs.defaults()
    b.log_every, b.evaluate.benchmarks, b.checkpoint.keep = 7, ("x",), 5
    assert configs.differences(configs.to_dict(a), configs.to_dict(b)) == []
    b.adversary.steps, b.model.options.widen_factor = 5, 4
    assert configs.differences(configs.to_dict(a), configs.to_dict(b)) == [
        "adversary.steps: 5 -> 10",
        "model.options.widen_factor: 4 -> 'absent'",
    ]
