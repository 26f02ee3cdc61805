"""Settings of all tests: strict promotion, four virtual CPU devices, a compilation cache."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

# Before JAX is imported: tests never use an accelerator, so that their oracles hold.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import pytest

from augmax_jax import models
from tests import speck as smallest

CACHE = Path(__file__).parent.parent / ".cache" / "jax-tests"

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # a repeat takes 2/3 as long


# Every test runs under strict promotion: the package casts and broadcasts explicitly, never by
# JAX's rules. Tests of these files do not, because code of others that they call promotes.
LOOSE = (
    "deepaugment/test_training.py",  # optax: float ** int
    "pytorch/test_equality.py",  # networks in float64
)


def pytest_collection_finish() -> None:
    """Lets the garbage collector pass over what the imports made: a twentieth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Chooses strict dtype and rank promotion before the test's fixtures are made."""
    loose = item.path.relative_to(Path(__file__).parent).as_posix().startswith(LOOSE)
    jax.config.update("jax_numpy_dtype_promotion", "standard" if loose else "strict")
    jax.config.update("jax_numpy_rank_promotion", "allow" if loose else "raise")


@pytest.fixture
def rng() -> np.random.Generator:
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def key() -> jax.Array:
    """A JAX key with a fixed seed."""
    return jax.random.key(0)


@pytest.fixture(scope="module")
def speck() -> Iterator[None]:
    """Registers the network `speck` while a module's tests run."""
    models.MODELS["speck"] = smallest.ARCHITECTURE
    yield
    del models.MODELS["speck"]
