"""Keys of examples, and what is no key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.runtime.keys import as_keys, example_keys, one_key


def test_a_slice_of_a_batch_gets_the_same_keys(key):
    whole = example_keys(key, 6)
    assert (whole[4:] == example_keys(key, 2, first_index=4)).all()
    assert (example_keys(whole, 6) == whole).all()
    assert (example_keys(jax.random.key_data(key), 6) == whole).all()


@pytest.mark.parametrize("value", [0, "k", None, 1.5, np.zeros(2), np.zeros(5, np.uint32)])
def test_what_is_no_key_is_named(value):
    for function in (as_keys, one_key, lambda value: example_keys(value, 2)):
        with pytest.raises(ValueError, match="key must be a JAX key"):
            function(value)


def test_a_wrong_number_of_keys_is_named(key):
    keys = jax.random.split(key, 3)
    with pytest.raises(ValueError, match=r"one per example \[2\], got shape \(3,\)"):
        example_keys(keys, 2)
    with pytest.raises(ValueError, match=r"one key, got shape \[3\]"):
        one_key(keys)
    assert one_key(jnp.asarray([0, 0], jnp.uint32)) == jax.random.key(0)
