"""A process alone; two that tell each other values meet in tests/training."""

import jax
import numpy as np
import pytest

from augmax_jax.runtime import hosts


def test_alone_nothing_is_shared(tmp_path):
    value = {"array": np.zeros(2)}  # not for JSON, and not copied
    assert hosts.everyone(value)[0] is value
    assert hosts.from_writer(value) is value
    assert hosts.same_arrays(value) is value
    assert hosts.is_writer()
    hosts.check_one_directory(tmp_path / "not there")
    with pytest.raises(KeyError), hosts.together():
        raise KeyError
    vote = hosts.Votes(jax.local_devices())
    assert [vote(0), vote(15), vote(0, last=True)] == [0, 15, 0]
