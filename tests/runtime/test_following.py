"""Settings that follow others: whatever the order, until they are set."""

import copy
import logging
import pickle

import pytest
from ml_collections import ConfigDict

from augmax_jax import config as configs
from augmax_jax.runtime.following import (
    by_epochs,
    by_method,
    describe,
    follow,
    followers,
    scale_learning_rate,
)
from augmax_jax.training.run import build

pytestmark = pytest.mark.usefixtures("speck")


@pytest.fixture
def config():
    c = ConfigDict({"method": "normal", "epochs": 90, "batch_size": 256})
    c.objective = ConfigDict({"weight": 10.0})
    c.optimizer = ConfigDict({"learning_rate": 1.0, "boundaries": (30.0, 60.0)})
    return c


def test_a_method_has_its_own_value_until_it_is_set(config):
    by_method(config, "objective.weight", augmix=12.0, ant=0.5)
    assert config.objective.weight == 10.0
    config.method = "augmix"
    assert config.objective.weight == 12.0
    config.method = "ant"
    assert config.objective.weight == 0.5
    config.objective.weight = 3.0
    assert (config.objective.weight, config.method) == (3.0, "ant")
    config.method = "augmix"
    assert config.objective.weight == 3.0


def test_a_value_set_before_the_method_stays(config):
    by_method(config, "objective.weight", augmix=12.0)
    config.objective.weight = 10.0  # the value it has
    config.method = "augmix"
    assert config.objective.weight == 10.0


def test_a_variant_can_make_another_rule(config):
    by_method(config, "objective.weight", augmix=12.0)
    config.objective.weight = 1.0
    by_method(config, "objective.weight", augmix=13.0)
    assert config.objective.weight == 1.0
    config.method = "augmix"
    assert config.objective.weight == 13.0


def test_epochs_move_with_the_length(config):
    by_epochs(config, "optimizer.boundaries", of=90)
    assert config.optimizer.boundaries == (30.0, 60.0)
    config.epochs = 30
    assert config.optimizer.boundaries == pytest.approx((10, 20))
    config.optimizer.boundaries = (5.0, 6.0)
    config.epochs = 90
    assert config.optimizer.boundaries == (5.0, 6.0)


def test_the_rate_grows_with_the_batch(config):
    scale_learning_rate(config)
    assert config.optimizer.learning_rate == 0.1
    config.batch_size = 1024
    assert config.optimizer.learning_rate == pytest.approx(0.4)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_follows_its_own_settings(config, duplicate):
    by_method(config, "objective.weight", augmix=12.0)
    other = duplicate(config)
    other.method = "augmix"
    assert (config.objective.weight, other.objective.weight) == (10.0, 12.0)
    assert followers(other) == followers(config) == [("objective.weight", "method")]


def test_a_setting_keeps_its_type(config):
    with pytest.raises(TypeError, match=r"rule of objective\.weight must give a float, got 1"):
        follow(config, "objective.weight", "epochs", lambda epochs: 1)
    by_method(config, "objective.weight", augmix=12.0)
    with pytest.raises(TypeError):
        config.objective.weight = "much"
    with pytest.raises(KeyError):
        by_method(config, "objective.wight", augmix=12.0)


def test_what_follows_is_named(config):
    assert describe(config) == ""
    by_method(config, "objective.weight", augmix=12.0)
    scale_learning_rate(config)
    config.method = "augmix"
    assert describe(config) == (
        "objective.weight=12.0 (method='augmix'), optimizer.learning_rate=0.1 (batch_size=256)"
    )
    config.objective.weight = 12.0
    assert followers(config) == [("optimizer.learning_rate", "batch_size")]


def test_a_run_logs_what_follows(caplog):
    c = configs.defaults()
    c.data.name, c.model.name, c.batch_size, c.method = "digits", "speck", 32, "augmix"
    c.data.train_transform, c.num_devices = "crop", 1
    with caplog.at_level(logging.INFO, logger="augmax_jax"):
        build(c)
    assert "objective.consistency_weight=12.0 (method='augmix')" in caplog.text
