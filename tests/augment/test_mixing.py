"""Mixing and its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from augmax_jax import augment
from augmax_jax.runtime.keys import example_keys


@pytest.fixture
def batch(rng):
    images = rng.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    chains = rng.integers(0, 256, (4, 3, 6, 5, 3), dtype=np.uint8)
    m = rng.uniform(size=4).astype(np.float32)
    w = rng.dirichlet(np.ones(3), 4).astype(np.float32)
    return images, chains, m, w


def expected(images, chains, m, w):
    chain = np.einsum("bk,bkhwc->bhwc", w.astype(np.float64), chains / 255)
    return (1 - m)[:, None, None, None] * (images / 255) + m[:, None, None, None] * chain


def test_equals_the_formula_in_float64(batch):
    mixed = augment.mix(*batch)
    assert mixed.dtype == jnp.float32
    np.testing.assert_allclose(mixed, expected(*batch), atol=3e-7)


def test_takes_floats(batch):
    images, chains, m, w = batch
    mixed = augment.mix(images.astype(np.float32) / 255, chains.astype(np.float32) / 255, m, w)
    np.testing.assert_allclose(mixed, expected(*batch), atol=3e-7)


def test_extremes(batch):
    images, chains, m, w = batch
    np.testing.assert_allclose(augment.mix(images, chains, 0 * m, w), images / 255, atol=1e-7)
    one = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
    picked = augment.mix(images, chains, 0 * m + 1, one)
    np.testing.assert_allclose(picked, chains[range(4), [0, 1, 2, 1]] / 255, atol=1e-7)


def test_white_is_not_exceeded(rng):
    white = np.full((500, 1, 1, 3), 255, np.uint8)
    m, w = augment.sample_mixing_weights(jax.random.key(0), 500, 3)
    mixed = augment.mix(white, np.repeat(white[:, None], 3, 1), m, w)
    assert mixed.max() <= 1
    np.testing.assert_allclose(mixed, 1, atol=1e-6)


def test_commutes_with_normalisation(batch):
    images, chains, m, w = batch
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    after = (np.asarray(augment.mix(*batch)) - mean) / std
    before = expected((images / 255 - mean) / std * 255, (chains / 255 - mean) / std * 255, m, w)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_gradient_is_that_of_the_formula(batch):
    images, chains, m, w = batch
    grad_m, grad_w = jax.grad(lambda m, w: augment.mix(images, chains, m, w).sum(), (0, 1))(m, w)
    sums = chains.sum((2, 3, 4), dtype=np.float64) / 255
    np.testing.assert_allclose(
        grad_m, (w * sums).sum(1) - images.sum((1, 2, 3), dtype=np.float64) / 255, rtol=1e-4
    )
    np.testing.assert_allclose(grad_w, m[:, None] * sums, rtol=1e-4)


def test_weights_are_uniform_by_default():
    m, w = augment.sample_mixing_weights(jax.random.key(0), 4000, 3)
    np.testing.assert_allclose(np.sum(w, 1), 1, atol=1e-6)
    assert stats.kstest(m, "uniform").pvalue > 1e-4
    for i in range(3):  # the marginals of Dirichlet(1, 1, 1)
        assert stats.kstest(w[:, i], stats.beta(1, 2).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(w[:, 0], w[:, 1])[0, 1] + 0.5) < 0.06
    assert abs(np.corrcoef(m, w[:, 0])[0, 1]) < 0.06


def test_weights_with_another_alpha():
    m, w = augment.sample_mixing_weights(jax.random.key(0), 2000, 4, alpha=0.5)
    assert stats.kstest(m, stats.beta(0.5, 0.5).cdf).pvalue > 1e-4
    assert stats.kstest(w[:, 2], stats.beta(0.5, 1.5).cdf).pvalue > 1e-4


def test_weights_depend_on_the_examples_key():
    key = jax.random.key(3)
    m, w = augment.sample_mixing_weights(key, 6, 3)
    m2, w2 = augment.sample_mixing_weights(example_keys(key, 6)[2:4], 2, 3)
    np.testing.assert_array_equal(m2, m[2:4])
    np.testing.assert_array_equal(w2, w[2:4])


def test_to_float(rng):
    images = rng.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    floats = augment.to_float(images)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats, images.astype(np.float32) / np.float32(255))
    for wrong in (floats, images.tolist(), images.astype(np.int32)):
        with pytest.raises(ValueError, match="images must be uint8, got"):
            augment.to_float(wrong)
