"""The second implementation, and images to corrupt."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def reference():
    """The module `reference` beside this file."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("corruptions_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def natural():
    """Makes images with the smoothness and noise of photographs: uint8 [n, height, width, 3]."""

    def make(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        images = []
        for _ in range(count):
            coarse = rng.integers(0, 256, (*rng.integers(3, 9, 2), 3), np.uint8)
            smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            values = np.asarray(smooth) * rng.uniform(0.3, 1)
            values = values + rng.normal(0, rng.uniform(0, 12), values.shape)
            images.append(np.clip(values, 0, 255).astype(np.uint8))
        return np.stack(images)

    return make
