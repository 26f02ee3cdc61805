"""Placing, mapping and reading back over several devices."""

import jax
import numpy as np
import pytest

from augmax_jax.runtime import parallel


@pytest.fixture(params=[1, 2, 4])
def devices(request):
    return parallel.local_devices(request.param)


def test_shard_and_gather_are_inverse(devices, rng):
    x = rng.normal(size=(8, 3)).astype(np.float32)
    sharded = parallel.shard(x, devices)
    assert sharded.shape == (len(devices), 8 // len(devices), 3)
    np.testing.assert_array_equal(parallel.gather(sharded), x)


def test_replicate_and_first_are_inverse(devices, rng):
    tree = {"a": rng.normal(size=(2, 2)).astype(np.float32), "b": np.int32(3)}
    back = parallel.first(parallel.replicate(tree, devices))
    jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_pmap_reduces_over_its_axis(devices):
    total = parallel.pmap(lambda x: jax.lax.psum(x.sum(), parallel.AXIS), devices)
    assert parallel.first(total(parallel.shard(np.arange(8.0), devices))) == 28


def test_bad_splits_are_named(devices):
    with pytest.raises(ValueError, match="num_devices is 99"):
        parallel.local_devices(99)
    if len(devices) > 1:
        with pytest.raises(ValueError, match="a batch of 7 cannot be split"):
            parallel.shard(np.zeros(7), devices)
