"""The settings: their types, how they are read and set, and what makes two configs one run."""

import math
import os
import re

import pytest

from augmax_jax import config as configs
from configs import imagenet_r18


def test_unknown_and_missing_keys_are_named():
    config = configs.defaults()
    config.adversary.step = 3
    with pytest.raises(ValueError, match=r"'adversary.step'.*Did you mean 'adversary.steps'"):
        configs.check_keys(config)
    config = configs.defaults()
    del config.adversary["steps"]
    with pytest.raises(ValueError, match=r"lacks adversary\.steps"):
        configs.check_keys(config)
    with pytest.raises(ValueError, match=r"config\.checkpoint is a group .* checkpoint\.keep"):
        configs.check_settings(["checkpoint"])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("optimizer.warmup_epochs", "-1", -1.0),
        ("augment.severity", "1", 1.0),
        ("data.max_resident_bytes", "0", 0),
        ("pgd.eps", "8/255", 8 / 255),
        ("pgd.eps", "1e-3", 0.001),
        ("progress", "False", False),
        ("progress", "true", True),
        ("model.name", "None", "None"),
        ("data.name", "a=b,c", "a=b,c"),
        ("evaluate.baseline", "", ""),
        ("augment.depth", "None", None),
        ("augment.depth", "2", 2),
        ("objective.routes.clean", "None", None),
        ("objective.routes.clean", "augmented", "augmented"),
        ("data.resident", "auto", "auto"),
        ("data.resident", "True", True),
        ("data.resident", "false", False),
        ("evaluate.benchmarks", "()", ()),
        ("evaluate.benchmarks", "", ()),
        ("evaluate.benchmarks", "corrupted", ("corrupted",)),
        ("evaluate.benchmarks", "corrupted,spatial", ("corrupted", "spatial")),
        ("evaluate.benchmarks", "(corrupted, spatial)", ("corrupted", "spatial")),
        ("evaluate.benchmarks", "('corrupted',)", ("corrupted",)),
        ("evaluate.benchmarks", "['corrupted', 'spatial']", ("corrupted", "spatial")),
        ("data.extra_train", "../a-1,/b c/d", ("../a-1", "/b c/d")),
        ("data.extra_train", "'a,b'", ("a,b",)),
        ("data.extra_train", "2020,2021", ("2020", "2021")),
        ("optimizer.boundaries", "30", (30.0,)),
        ("optimizer.boundaries", "30,60.5", (30.0, 60.5)),
        ("model.std", "(1, 1/2, 0.25)", (1.0, 0.5, 0.25)),
        ("fat.budgets", "0,2,4", (0, 2, 4)),
        ("model.options.stem_stride", "2", 2),
        ("model.options", "{'stem_stride': 2}", {"stem_stride": 2}),
    ],
)
def test_a_text_is_read_as_what_it_sets(name, text, value):
    read = configs.read_setting(name, text)
    assert read == value
    assert type(read) is type(value)
    if isinstance(value, tuple):
        assert [type(item) for item in read] == [type(item) for item in value]
    config = configs.defaults().lock()
    configs.set_setting(config, name, read)
    configs.check_keys(config)
    configs.check_types(config)
    group = config
    for part in name.split("."):
        group = group[part]
    assert (group.to_dict() if isinstance(value, dict) else group) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "many", "config.epochs must be a whole number, got 'many'"),
        ("epochs", "1.5", "config.epochs must be a whole number, got '1.5'"),
        ("epochs", "None", "config.epochs must be a whole number, got 'None'"),
        ("augment.depth", "two", "config.augment.depth must be a whole number or None, got 'two'"),
        ("data.holdout", "nan", "config.data.holdout must be a number, got 'nan'"),
        ("pgd.eps", "8/0", "config.pgd.eps must be a number, got '8/0'"),
        ("progress", "maybe", "config.progress must be true or false, got 'maybe'"),
        ("data.resident", "2", "config.data.resident must be true, false or auto, got '2'"),
        ("fat.budgets", "0,1.5", "config.fat.budgets must be whole numbers separated by commas"),
        ("fat.boundaries", "a,b", "config.fat.boundaries must be numbers separated by commas"),
        ("evaluate.benchmarks", "a,,b", "config.evaluate.benchmarks must be names separated by"),
        ("model.options", "2", "config.model.options must be a dictionary, got '2'"),
        ("optimizer", "{}", "config.optimizer is a group of settings: optimizer.boundaries, "),
        ("optimizer.per", "step", "'optimizer.per' is now called 'optimizer.schedule_unit'"),
    ],
)
def test_a_text_of_another_type_is_named(name, text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        configs.read_setting(name, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", True),
        ("batch_size", 2.0),
        ("data.holdout", math.inf),
        ("data.holdout", True),
        ("data.resident", None),
        ("data.resident", 1),
        ("model.name", 3),
        ("fat.budgets", (0, 1.5, 2)),
        ("fat.budgets", 0),
        ("evaluate.benchmarks", "corrupted"),
    ],
)
def test_a_value_of_another_type_is_named(name, value):
    with pytest.raises(ValueError, match=rf"config\.{name} must be"):
        configs.set_setting(configs.defaults(), name, value)
    config = configs.defaults()
    *path, last = name.split(".")
    group = config[path[0]] if path else config
    del group[last]  # a config of another origin has no types
    group[last] = value
    with pytest.raises(ValueError, match=rf"config\.{name} must be"):
        configs.check_types(config)


