"""Random weights, made once."""

import jax
import numpy as np
import pytest

from augmax_jax.deepaugment import layers, networks, training


def _weights(name):
    entry = networks.get(name)
    params = training.initial(name, jax.random.key(7))
    weights = layers.to_weights(entry.layers, params)
    rng = np.random.default_rng(7)
    # Biases too, so that what happens to them shows.
    return {
        key: jax.numpy.asarray(rng.normal(0, 0.02, value.shape), "float32")
        if key.endswith("bias")
        else value
        for key, value in weights.items()
    }


@pytest.fixture(scope="session")
def edsr_weights():
    return _weights("edsr")


@pytest.fixture(scope="session")
def cae_weights():
    return _weights("cae")


@pytest.fixture(scope="session")
def all_weights(edsr_weights, cae_weights):
    return {"edsr": edsr_weights, "cae": cae_weights}
