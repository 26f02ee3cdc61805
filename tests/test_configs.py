"""Every config in configs/ builds its data, network, optimizer and training step."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from augmax_jax import models
from augmax_jax.config import check_keys
from augmax_jax.runtime import parallel
from augmax_jax.training.batches import device_batches
from augmax_jax.training.run import build

CONFIGS = sorted(p for p in (Path(__file__).parent.parent / "configs").glob("*.py"))

# λ, n, epochs, classes by file name: spec §6. Everything else is common to a dataset.
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


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


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
    assert names == set(PUBLISHED) | {"digits"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_settings_are_the_papers(path):
    config = load(path)
    check_keys(config)
    if path.stem == "digits":
        return
    consistency, steps, epochs, _ = PUBLISHED[path.stem]
    assert config.objective.consistency_weight == consistency
    assert config.adversary.steps == steps
    assert config.epochs == epochs
    assert config.batch_size == 256
    assert config.optimizer.learning_rate == pytest.approx(0.1)
    assert (config.adversary.step_size, config.adversary.patience) == (0.1, 1)
    assert (config.model.norm, config.objective.variant) == ("dubin", "paper")
    imagenet = "imagenet" in path.stem
    assert config.optimizer.weight_decay == (1e-4 if imagenet else 5e-4)
    assert config.optimizer.schedule == ("step" if imagenet else "cosine")
    assert len(config.data.extra_train) == (2 if "deepaugment" in path.stem else 0)
    if path.stem.startswith("imagenet"):
        boundaries = (10, 20) if config.data.extra_train else (30, 60)
        assert tuple(config.optimizer.boundaries) == boundaries
        assert tuple(config.model.mean) == models.IMAGENET_MEAN
    config.batch_size = 1024  # the rate follows the batch on ImageNet only
    assert config.optimizer.learning_rate == pytest.approx(0.4 if imagenet else 0.1)


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
