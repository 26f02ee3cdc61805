"""Checks of a config that are made before any work."""

import pytest

from augmax_jax import config as configs
from augmax_jax import methods
from augmax_jax.methods.settings import operator_names
from augmax_jax.training.run import check


def test_defaults_are_valid():
    check(configs.defaults())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("method", "augmx", "Did you mean 'augm"),
        ("model.name", "wrn40-2", "Did you mean 'wrn40_2'"),
        ("model.norm", "dubi", "Did you mean 'dubin'"),
        ("dtype", "float16", "unknown config.dtype 'float16'"),
        ("adversary.early_stop", "batches", "Did you mean 'batch'"),
        ("adversary.steps", -1, "config.adversary.steps must be at least 0"),
        ("adversary.patience", 0, "config.adversary.patience must be at least 1"),
        ("objective.variant", "release", "Did you mean 'released'"),
        ("objective.routes.augmix", "aux", "unknown route of the augmix view"),
        ("augment.operators", "rotate,sheer_x", "Did you mean 'shear_x'"),
        ("augment.severity", 11.0, r"config.augment.severity must be in \[0.1, 10\]"),
        ("augment.depth", 0, "config.augment.depth must be at least 1"),
        ("data.holdout", 1.0, "data.holdout must be in"),
        ("data.test_fraction", 1.0, r"data.test_fraction must be in \[0, 1\)"),
        ("data.labels", "labels.csv", "data.labels='labels.csv' is for a folder of images"),
        ("data.train_transform", "flip", "train_transform 'flip'"),
        ("data.extra_train", ("a", "a"), "data.extra_train must be a tuple of different"),
        ("seed", -1, "config.seed must be in"),
        ("seed", 2**32, "config.seed must be in"),
        ("select_on", "train", "unknown config.select_on 'train'"),
        ("batch_size", 0, "config.batch_size must be at least 1"),
        ("epochs", -1, "config.epochs must be at least 0"),
        ("max_steps", -1, "config.max_steps must be at least 0"),
        ("num_devices", -1, "config.num_devices must be at least 0"),
        ("eval_every_epochs", -0.5, "config.eval_every_epochs must be at least 0"),
        ("eval_batch_size", 0, "config.eval_batch_size must be at least 1"),
        ("log_every", 0, "config.log_every must be at least 1"),
        ("pictures_every_epochs", -1.0, "config.pictures_every_epochs must be at least 0"),
        ("checkpoint.keep", 0, "config.checkpoint.keep must be at least 1"),
        ("checkpoint.every_epochs", -1.0, "config.checkpoint.every_epochs must be at least 0"),
        ("evaluate.checkpoint", "first", "evaluate.checkpoint 'first'"),
        ("evaluate.checkpoint", "average", "set config.optimizer.ema"),
        ("objective.label_smoothing", 1.0, r"label_smoothing must be in \[0, 1\), got 1.0"),
        ("optimizer.schedule", "cosin", "Did you mean 'cosine'"),
        ("optimizer.momentum", 1.0, "config.optimizer.momentum must be in"),
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
    configs.set_setting(config, name, value)
    with pytest.raises(ValueError, match=message):
        check(config)


def test_keys_and_types_are_checked():
    config = configs.defaults()
    config.optimizer.per = "step"
    with pytest.raises(ValueError, match=r"is now called 'optimizer\.schedule_unit'"):
        check(config)
    config = configs.defaults()
    config.batch_size = True
    with pytest.raises(ValueError, match=r"config\.batch_size must be a whole number, got True"):
        check(config)


def test_selection_needs_something_to_select_on():
    config = configs.defaults()
    config.data.holdout = 0.0
    with pytest.raises(ValueError, match="nothing is held out"):
        check(config)
    config.select_on = "test"
    check(config)


def test_evaluation_uses_a_batch_norm_that_the_method_trains():
    config = configs.defaults()
    for method in methods.METHODS:
        config.method = method
        check(config)
    config.method = "pgd_at"
    config.objective.routes.pgd = "augmented"
    with pytest.raises(ValueError, match=r"pgd_at.* never train \(pgd -> augmented\)"):
        check(config)
    config.model.norm = "ibn"  # one batch norm: routes make no difference
    check(config)


def test_operator_names():
    config = configs.defaults()
    assert len(operator_names(config)) == 9
    config.augment.operators = "all"
    assert len(operator_names(config)) == 13
    config.augment.operators = "rotate, solarize"
    assert operator_names(config) == ("rotate", "solarize")
