"""Every config in configs/ builds its data, network, optimizer and training step."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import flags
from ml_collections import config_flags

from augmax_jax import methods, models, report
from augmax_jax.config import check_keys, differences, load, to_dict
from augmax_jax.evaluation import comparison, metrics
from augmax_jax.runtime import config_file, parallel
from augmax_jax.training.batches import device_batches
from augmax_jax.training.run import build
from experiments import paper
from experiments.cpu_study import beyond
from experiments.recipes import NETWORKS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))

# λ, n, epochs, classes by file name, from the paper's Sec. 5 and appendix and its released code.
# Everything else is common to a dataset.
PUBLISHED = {
    "cifar10_resnet18": (10, 10, 200, 10),
    "cifar10_wrn40_2": (10, 10, 200, 10),
    "cifar10_resnext29": (10, 10, 200, 10),
    "cifar100_resnet18": (1, 10, 200, 100),
    "cifar100_wrn40_2": (10, 10, 200, 100),
    "cifar100_resnext29": (10, 10, 200, 100),
    "tiny_imagenet_resnet18": (10, 10, 200, 200),
    "imagenet_r18": (12, 5, 90, 1000),
    "imagenet_r50": (12, 5, 90, 1000),
    # On the originals and two copies of each: a third of the epochs.
    "tiny_imagenet_resnet18_deepaugment": (10, 10, 67, 200),
    "imagenet_r18_deepaugment": (12, 5, 30, 1000),
}


def reduced(config):
    """The same settings on a few small images, with the smallest network of the family."""
    config.batch_size, config.num_devices = 4, 1
    config.data.image_size = 32
    config.data.holdout = 0.25
    config.augment.width, config.augment.depth, config.adversary.steps = 1, 1, 1
    if config.model.name == "wrn40_2":
        config.model.options.depth = 10
    if config.model.name == "resnext29":
        config.model.options.update(depth=11, cardinality=2, base_width=8)
    return config


@pytest.fixture
def tiny_imagenet(tmp_path):
    """A folder in Tiny ImageNet's layout."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for name in ("n01443537", "n01629819"):
            folder = tmp_path / split / name / "images"
            folder.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(image).save(folder / f"{name}_{i}.JPEG")
    return tmp_path


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def run(request, tiny_imagenet):
    config = reduced(load(request.param))
    if config.data.name in ("tiny-imagenet-200", "imagenet"):
        config.data.name = str(tiny_imagenet)
    if config.data.extra_train:  # the folder serves as its own copy
        config.data.extra_train = (str(tiny_imagenet),)
    with tfds.testing.mock_data(num_examples=24):
        yield build(config)


