"""Every setting of a method has its limits, and says so."""

import pytest
from ml_collections import ConfigDict

from augmax_jax import methods
from augmax_jax.config import defaults

NAN, INF = float("nan"), float("inf")

# Setting -> values that are refused, and the limit that the message names.
REFUSED = {
    "method": (["augmx", None, 3], "unknown method"),
    "objective.variant": (["release", None], "unknown objective variant"),
    "objective.forwards": (["apart"], "unknown objective.forwards"),
    "objective.label_smoothing": ([-0.1, 1.0, NAN, True, "3"], "label_smoothing must be"),
    "objective.consistency_weight": ([-1.0, NAN, INF, True, "3"], "consistency_weight must be"),
    "objective.routes.augmix": (["aux", "Clean"], "unknown route of the augmix view"),
    "objective.routes.fat": ([False, 0], "config.objective.routes.fat must be one of clean"),
    "objective.routes": (["clean"], "config.objective.routes must map views"),
    "objective.ramp_epochs": ([-1.0, NAN, INF, True, "3"], "config.objective.ramp_epochs must be"),
    "objective.weights.augmix": ([-0.1, NAN, INF, True, "1"], "objective.weights.augmix must be"),
    "objective.weights": ([0.5], "config.objective.weights must map views"),
    "augment.width": ([0, -1, 1.5, True, "3"], "config.augment.width must be"),
    "augment.depth": ([0, 1.5, True], "config.augment.depth must be"),
    "augment.severity": ([0.05, 11.0, NAN, INF, "3"], "config.augment.severity must be"),
    "augment.padding": ([-1, 0.5], "config.augment.padding must be"),
    "augment.operators": (["rotate,sheer_x", ("sheer_x",), "", (), 3, (1,)], "operator"),
    "adversary.steps": ([-1, 1.5, True, "3", None], "config.adversary.steps must be"),
    "adversary.step_size": ([0.0, -0.1, NAN, INF], "config.adversary.step_size must be"),
    "adversary.patience": ([0, 1.5], "config.adversary.patience must be"),
    "adversary.early_stop": (["batches", None], "unknown config.adversary.early_stop"),
    "adversary.count_initial": ([1, "no"], "config.adversary.count_initial must be True or"),
    "adversary.targeted": ([1, None], "config.adversary.targeted must be True or False"),
    "adversary.every": ([0, -1, 1.5, True, "2"], "config.adversary.every must be"),
    "compaction.enabled": ([8, "yes"], "config.compaction.enabled must be True or False"),
    "compaction.chunk": ([-1, 2.5, True], "config.compaction.chunk must be"),
    "pgd.eps": ([-0.1, 8, NAN, True], r"config.pgd.eps must be"),
    "pgd.step_size": ([-0.1, 2.0, NAN], r"config.pgd.step_size must be in \[0, 1\]"),
    "pgd.steps": ([-1, 2.0], "config.pgd.steps must be"),
    "pgd.random_start": ([0, "yes"], "config.pgd.random_start must be True or False"),
    "fat.eps": ([-0.1, 8.0], r"config.fat.eps must be in \[0, 1\]"),
    "fat.step_size": ([NAN], r"config.fat.step_size must be in \[0, 1\]"),
    "fat.steps": ([-1, "10"], "config.fat.steps must be"),
    "fat.random_start": ([None], "config.fat.random_start must be True or False"),
    "fat.jitter": ([-1.0, INF], "config.fat.jitter must be"),
    "fat.budgets": (
        [(0, -1, 2), (0, 1.5, 2), (0, True, 2), 3, (0, 1), ("0", 1, 2)],
        "config.fat.budgets",
    ),
    "fat.boundaries": (
        [(50.0,), (90.0, 50.0), (NAN, 90.0), (50.0, INF), ("50", 90.0), 50.0, (-1.0, 5.0)],
        "config.fat.boundaries",
    ),
    "worst_of_k.k": ([0, 1.5, True], "config.worst_of_k.k must be"),
    "stadv.steps": ([-1, 1.5], "config.stadv.steps must be"),
    "stadv.step_size": ([-0.1, NAN], "config.stadv.step_size must be at least 0"),
    "stadv.max_flow": ([-1.0, INF], "config.stadv.max_flow must be at least 0"),
    "stadv.smoothness": ([-1.0], "config.stadv.smoothness must be at least 0"),
    "maxup.copies": ([0, 1.5], "config.maxup.copies must be"),
    "ant.kernel": ([2, True, 1.5, "3"], "config.ant.kernel must be 1 or 3"),
    "ant.rms": ([0.0, 135.0, NAN], "config.ant.rms must be in"),
    "ant.share": ([-0.1, 1.1, 0.9], "config.ant.share"),
    "ant.replay_share": ([-0.1, 0.6, NAN], "config.ant.replay_share must be in"),
    "ant.learning_rate": ([-1.0, NAN], "config.ant.learning_rate must be at least 0"),
    "ant.retrain_steps": ([-1, 1.5], "config.ant.retrain_steps must be"),
    "ant.retrain_learning_rate": ([-1.0, INF], "config.ant.retrain_learning_rate must be"),
    "ant.history": ([0, 1.5], "config.ant.history must be"),
}  # fmt: skip


def changed(name, value):
    """The defaults with one setting of any type."""
    plain = defaults().to_dict()
    *path, last = name.split(".")
    group = plain
    for part in path:
        group = group[part]
    group[last] = value
    return ConfigDict(plain)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [(name, value, message) for name, (values, message) in REFUSED.items() for value in values],
)
def test_bad_settings_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        methods.check(changed(name, value))


def test_every_setting_of_a_method_is_checked():
    sections = (
        *("objective", "augment", "adversary", "compaction"),
        *("pgd", "fat", "worst_of_k", "stadv", "maxup", "ant"),
    )
    config = defaults()
    for section in sections:
        for setting in config[section]:
            assert f"{section}.{setting}" in REFUSED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("augment.depth", None),
        ("augment.severity", 1),
        ("augment.operators", ("rotate", "rotate")),
        ("adversary.steps", 0),
        ("compaction.chunk", 16),
        ("fat.boundaries", (50, 50)),
        ("ant.kernel", 3),
        ("objective.routes.pgd", ""),
        ("objective.consistency_weight", 0),
        ("objective.weights.augmix", 0),
        ("objective.ramp_epochs", 0.5),
        ("adversary.every", 8),
    ],
)
def test_settings_at_their_limits_are_taken(name, value):
    methods.check(changed(name, value))


def test_evaluation_uses_a_batch_norm_that_the_method_trains():
    config = defaults()
    for method in methods.METHODS:
        config.method = method
        methods.check(config)
    config.method = "pgd_at"
    config.objective.routes.pgd = "augmented"
    with pytest.raises(ValueError, match=r"pgd_at.* never train \(pgd -> augmented\)"):
        methods.check(config)
    config.model.norm = "ibn"  # one batch norm: routes make no difference
    methods.check(config)


def test_a_part_of_the_batch_is_attacked_by_augmax_alone_and_divides_every_share():
    config = changed("adversary.every", 4)
    methods.check_share(config, 8)
    with pytest.raises(ValueError, match=r"every=4 cannot divide the 6 images"):
        methods.check_share(config, 6)
    config.method = "normal"
    methods.check_share(config, 6)
    config.method = "advmax"
    with pytest.raises(ValueError, match="every must be 1 for method 'advmax', got 4"):
        methods.check(config)
