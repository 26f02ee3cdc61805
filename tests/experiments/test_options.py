"""The command line: overrides, data, names of runs, and what is wrong with them."""

import pytest

from experiments import options as reading
from experiments.recipes import Experiment

AUGMAX = Experiment("cifar10", "wrn40_2", "augmax", "dubin")
TINY = Experiment("tiny_imagenet", "resnet18", "fat", "bn")


def read(*arguments, experiments=(AUGMAX,)):
    parser = reading.parser("Doc.", "table2")
    given = parser.parse_args(["--workdir", "runs", *arguments])
    return reading.read(given, experiments, arguments, "table2")


def test_settings_take_the_type_of_what_they_set():
    options = read(
        "--set", "config.epochs=3", "--set", "model.name=tiny", "--set", "augment.severity=1",
        "--set", "data.train_transform=none", "--set", "evaluate.benchmarks=('corrupted',)",
        "--set", "data.download=true", "--set", "augment.depth=2", "--set", "batch_size=64",
    )  # fmt: skip
    config = options.config(AUGMAX)
    assert (config.epochs, config.model.name, config.augment.severity) == (3, "tiny", 1.0)
    assert config.data.train_transform == "none"
    assert config.evaluate.benchmarks == ("corrupted",)
    assert config.data.download is True
    assert (config.augment.depth, config.batch_size) == (2, 64)
    assert "model.name=tiny" in options.changed()
    assert "data.download=true" not in options.changed()


def test_schedules_move_with_the_epochs():
    config = read("--set", "epochs=20", experiments=(TINY,)).config(TINY)
    assert config.epochs == 20
    assert isinstance(config.epochs, int)
    assert config.optimizer.boundaries == pytest.approx((10, 15))
    assert config.fat.boundaries == pytest.approx((50 / 6, 15))
    kept = read(
        "--set", "epochs=20", "--set", "optimizer.boundaries=(5.0, 6.0)", experiments=(TINY,)
    ).config(TINY)
    assert kept.optimizer.boundaries == (5.0, 6.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "epoch=3"], "unknown config key 'epoch'. Did you mean 'epochs'"),
        (["--set", "epochs"], "--set must be NAME=VALUE, got 'epochs'"),
        (["--set", "epochs=many"], "config.epochs must be a whole number, got 'many'"),
        (["--set", "model.norm=bn"], "would undo what tells the rows of this table apart"),
        (["--set", "adversary.steps=-1"], "config.adversary.steps must be at least 0"),
        (["--only", "cifar10-wrn40_2-augmax-dubn"], "Did you mean 'cifar10-wrn40_2-augmax-dubin'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        read(*arguments).config(AUGMAX)


def test_a_sweep_is_not_overridden():
    swept = Experiment("cifar10", "wrn40_2", "augmax", changes=(("adversary.steps", 5),))
    options = read("--set", "adversary.steps=2", experiments=(AUGMAX, swept))
    assert options.config(AUGMAX).adversary.steps == 2
    with pytest.raises(ValueError, match=r"adversary\.steps would undo"):
        options.config(swept)


def test_data_by_name_and_what_it_says_about_itself(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
    options = read("--data", str(tmp_path))
    assert options.config(AUGMAX).data.name == str(tmp_path)
    assert options.changed() == [f"cifar10 replaced by {tmp_path} (2 classes)"]
    for i in range(8):
        (tmp_path / "train" / str(i)).mkdir()
    assert options.changed() == []  # as many classes as CIFAR-10 has

    other = Experiment("cifar100", "wrn40_2", "augmax", "dubin")
    both = read("--data", "cifar100=/data/c100", experiments=(AUGMAX, other))
    assert both.config(other).data.name == "/data/c100"
    assert both.config(AUGMAX).data.name == "cifar10"
    with pytest.raises(ValueError, match="SET one of cifar10, cifar100, got '/data'"):
        read("--data", "/data", experiments=(AUGMAX, other))


def test_published_sets_can_be_replaced_by_corrupting_the_test_split(tmp_path):
    options = read("--corrupt", "--benchmarks", str(tmp_path))
    config = options.config(AUGMAX)
    assert config.evaluate.benchmarks == ("corrupted", "cifar10_1_v4", "spatial")
    assert config.evaluate.data_dir == str(tmp_path)
    assert "corrupted by this code" in options.changed()[0]


def test_a_folder_may_call_its_validation_split_val(tmp_path):
    (tmp_path / "val").mkdir()
    imagenet = Experiment("imagenet", "resnet18", "normal", "bn")
    assert read(experiments=(imagenet,)).config(imagenet).data.test_split == "validation"
    config = read("--data", str(tmp_path), experiments=(imagenet,)).config(imagenet)
    assert config.data.test_split == "val"
