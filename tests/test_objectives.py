"""Losses against SciPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import log_loss

from augmax_jax.objectives import cross_entropy, jensen_shannon, objective


def test_cross_entropy_equals_scikit_learn(rng):
    logits, labels = rng.normal(size=(50, 7)) * 3, rng.integers(0, 7, 50)
    expected = log_loss(labels, softmax(logits, -1), labels=range(7))
    np.testing.assert_allclose(cross_entropy(jnp.asarray(logits), labels), expected, rtol=1e-5)


def test_a_smoothed_cross_entropy_is_pytorchs(rng):
    torch = pytest.importorskip("torch")
    logits, labels = rng.normal(size=(50, 7)) * 3, rng.integers(0, 7, 50)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels), label_smoothing=0.1
    )
    got = cross_entropy(jnp.asarray(logits), labels, label_smoothing=0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    options = {"weights": [0.5, 1], "consistent": [True, True], "consistency_weight": 0.0}
    loss, _ = objective([logits] * 2, labels, **options, label_smoothing=0.1)
    np.testing.assert_allclose(loss, 1.5 * expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\), got 1"):
        cross_entropy(jnp.asarray(logits), labels, label_smoothing=1)


def test_jensen_shannon_of_two_equals_scipy(rng):
    a, b = rng.normal(size=(2, 20, 5)) * 2
    expected = np.mean(jensenshannon(softmax(a, -1), softmax(b, -1), axis=-1) ** 2)
    np.testing.assert_allclose(jensen_shannon([a, b]), expected, rtol=1e-4)


def test_jensen_shannon_of_three_is_the_entropy_form(rng):
    logits = rng.normal(size=(3, 20, 5)) * 2
    p = softmax(logits, -1)
    expected = np.mean(entropy(p.mean(0), axis=-1) - entropy(p, axis=-1).mean(0))
    np.testing.assert_allclose(jensen_shannon(list(logits)), expected, rtol=1e-4)


def test_jensen_shannon_check_value():
    # (1, 0), (0, 1), (½, ½) around their mean (½, ½): (ln 2 + ln 2 + 0) / 3.
    logits = [jnp.array([[40.0, -40.0]]), jnp.array([[-40.0, 40.0]]), jnp.zeros((1, 2))]
    np.testing.assert_allclose(jensen_shannon(logits), 2 / 3 * np.log(2), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 200))
def test_jensen_shannon_is_bounded_symmetric_and_has_finite_gradients(seed, scale):
    logits = np.random.default_rng(seed).normal(size=(3, 4, 6)).astype(np.float32) * scale
    value = jensen_shannon(list(logits))
    assert -1e-6 <= value <= np.log(3) + 1e-6
    np.testing.assert_allclose(value, jensen_shannon(list(logits[::-1])), atol=1e-5)
    gradient = jax.grad(lambda x: jensen_shannon(list(x)))(jnp.asarray(logits))
    assert np.isfinite(gradient).all()


def test_gradients_equal_finite_differences(rng):
    with jax.enable_x64(True):
        logits = jnp.asarray(rng.normal(size=(3, 2, 4)), jnp.float32)
        direction = jnp.asarray(rng.normal(size=logits.shape), jnp.float32)
        value = lambda t: jensen_shannon(list(logits + t * direction))  # noqa: E731
        slope = (value(1e-2) - value(-1e-2)) / 2e-2
        np.testing.assert_allclose(jax.grad(value)(0.0), slope, rtol=1e-2)


def test_objective_is_the_papers_equation_5(rng):
    clean, augmix, augmax = rng.normal(size=(3, 10, 4))
    labels = rng.integers(0, 4, 10)
    loss, parts = objective(
        [augmax, augmix, clean],
        labels,
        weights=[0.5, 0.0, 0.5],
        consistent=[True, True, True],
        consistency_weight=10.0,
    )
    expected = (
        0.5 * (log_loss(labels, softmax(augmax, -1), labels=range(4)))
        + 0.5 * log_loss(labels, softmax(clean, -1), labels=range(4))
        + 10 * jensen_shannon([clean, augmix, augmax])
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert set(parts) == {"loss", "classification", "consistency"}


def test_views_left_out_of_the_objective_do_not_count(rng):
    a, b = rng.normal(size=(2, 10, 4))
    labels = rng.integers(0, 4, 10)
    loss, parts = objective(
        [a, b], labels, weights=[1.0, 0.0], consistent=[True, False], consistency_weight=10.0
    )
    np.testing.assert_allclose(loss, cross_entropy(a, labels), rtol=1e-6)
    assert "consistency" not in parts