def test_all_published_settings_are_there():
    names = {path.stem for path in CONFIGS}
    assert names == set(PUBLISHED) | {"digits", "cifar10_wrn40_2_half_attack"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_are_the_papers(name):
    config = load(of(name))
    check_keys(config)
    consistency, steps, epochs, _ = PUBLISHED[name]
    assert config.objective.consistency_weight == consistency
    assert config.adversary.steps == steps
    assert config.epochs == epochs
    assert config.batch_size == 256
    assert config.optimizer.learning_rate == pytest.approx(0.1)
    assert (config.adversary.step_size, config.adversary.patience) == (0.1, 1)
    assert (config.model.norm, config.objective.variant) == ("dubin", "paper")
    imagenet = "imagenet" in name
    assert config.optimizer.weight_decay == (1e-4 if imagenet else 5e-4)
    assert config.optimizer.schedule == ("step" if imagenet else "cosine")
    assert len(config.data.extra_train) == (2 if "deepaugment" in name else 0)
    if name.startswith("imagenet"):
        boundaries = (10, 20) if config.data.extra_train else (30, 60)
        assert tuple(config.optimizer.boundaries) == boundaries
        assert tuple(config.model.mean) == models.IMAGENET_MEAN
    config.batch_size = 1024  # the rate follows the batch on ImageNet only
    assert config.optimizer.learning_rate == pytest.approx(0.4 if imagenet else 0.1)


def of(name):
    return CONFIGS[0].with_name(f"{name}.py")


def test_half_of_the_attack_is_all_that_its_config_changes():
    parent, config = load(of("cifar10_wrn40_2")), load(of("cifar10_wrn40_2_half_attack"))
    assert differences(to_dict(config), to_dict(parent)) == ["adversary.every: 1 -> 2"]
    assert beyond.VARIANTS["half-batch"].changes == {"adversary.every": 2}


def parse(monkeypatch, *arguments):
    """The config and the other flags that the command reads from its arguments."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "", flag_values=values)
    monkeypatch.setattr(sys, "argv", ["main", *arguments])  # where config_flags looks
    assert values(sys.argv) == ["main"]
    return values.config, values


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("method", methods.METHODS)
def test_each_method_has_its_own_settings(name, method):
    config = load(of(name))
    config.method = method
    check_keys(config)
    own = method == "augmix"
    assert config.objective.consistency_weight == (12 if own else PUBLISHED[name][0])
    on_imagenet = name.startswith("imagenet")
    assert config.augment.severity == (1 if own and on_imagenet else 3)
    assert config.pgd.eps == (4 if on_imagenet else 8) / 255
    share = config.epochs / 120
    assert config.fat.boundaries == pytest.approx((50 * share, 90 * share))


@pytest.mark.parametrize(
    ("name", "boundaries"),
    [
        ("imagenet_r18", (30, 60)),
        ("imagenet_r50", (30, 60)),
        ("imagenet_r18_deepaugment", (10, 20)),
        ("tiny_imagenet_resnet18", (100, 150)),
        ("tiny_imagenet_resnet18_deepaugment", (33.5, 50.25)),
    ],
)
def test_the_schedule_is_the_papers_and_moves_with_the_length(name, boundaries):
    config = load(of(name))
    assert config.optimizer.boundaries == pytest.approx(boundaries)
    config.epochs *= 2
    assert config.optimizer.boundaries == pytest.approx([2 * b for b in boundaries])


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_command_line_does_not_matter(order, monkeypatch):
    path = of("imagenet_r18")
    given = ["--config.method=augmix", "--config.epochs=45", "--config.batch_size=512"]
    config, _ = parse(monkeypatch, f"--config={path}", *given[::order])
    assert (config.objective.consistency_weight, config.augment.severity) == (12.0, 1.0)
    assert config.optimizer.boundaries == pytest.approx((15, 30))
    assert config.optimizer.learning_rate == pytest.approx(0.2)
    given = [
        "--config.method=augmix",
        "--config.objective.consistency_weight=10.0",
        "--config.augment.severity=3.0",
        "--config.epochs=45",
        "--config.optimizer.boundaries=(30.0,40.0)",
        "--config.batch_size=512",
        "--config.optimizer.learning_rate=0.05",
    ]
    config, _ = parse(monkeypatch, f"--config={path}", *given[::order])
    assert (config.objective.consistency_weight, config.augment.severity) == (10.0, 3.0)
    assert config.optimizer.boundaries == (30.0, 40.0)
    assert config.optimizer.learning_rate == 0.05


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text("utf-8")))


def read_docstring(path):
    """The command in a config's docstring, and what it says to expect and of the cost."""
    text = docstring(path)
    command = re.search(r"^    (python -m (?:.*\\\n)*.*)$", text, re.MULTILINE)[1]
    words = shlex.split(command.replace("\\\n", " "))
    said = dict(re.findall(r"^(Expect|Cost): (.+)$", text, re.MULTILINE))
    return words, said


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_docstring_has_the_command(path, monkeypatch):
    words, said = read_docstring(path)
    assert words[:3] == ["python", "-m", "augmax_jax.main"]
    assert words[3] == f"--config=configs/{path.stem}.py"
    config, values = parse(monkeypatch, f"--config={path}", *words[4:])
    assert values.workdir == f"runs/{path.stem}"
    check_keys(config)
    assert said["Cost"]
    assert said["Expect"]


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"imagenet_r50"}))
def test_the_docstring_has_the_papers_figures(name):
    config = load(of(name))
    method = "DeepAugment+AugMax-DuBIN" if config.data.extra_train else "AugMax-DuBIN"
    table = {"cifar10": 2, "cifar100": 3, "imagenet": 4, "tiny": 5}[name.split("_")[0]]
    if table < 4:
        figures = [
            (metric, paper.figure(f"table{table}", method, model=NETWORKS[config.model.name],
                                  metric=metric))
            for metric in ("SA", "RA")
        ]  # fmt: skip
    else:
        figures = [
            (metric, paper.figure(f"table{table}", metric, method=method))
            for metric in ("SA", "RA", "mCE")
        ]
    _, said = read_docstring(of(name))
    assert said["Expect"] == f"paper: {', '.join(f'{m} {value:.2f}' for m, value in figures)}."
    assert f"Table {table}" in docstring(of(name))