def test_an_older_config_is_read_under_todays_names():
    ours, theirs = configs.to_dict(configs.defaults()), configs.to_dict(configs.defaults())
    del theirs["pgd"]
    theirs["optimizer"]["per"] = theirs["optimizer"].pop("schedule_unit")
    theirs["data"]["resident"] = None
    assert configs.differences(ours, theirs) == []
    theirs["optimizer"]["per"] = "step"
    ours["pgd"]["steps"] = 7
    assert configs.differences(ours, theirs) == [
        "optimizer.schedule_unit: 'step' -> 'epoch'",
        "pgd.steps: 10 -> 7",
    ]
    assert set(configs.RENAMED.values()) <= set(configs.kinds())
    assert not set(configs.RENAMED) & set(configs.kinds())


def test_the_networks_own_normalisation_is_what_it_stands_for():
    a, b = (configs.to_dict(configs.defaults()) for _ in range(2))
    b["model"] |= {"mean": [0.0] * 3, "std": [1.0] * 3}
    assert configs.differences(a, b) == []
    for settings in (a, b):
        settings["model"]["name"] = "resnet18_imagenet"
    assert configs.differences(a, b) == [
        "model.mean: [0.0, 0.0, 0.0] -> [0.485, 0.456, 0.406]",
        "model.std: [1.0, 1.0, 1.0] -> [0.229, 0.224, 0.225]",
    ]


def test_only_settings_that_matter_make_another_run():
    a, b = configs.defaults(), configs.defaults()
    b.log_every, b.evaluate.benchmarks, b.checkpoint.keep = 7, ("x",), 5
    b.data.data_dir, b.data.download, b.eval_batch_size = "/elsewhere", True, 10
    b.model.remat, b.compaction.enabled, b.compaction.chunk = True, False, 4
    assert configs.differences(configs.to_dict(a), configs.to_dict(b)) == []
    b.adversary.steps, b.model.options.widen_factor = 5, 4
    b.data.resident = False  # streams hold out other images
    assert configs.differences(configs.to_dict(a), configs.to_dict(b)) == [
        "adversary.steps: 5 -> 10",
        "data.resident: False -> 'auto'",
        "model.options.widen_factor: 4 -> 'absent'",
    ]


def test_the_number_of_devices_may_change_with_synchronised_norm():
    def differences(**changes):
        a, b = configs.defaults(), configs.defaults()
        a.num_devices, b.num_devices = 4, 1
        for name, value in changes.items():
            for config in (a, b):
                configs.set_setting(config, name.replace("__", "."), value)
        return configs.differences(configs.to_dict(a), configs.to_dict(b))

    assert differences(sync_batch_norm=True) == []
    alone = ["num_devices: 1 -> 4"]
    assert differences() == alone
    assert differences(sync_batch_norm=True, adversary__early_stop="batch") == alone
    assert differences(sync_batch_norm=True, optimizer__micro_batches=2) == alone


def test_listed_settings_exist():
    lists = (configs.NO_EFFECT, configs.NO_EFFECT_SYNCHRONISED, configs.MAY_CHANGE)
    for listed in (name for names in (*lists, configs.FORGOTTEN) for name in names):
        assert any(name == listed or name.startswith(f"{listed}.") for name in configs.kinds())
    assert not configs.has_effect("checkpoint.keep")
    assert configs.has_effect("evaluate.benchmarks")
    assert configs.has_effect("max_steps")


@pytest.mark.parametrize("name", ["data.name", "data.extra_train", "init_from"])
def test_a_folder_is_the_same_however_it_is_written(name, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path))

    def with_folder(folder):
        config = configs.defaults()
        value = (folder,) if name == "data.extra_train" else folder
        configs.set_setting(config, name, value)
        return configs.to_dict(config)

    same = ["photos", "./photos", "photos/", os.path.abspath("photos")]
    for folder in [*same, "~/photos", "$PLACE/photos", "link"]:
        assert configs.differences(with_folder(folder), with_folder("photos")) == []
    for folder in ("elsewhere", "gs://bucket/photos"):
        (line,) = configs.differences(with_folder(folder), with_folder("photos"))
        assert line.startswith(name)
    # Names of data that are no folders are compared as they are.
    assert configs.differences(with_folder("cifar10"), with_folder("cifar10")) == []
    (tmp_path / "digits").mkdir()
    assert configs.differences(with_folder("digits"), with_folder("./digits"))


def test_the_scaled_rate_follows_the_batch_until_it_is_set():
    config = imagenet_r18.get_config()
    config.lock()
    assert config.optimizer.learning_rate == 0.1
    config.batch_size = 1024
    assert config.optimizer.learning_rate == pytest.approx(0.4)
    configs.set_setting(config, "optimizer.learning_rate", 0.3)
    config.batch_size = 512
    assert config.optimizer.learning_rate == 0.3
    configs.set_setting(config, "optimizer.learning_rate", 1)
    assert config.optimizer.learning_rate == 1.0
