"""Chains that are drawn at once are those that are drawn one by one."""

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax import augment
from augmax_jax.methods.drawing import draw
from augmax_jax.runtime.keys import example_keys

SETTINGS = {"width": 2, "depth": None, "severity": 3.0, "operators": ("solarize", "translate_x")}
BATCH = 5


def test_one_program_draws_the_same(rng, key):
    images = jnp.asarray(rng.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8))
    first, second, third = (example_keys(k, BATCH) for k in jax.random.split(key, 3))

    def together(images):
        return draw(images, SETTINGS, mixes=[first, second], chains=[third])

    mixes, chains = jax.jit(together)(images)
    for found, keys in zip(mixes, (first, second), strict=True):
        wanted = augment.augmix(keys, images, **SETTINGS)
        np.testing.assert_allclose(found, wanted, atol=1e-6)  # fused otherwise
    (found,) = chains
    np.testing.assert_array_equal(found, augment.sample_chains(third, images, **SETTINGS))
    # The operators stand in the program once.
    assert str(jax.make_jaxpr(together)(images)).count("platform_index") == 1
