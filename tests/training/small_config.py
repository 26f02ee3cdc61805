"""The config of `pair`, and its network, for the command."""

from augmax_jax import models
from tests.training import pair


def get_config():
    models.MODELS.update(pair.NETWORK)
    return pair.small(max_steps=0, epochs=100, evaluate__benchmarks=())
