"""Settings shared by all tests: strict promotion, four CPU devices and a compilation cache."""

import os
from collections.abc import Iterator
from pathlib import Path

# Before JAX is imported: tests never use an accelerator, so that their oracles hold.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "jax-tests"

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# Tests that run under strict promotion: the package casts and broadcasts where it says so, never by
# JAX's rules. Code of others that promotes is called inside `jax.numpy_dtype_promotion("standard")`
# or `jax.numpy_rank_promotion("allow")`, around that call alone.
STRICT = ("test_objectives.py", "test_strict_promotion.py", "models/test_norm_conversion.py")


@pytest.fixture(autouse=True)
def strict_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """Strict dtypes and ranks in the tests of `STRICT`."""
    if not request.path.relative_to(Path(__file__).parent).as_posix().startswith(STRICT):
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def key() -> jax.Array:
    """A JAX key with a fixed seed."""
    return jax.random.key(0)
