"""Steps and epochs, on the host and traced, against exact fractions."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.runtime.epochs import Epochs


@pytest.mark.parametrize(("batch", "examples"), [(3, 7), (4, 8), (7, 3), (256, 50_000), (1, 49)])
def test_epochs_of_steps(batch, examples):
    epochs = Epochs(batch, examples)
    steps = range(400)
    passed = [Fraction(t * batch, examples) for t in steps]
    whole = [int(p) for p in passed]
    starts = [t == 0 or whole[t] != whole[t - 1] for t in steps]
    assert [epochs.passed(t) for t in steps] == [float(p) for p in passed]
    assert [epochs.completed(t) for t in steps] == whole
    assert [epochs.starts(t) for t in steps] == starts

    traced = jax.jit(jax.vmap(lambda t: (epochs.passed(t), epochs.completed(t), epochs.starts(t))))
    floats, counts, firsts = traced(jnp.arange(400, dtype=jnp.int32))
    assert floats.dtype == jnp.float32
    np.testing.assert_allclose(floats, np.array(passed, float), rtol=1e-6)
    np.testing.assert_array_equal(counts, whole)
    np.testing.assert_array_equal(firsts, starts)