def test_the_demo_shows_ra_beside_that_of_normal_training():
    """Its mCE would differ by a factor of two between machines, see docs/results.md."""
    target = comparison.Target("corrupted", "cifar", "digits", {"count": 359})
    baseline, beside = comparison.read(load(of("digits")).evaluate.baseline).against(target)
    assert baseline is None
    found = {"source": "generated", "ra": 0.9764, "ra_interval": metrics.interval(0.9764, 359)}
    results = {
        "method": "augmax", "model": "tiny", "norm": "dubin", "dataset": "digits",
        "selected": "best", "clean": {"best": {"split": "test", "accuracy": 0.9889, "step": 608}},
        "benchmarks": {"corrupted": found | beside},
    }  # fmt: skip
    title, columns, _, clean, ours, normal, *notes = report.summary_table(results).splitlines()
    assert title == "AugMax-DuBIN, tiny, digits (test)"
    assert columns.split() == ["SA", "%", "RA", "%"]
    assert clean.split()[-1] == "98.89"
    assert ours.split("  ")[-1].strip() == "97.64 (95.5 to 98.8)"
    assert normal.split("  ")[1] == "baseline: normal, mean of 3"
    assert normal.split("  ")[-2:] == ["98.70", "89.12 (85.5 to 91.9)"]
    assert notes[0] == "In brackets: 95% interval by the number of test images."
    assert "corrupted has no mCE: the baseline errs on only 24 of 1,795 images" in notes[1]


def test_a_config_is_found_from_another_directory(tmp_path):
    """A variant finds its parent relative to its own file."""
    code = "import sys, augmax_jax.config as c; print(c.load(sys.argv[1]).model.name)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(of("imagenet_r50").resolve())],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "resnet50_imagenet", done.stderr


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_of_the_package_is_known_by_its_name(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(path.stem).to_dict() == load(path).to_dict()


def test_an_unknown_name_is_told_from_the_nearest_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"'cifar10_wrn40'.* mean 'cifar10_wrn40_2'\?.* digits"):
        load("cifar10_wrn40")
    # A path stays a path, and leads to the name where there is nothing.
    with pytest.raises(FileNotFoundError, match=r"configs/digits\.py.*--config=digits"):
        load("configs/digits.py")
    (tmp_path / "digits").mkdir()
    assert load("digits").data.name == "digits"
    (tmp_path / "digits.py").write_text("")
    with pytest.raises(ValueError, match="has no function get_config"):
        load("digits.py")


def test_a_name_may_be_followed_by_an_argument(tmp_path, monkeypatch):
    head = "from augmax_jax.config import defaults\ndef get_config(method):\n    c = defaults()\n"
    (tmp_path / "mine.py").write_text(f"{head}    c.method = method\n    return c\n")
    monkeypatch.setattr(config_file, "named", lambda: {"mine": tmp_path / "mine.py"})
    assert load("mine:fat").method == "fat"


def test_what_is_no_config_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config file"):
        load(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="has no function get_config"):
        load(tmp_path / "empty.py")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is a Python file and its name ends in \.py"):
        load(tmp_path / "config.json")


def test_one_training_step_traces(run):
    step = run.train_step()
    state = jax.eval_shape(run.initial_state)
    batch = jax.tree.map(lambda x: x[0], jax.device_get(next(device_batches(run, 0))))
    assert batch["image"].shape == (4, 32, 32, 3)
    mapped = parallel.pmap(step, run.devices)
    lead = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (state, batch))
    after, metrics = jax.eval_shape(mapped, *lead)
    assert jax.tree.map(lambda x: x.shape[1:], after) == jax.tree.map(lambda x: x.shape, state)
    assert {"loss", "consistency", "ascent_steps"} <= set(metrics)


@pytest.mark.slow
def test_one_training_step_runs(run):
    step = parallel.pmap(run.train_step(), run.devices)
    state = parallel.replicate(run.initial_state(), run.devices)
    before = parallel.first(state.params)
    state, metrics = step(state, next(device_batches(run, 0)))
    assert np.isfinite(parallel.first(metrics)["loss"])
    after = parallel.first(state.params)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))
