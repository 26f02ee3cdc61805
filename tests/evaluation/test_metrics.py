"""Metrics against hand-computed values, the paper's own figures and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

from augmax_jax.corruptions import BENCHMARK, EXTRA, FAMILIES
from augmax_jax.evaluation import baselines, metrics


def flat(errors: dict[str, float]) -> dict[str, list[float]]:
    """A table with the same error at each severity."""
    return {name: [error] * 5 for name, error in errors.items()}


@pytest.fixture
def table(rng) -> dict[str, list[float]]:
    return {name: rng.uniform(0.1, 0.9, 5).tolist() for name in BENCHMARK}


def test_baselines_reproduce_the_published_averages():
    # means of 15 and of 12 corruptions; the paper's "Normal" row, Tables 5 and 6.
    alexnet = flat(baselines.ALEXNET_ERRORS)
    tiny = flat(baselines.TINY_IMAGENET_RESNET18_ERRORS)
    assert 1 - metrics.robust_accuracy(alexnet) == pytest.approx(0.788993, abs=5e-7)
    assert 1 - metrics.robust_accuracy(alexnet, metrics.NOISE_FREE) == pytest.approx(
        0.760947, abs=5e-7
    )
    assert 100 * metrics.robust_accuracy(tiny) == pytest.approx(23.91, abs=0.006)
    assert 100 * metrics.robust_accuracy(tiny, metrics.NOISE_FREE) == pytest.approx(
        24.38, abs=0.006
    )
    for name, errors in (("alexnet", alexnet), ("tiny_imagenet_resnet18", tiny)):
        clean = baselines.BASELINES[name].clean_error
        assert metrics.mean_corruption_error(errors, name) == pytest.approx(1)
        assert metrics.mean_corruption_error(errors, name, metrics.NOISE_FREE) == pytest.approx(1)
        assert metrics.relative_mean_corruption_error(errors, clean, name) == pytest.approx(1)


def test_single_values_of_the_anchor_table():
    assert baselines.ALEXNET_ERRORS["gaussian_noise"] == 0.886428
    assert baselines.ALEXNET_ERRORS["brightness"] == 0.564592
    assert baselines.ALEXNET_ERRORS["jpeg_compression"] == 0.606500
    assert baselines.TINY_IMAGENET_RESNET18_ERRORS["frost"] == 0.7381
    assert baselines.TINY_IMAGENET_RESNET18_ERRORS["elastic_transform"] == 0.7308
    assert baselines.BASELINES["alexnet"].clean_error == 0.43478


def test_values_computed_by_hand():
    # Every corruption 0.5 at severities 1-5 but fog, (0.1, 0.2, 0.3, 0.4, 0.5).
    errors = flat(dict.fromkeys(BENCHMARK, 0.5)) | {"fog": [0.1, 0.2, 0.3, 0.4, 0.5]}
    baseline = baselines.Baseline("half", dict.fromkeys(BENCHMARK, 0.6), clean_error=0.2)
    assert metrics.robust_accuracy(errors) == pytest.approx(1 - (14 * 0.5 + 0.3) / 15)
    assert metrics.accuracy_by_corruption(errors)["fog"] == pytest.approx(0.7)
    assert metrics.accuracy_by_severity(errors)[1] == pytest.approx(1 - (14 * 0.5 + 0.1) / 15)
    assert metrics.accuracy_by_severity(errors)[5] == pytest.approx(0.5)
    assert metrics.accuracy_by_family(errors) == pytest.approx(
        {"noise": 0.5, "blur": 0.5, "weather": 1 - (3 * 0.5 + 0.3) / 4, "digital": 0.5}
    )
    assert metrics.corruption_errors(errors, baseline)["fog"] == pytest.approx(0.5)
    assert metrics.mean_corruption_error(errors, baseline) == pytest.approx((14 * 5 / 6 + 0.5) / 15)
    relative = (14 * (0.5 - 0.1) / (0.6 - 0.2) + (0.3 - 0.1) / (0.6 - 0.2)) / 15
    assert metrics.relative_mean_corruption_error(errors, 0.1, baseline) == pytest.approx(relative)


def test_a_baseline_may_have_all_severities(table):
    whole = baselines.Baseline("mine", table, 0.05)
    means = baselines.Baseline("mine", {name: np.mean(row) for name, row in table.items()}, 0.05)
    other = flat(dict.fromkeys(BENCHMARK, 0.4))
    assert metrics.corruption_errors(other, whole) == pytest.approx(
        metrics.corruption_errors(other, means)
    )
    assert metrics.mean_corruption_error(table, whole) == pytest.approx(1)


def test_noise_free_drops_exactly_the_noises():
    assert len(metrics.NOISE_FREE) == 12
    assert set(BENCHMARK) - set(metrics.NOISE_FREE) == set(FAMILIES["noise"])


def test_summarize_collects_everything(table):
    out = metrics.summarize(
        table | flat({EXTRA[0]: 0.5}), clean_error=0.1, baseline="tiny_imagenet_resnet18"
    )
    assert out["sa"] == pytest.approx(0.9)
    assert out["ra"] == pytest.approx(1 - np.mean(list(table.values())))
    assert out["ra_noise_free"] == metrics.robust_accuracy(table, metrics.NOISE_FREE)
    assert out["by_corruption"][EXTRA[0]] == pytest.approx(0.5)
    assert out["mce"] == pytest.approx(np.mean(list(out["ce"].values())))
    assert set(out["ce"]) == set(BENCHMARK)
    assert list(out["by_severity"]) == ["1", "2", "3", "4", "5"]
    assert out["baseline"] == "tiny_imagenet_resnet18"
    assert out["relative_mce"] > 0
    partial = metrics.summarize({"fog": table["fog"]}, baseline="alexnet")
    assert list(partial) == ["by_corruption"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fog": None}, "errors lack fog"),
        ({"fog": [0.1] * 4}, r"errors of 'fog' must be 5 numbers.*\[4\]"),
        ({"fog": [10.0] * 5}, r"errors of 'fog' must be fractions in \[0, 1\]"),
        ({"fog": [float("nan")] * 5}, "must be fractions"),
    ],
)
def test_bad_tables_are_refused(table, change, message):
    errors = {k: v for k, v in (table | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        metrics.robust_accuracy(errors)


def test_bad_baselines_are_refused(table):
    with pytest.raises(ValueError, match=r"unknown baseline 'alexnt'\. Did you mean 'alexnet'"):
        metrics.mean_corruption_error(table, "alexnt")
    with pytest.raises(ValueError, match="baseline 'b' has no error for 'gaussian_noise'"):
        metrics.mean_corruption_error(table, baselines.Baseline("b", {"fog": 0.5}))
    percent = baselines.Baseline("b", dict.fromkeys(BENCHMARK, 60.0))
    with pytest.raises(ValueError, match=r"must be a fraction in \(0, 1\], got 60"):
        metrics.mean_corruption_error(table, percent)
    plain = baselines.Baseline("b", dict.fromkeys(BENCHMARK, 0.6))
    with pytest.raises(ValueError, match="has no clean_error"):
        metrics.relative_mean_corruption_error(table, 0.1, plain)
    strange = baselines.Baseline("b", dict.fromkeys(BENCHMARK, 0.6), 0.7)
    with pytest.raises(ValueError, match="'gaussian_noise' adds no error to baseline"):
        metrics.relative_mean_corruption_error(table, 0.1, strange)
    with pytest.raises(ValueError, match=r"clean_error must be in \[0, 1\], got 10"):
        metrics.relative_mean_corruption_error(table, 10, "alexnet")


@pytest.mark.parametrize(("right", "images"), [(0, 5), (7, 9), (350, 359), (20, 20)])
def test_the_interval_is_that_of_scipy(right, images):
    wanted = binomtest(right, images).proportion_ci(method="wilson")
    assert metrics.interval(right / images, images) == pytest.approx(wanted, abs=1e-7)


@pytest.fixture
def predictions(rng) -> tuple[np.ndarray, np.ndarray]:
    logits = rng.normal(size=(500, 7)) * 3
    labels = np.where(rng.random(500) < 0.6, logits.argmax(1), rng.integers(0, 7, 500))
    return logits, labels


def test_nll_and_accuracy_are_those_of_scikit_learn(predictions):
    logits, labels = predictions
    p = softmax(logits, axis=1)
    assert metrics.negative_log_likelihood(logits, labels) == pytest.approx(
        sklearn.metrics.log_loss(labels, p, labels=range(7)), rel=1e-12
    )
    assert metrics.accuracy(logits, labels) == sklearn.metrics.accuracy_score(labels, p.argmax(1))


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_error_is_that_of_scikit_learns_curve(predictions, bins):
    logits, labels = predictions
    p = softmax(logits, axis=1)
    confidence, correct = p.max(1), p.argmax(1) == labels
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=bins)
    counts = np.histogram(confidence, np.linspace(0, 1, bins + 1))[0]
    weights = counts[counts > 0] / len(labels)
    expected = (weights * np.abs(accuracy - mean_confidence)).sum()
    assert metrics.expected_calibration_error(logits, labels, bins=bins) == pytest.approx(expected)


def test_calibration_error_by_hand():
    # Two classes: confidence 0.9 four times, three right; confidence 0.6 twice, none right.
    def pair(p):
        return [np.log(p), np.log(1 - p)]

    logits = np.array([pair(0.9)] * 4 + [pair(0.6)] * 2)
    labels = np.array([0, 0, 0, 1, 1, 1])
    expected = 4 / 6 * abs(0.75 - 0.9) + 2 / 6 * 0.6
    assert metrics.expected_calibration_error(logits, labels) == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_to_the_lower_bin():
    counts = metrics.tally(np.zeros((1, 2)), np.zeros(1, int), bins=2).bin_count
    assert counts.tolist() == [1, 0]  # confidence 1/2 exactly
    certain = metrics.tally(np.array([[100.0, -100.0]]), np.zeros(1, int), bins=2).bin_count
    assert certain.tolist() == [0, 1]


def test_huge_logits_neither_overflow_nor_lose_their_order():
    logits = np.array([[1e4, 0.0], [-1e4, 0.0]])
    assert metrics.negative_log_likelihood(logits, np.array([0, 0])) == pytest.approx(5e3)
    assert metrics.expected_calibration_error(logits, np.array([0, 0])) == pytest.approx(0.5)


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 499), max_size=5), seed=st.integers(0, 100))
def test_tallies_of_batches_add_up(cuts, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(500, 4)), rng.integers(0, 4, 500)
    whole = metrics.tally(logits, labels)
    parts = [
        metrics.tally(x, y)
        for x, y in zip(
            np.split(logits, sorted(set(cuts))), np.split(labels, sorted(set(cuts))), strict=True
        )
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    for a, b in zip(total, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_masked_examples_do_not_count(predictions):
    logits, labels = predictions
    mask = np.arange(len(labels)) % 3 != 0
    padded = np.where(mask[:, None], logits, np.nan)
    masked = metrics.tally(padded, np.where(mask, labels, 0), mask)
    for a, b in zip(masked, metrics.tally(logits[mask], labels[mask]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_device_version_is_jittable_and_agrees(predictions):
    logits, labels = predictions
    mask = np.arange(len(labels)) < 450
    ours = jax.jit(metrics.tally)(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask))
    assert all(isinstance(leaf, jax.Array) for leaf in ours)
    for a, b in zip(ours, metrics.tally(logits, labels, mask), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert ours.accuracy == pytest.approx(metrics.accuracy(logits[mask], labels[mask]))


@pytest.mark.parametrize("xp", [np, jnp])
def test_restricting_classes_equals_dropping_columns(predictions, xp):
    logits, _ = predictions
    classes = [1, 4, 6]
    out = np.asarray(metrics.restrict_classes(xp.asarray(logits), classes))
    np.testing.assert_array_equal(out.argmax(1), np.array(classes)[logits[:, classes].argmax(1)])
    np.testing.assert_allclose(
        log_softmax(out, axis=1)[:, classes], log_softmax(logits[:, classes], axis=1), atol=1e-5
    )
    labels = out.argmax(1)
    assert np.isfinite(metrics.negative_log_likelihood(out, labels))
    with pytest.raises(ValueError, match=r"classes must be indices in \[0, 7\)"):
        metrics.restrict_classes(logits, [3, 7])
