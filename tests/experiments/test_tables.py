"""What each script says it runs: names, settings, shared runs."""

import importlib

import pytest

from experiments import recipes
from experiments.options import Options
from experiments.recipes import Experiment

SCRIPTS = ["figure1", *(f"table{n}" for n in range(1, 12))]


def experiments(script):
    module = importlib.import_module(f"experiments.{script}")
    if hasattr(module, "GRID"):
        return module.GRID.experiments
    return list(module.RUNS.values()) if hasattr(module, "RUNS") else [module.RUN]


EVERY = {script: experiments(script) for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_config_is_valid(script, smoke, tmp_path):
    options = Options(tmp_path, smoke=smoke)
    for experiment in EVERY[script]:
        config = options.config(experiment)  # validates
        assert config.method == experiment.method
        assert config.model.norm == experiment.norm
        assert config.seed == (min(experiment.seed, 1) if smoke else experiment.seed)
        assert bool(config.data.extra_train) == experiment.deepaugment
        assert config.model.name == ("tiny" if smoke else config.model.name)
        assert (config.data.name == "digits") == smoke


def test_one_name_is_one_config(tmp_path):
    for smoke in (False, True):
        options = Options(tmp_path, smoke=smoke)
        configs = {}
        for experiment in {e for script in EVERY.values() for e in script}:
            config = options.config(experiment).to_dict()
            assert configs.setdefault(options.name(experiment), config) == config
        # 71 to train and one to time; at toy size those of one method, norm and seed are one.
        assert len(configs) == (26 if smoke else 72)


@pytest.mark.parametrize(
    ("script", "count"),
    [("figure1", 1), ("table1", 2), ("table2", 9), ("table3", 9), ("table4", 5), ("table5", 5),
     ("table6", 4), ("table7", 4), ("table8", 36), ("table9", 6), ("table10", 8), ("table11", 3)],
)  # fmt: skip
def test_numbers_of_runs(script, count):
    assert len(EVERY[script]) == len({e.name for e in EVERY[script]}) == count


def test_tables_share_runs():
    shared = Experiment("cifar10", "wrn40_2", "augmax", "dubin")
    assert all(shared in EVERY[table] for table in ("table2", "table8", "table9"))
    assert set(EVERY["table11"]) < set(EVERY["table2"])
    assert set(EVERY["table1"]) < set(EVERY["table8"])
    assert EVERY["figure1"][0] in EVERY["table2"]
    assert len(set(EVERY["table4"]) & set(EVERY["table7"])) == 3


def test_settings_that_rows_are_about():
    make = recipes.make_config
    sweep = {e.name: make(e) for e in EVERY["table9"]}
    base = sweep["cifar10-wrn40_2-augmax-dubin"]
    assert (base.adversary.steps, base.adversary.patience) == (10, 1)
    assert base.objective.consistency_weight == 10
    assert sweep["cifar10-wrn40_2-augmax-dubin-n5"].adversary.steps == 5
    assert sweep["cifar10-wrn40_2-augmax-dubin-k3"].adversary.patience == 3
    assert sweep["cifar10-wrn40_2-augmax-dubin-lambda15"].objective.consistency_weight == 15

    rows = {e.method: make(e) for e in EVERY["table10"]}
    assert rows["augmax"].objective.consistency_weight == 1  # CIFAR-100 with ResNet18 alone
    assert rows["augmix"].objective.consistency_weight == 12  # AugMix's own
    assert rows["fat"].fat.boundaries == pytest.approx((50 / 120 * 200, 90 / 120 * 200))

    imagenet = {e.name: make(e) for e in EVERY["table4"]}
    assert imagenet["imagenet-resnet18-augmix-bn"].augment.severity == 1
    assert imagenet["imagenet-resnet18-augmax-dubin"].adversary.steps == 5
    deep = imagenet["imagenet-resnet18-deepaugment-augmax-dubin"]
    assert deep.epochs == 30
    assert deep.optimizer.boundaries == pytest.approx((10, 20))
    tiny = {e.name: make(e) for e in EVERY["table5"]}
    deep = tiny["tiny_imagenet-resnet18-deepaugment-augmix-bn"]
    assert deep.epochs == 67
    assert deep.optimizer.boundaries == pytest.approx((33.5, 50.25))


def test_the_copies_lie_where_the_command_line_says(tmp_path):
    experiment = EVERY["table5"][-1]
    there = Options(tmp_path).config(experiment).data.extra_train
    folder = tmp_path / "deepaugment" / "tiny_imagenet"
    assert there == (str(folder / "edsr"), str(folder / "cae"))
    there = Options(tmp_path, deepaugment="/copies").config(experiment).data.extra_train
    assert there == ("/copies/edsr", "/copies/cae")
