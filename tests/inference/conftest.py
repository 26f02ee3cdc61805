"""A folder of images and a run that was trained on it, once for all tests of this folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmax_jax.config import defaults
from augmax_jax.training.commands import train_and_evaluate

CLASSES = ("ant", "bee", "cat")
COLOURS = {"ant": (190, 60, 60), "bee": (60, 190, 60), "cat": (60, 60, 190)}


def picture(seed: int, name: str) -> np.ndarray:
    """A noisy picture in the colour of its class, of a size of its own, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(12, 40, 2)
    noise = rng.normal(0, 70, (height, width, 3))
    return np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)


def write_photos(root: Path) -> None:
    """A data set <root>/<split>/<class>/*, with a grey, a palette and a turned image in test."""
    for split, count in (("train", 12), ("test", 9)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                seed = 1000 * (split == "test") + 100 * label + i
                image = Image.fromarray(picture(seed, name))
                image.save(folder / f"{i}.{'jpg' if i % 2 else 'png'}")
    image = Image.fromarray(picture(7, "ant"))
    image.convert("L").save(root / "test" / "ant" / "grey.png")
    image.convert("P").save(root / "test" / "bee" / "palette.png")
    turned = Image.Exif()
    turned[274] = 6
    image.save(root / "test" / "cat" / "turned.jpg", exif=turned)


def toy_config(photos: Path, **changes):
    """A config whose run takes seconds."""
    c = defaults()
    c.method, c.model.name, c.model.norm = "normal", "tiny", "dubin"
    c.data.name, c.data.holdout, c.data.image_size = str(photos), 0.0, 16
    c.select_on = "test"
    c.batch_size, c.num_devices, c.eval_batch_size = 12, 1, 7
    c.max_steps = 6
    c.pictures_every_epochs = 0.0
    c.progress = c.tensorboard = False
    c.compilation_cache = ""
    for name, value in changes.items():
        c[name] = value
    return c


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """The folder of images."""
    root = tmp_path_factory.mktemp("photos")
    write_photos(root)
    return root


@pytest.fixture(scope="session")
def run(photos, tmp_path_factory) -> Path:
    """The workdir of a run; tests do not change it."""
    directory = tmp_path_factory.mktemp("runs") / "toy"
    train_and_evaluate(toy_config(photos), directory)
    return directory
