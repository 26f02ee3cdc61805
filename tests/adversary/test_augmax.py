"""Algorithm 1 against a float64 NumPy transcription of it, sample by sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmax_jax import adversary
from augmax_jax.augment import mix
from augmax_jax.runtime.keys import example_keys

BATCH, WIDTH, SIDE, CLASSES = 24, 3, 8, 4


class Network:
    """A two-layer perceptron with its input gradient written out, in float64."""

    def __init__(self, rng: np.random.Generator):
        self.w1 = rng.normal(size=(SIDE * SIDE * 3, 16)) / 8
        self.w2 = rng.normal(size=(16, CLASSES))

    def logits(self, x):
        return np.tanh((x.reshape(len(x), -1) - 0.5) @ self.w1) @ self.w2

    def input_gradient(self, x, labels):
        """Gradient of the cross-entropy of `labels` with respect to x."""
        hidden = np.tanh((x.reshape(len(x), -1) - 0.5) @ self.w1)
        scores = hidden @ self.w2
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        back = ((p - np.eye(CLASSES)[labels]) @ self.w2.T) * (1 - hidden**2)
        return (back @ self.w1.T).reshape(x.shape)

    def jax_logits(self, x):
        w1, w2 = jnp.asarray(self.w1, jnp.float32), jnp.asarray(self.w2, jnp.float32)
        return jnp.tanh((x.reshape(len(x), -1) - 0.5) @ w1) @ w2


def softmax(p):
    e = np.exp(p - p.max())
    return e / e.sum()


def algorithm_1(net, image, chains, label, m, p, *, n, alpha, k, target, count_initial):
    """The paper's Algorithm 1 for one image, in its own order: update, mix, test."""

    def mixed():
        w = softmax(p)
        return (1 - m) * image + m * np.tensordot(w, chains, 1)

    def wrong(x):
        return int(net.logits(x[None])[0].argmax() != label)

    x, c, taken = mixed(), 0, 0
    if count_initial:
        c += wrong(x)
    while taken < n and (k is None or c < k):
        w = softmax(p)
        if target is None:
            g = net.input_gradient(x[None], np.array([label]))[0]
        else:
            g = -net.input_gradient(x[None], np.array([target]))[0]
        g_m = np.sum(g * (np.tensordot(w, chains, 1) - image))
        g_w = np.array([np.sum(g * m * chain) for chain in chains])
        g_p = w * (g_w - np.sum(w * g_w))
        m = np.clip(m + alpha * np.sign(g_m), 0, 1)
        p = p + alpha * np.sign(g_p)
        x = mixed()
        taken += 1
        c += wrong(x)
    return x, m, p, taken


@pytest.fixture
def problem(rng):
    net = Network(rng)
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    chains = rng.integers(0, 256, (BATCH, WIDTH, SIDE, SIDE, 3), dtype=np.uint8)
    labels = net.logits(images / 255).argmax(-1)
    labels[::5] = (labels[::5] + 1) % CLASSES  # some are wrong from the start
    m, p = rng.random(BATCH), rng.random((BATCH, WIDTH))
    return net, images, chains, labels, m, p


@pytest.mark.parametrize("steps", [0, 1, 5, 10])
@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("count_initial", [False, True])
@pytest.mark.parametrize("targeted", [False, True])
def test_equals_the_transcription(problem, steps, patience, count_initial, targeted):
    net, images, chains, labels, m, p = problem
    targets = (labels + 1) % CLASSES if targeted else None
    result = jax.jit(
        lambda *a: adversary.augmax(
            net.jax_logits,
            *a,
            steps=steps,
            patience=patience,
            count_initial=count_initial,
            targets=targets,
        )
    )(images, chains, labels, m, p)
    for i in range(BATCH):
        x, m_i, p_i, taken = algorithm_1(
            net, images[i] / 255, chains[i] / 255, labels[i], m[i], p[i],
            n=steps, alpha=0.1, k=patience, count_initial=count_initial,
            target=None if targets is None else targets[i],
        )  # fmt: skip
        assert result.steps[i] == taken
        np.testing.assert_allclose(result.m[i], m_i, atol=1e-6)
        np.testing.assert_allclose(result.p[i], p_i, atol=1e-6)
        np.testing.assert_allclose(result.images[i], x, atol=1e-6)
    if steps == 10 and patience == 1 and not targeted:
        # The problem must exercise both ends: early stops and samples never fooled.
        assert {1, 10} <= set(np.asarray(result.steps).tolist()) | {1 - count_initial, 10}
        assert len(set(np.asarray(result.steps).tolist())) > 2


def test_without_early_stop_every_sample_takes_every_step(problem):
    net, images, chains, labels, m, p = problem
    result = adversary.augmax(
        net.jax_logits, images, chains, labels, m, p, steps=4, early_stop="none"
    )
    assert (result.steps == 4).all()
    x, *_ = algorithm_1(
        net, images[0] / 255, chains[0] / 255, labels[0], m[0], p[0],
        n=4, alpha=0.1, k=None, target=None, count_initial=False,
    )  # fmt: skip
    np.testing.assert_allclose(result.images[0], x, atol=1e-6)


def test_batch_stop_moves_all_until_all_are_wrong(problem):
    net, images, chains, labels, m, p = problem
    arguments = (net.jax_logits, images, chains, labels, m, p)
    released = adversary.augmax(*arguments, early_stop="batch", count_initial=True)
    plain = adversary.augmax(*arguments, early_stop="none")
    # One sample is never fooled, so nothing stops: the released code's behaviour.
    np.testing.assert_array_equal(released.images, plain.images)
    wrong = (labels + 1) % CLASSES
    all_wrong = adversary.augmax(
        net.jax_logits, images[1:2], images[1:2, None], wrong[1:2], m[1:2], p[1:2, :1],
        early_stop="batch", count_initial=True,
    )  # fmt: skip
    assert (all_wrong.steps == 0).all()


def test_is_deterministic_and_blocks_gradients(problem):
    net, *arrays = problem
    run = jax.jit(lambda *a: adversary.augmax(net.jax_logits, *a))
    for a, b in zip(run(*arrays), run(*arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    images, chains, labels, m, p = arrays

    def through(m):
        return adversary.augmax(net.jax_logits, images, chains, labels, m, p, steps=0).images.sum()

    assert (jax.grad(through)(jnp.asarray(m, jnp.float32)) == 0).all()


def test_samples_do_not_influence_each_other(problem):
    net, *arrays = problem
    whole = adversary.augmax(net.jax_logits, *arrays)
    half = adversary.augmax(net.jax_logits, *(a[: BATCH // 2] for a in arrays))
    np.testing.assert_array_equal(whole.steps[: BATCH // 2], half.steps)
    np.testing.assert_allclose(whole.images[: BATCH // 2], half.images, atol=1e-6)


@settings(max_examples=6, deadline=None)  # each compiles
@given(steps=st.integers(0, 12), step_size=st.floats(0.01, 0.5), seed=st.integers(0, 99))
def test_stays_in_its_set(steps, step_size, seed):
    rng = np.random.default_rng(seed)
    net = Network(rng)
    images = rng.integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    chains = rng.integers(0, 256, (6, WIDTH, SIDE, SIDE, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, 6)
    m, p = adversary.random_start(jax.random.key(seed), 6, WIDTH)
    result = adversary.augmax(
        net.jax_logits, images, chains, labels, m, p, steps=steps, step_size=step_size
    )
    assert ((result.m >= 0) & (result.m <= 1)).all()
    assert ((result.steps >= min(steps, 1)) & (result.steps <= steps)).all()
    assert (np.abs(result.p - p) <= np.asarray(result.steps)[:, None] * step_size + 1e-5).all()
    low = np.minimum(images, chains.min(1)) / 255 - 1e-6
    high = np.maximum(images, chains.max(1)) / 255 + 1e-6
    assert ((result.images >= low) & (result.images <= high)).all()
    weights = jax.nn.softmax(result.p)
    np.testing.assert_allclose(result.images, mix(images, chains, result.m, weights), atol=1e-6)


def test_random_start_and_targets(key):
    m, p = adversary.random_start(key, 4000, WIDTH)
    draws = np.concatenate([m[:, None], p], axis=1)
    assert ((draws >= 0) & (draws < 1)).all()
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.03)
    labels = jnp.arange(4000) % CLASSES
    targets = adversary.random_targets(key, labels, CLASSES)
    assert (targets != labels).all()
    counts = np.bincount(np.asarray((targets - labels) % CLASSES), minlength=CLASSES)
    np.testing.assert_allclose(counts[1:] / 4000, 1 / 3, atol=0.03)
    # A device that holds the second half draws what the whole batch draws there.
    late = adversary.random_start(example_keys(key, 2000, first_index=2000), 2000, WIDTH)
    np.testing.assert_array_equal(m[2000:], late[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 8, 8, 3), np.float32)}, "images must be uint8"),
        ({"images": np.zeros((2, 8, 8), np.uint8)}, "images must be uint8"),
        ({"chains": np.zeros((2, 3, 8, 9, 3), np.uint8)}, "chains must be uint8"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, "not empty"),
        ({"labels": np.zeros(3, int)}, r"labels must be int \[2\]"),
        ({"m": np.zeros((2, 1))}, "m must be float"),
        ({"p": np.zeros((2, 4))}, "p must be float"),
        ({"targets": np.zeros(1, int)}, r"targets must be int \[2\]"),
        ({"targets": np.full(2, 3)}, "below the 3 classes of logits_fn, got 3"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"step_size": 0.0}, "step_size must be above 0"),
        ({"count_initial": 1}, "count_initial must be True or False"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"early_stop": "sampl"}, "Did you mean 'sample'"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {
        "images": np.zeros((2, 8, 8, 3), np.uint8),
        "chains": np.zeros((2, 3, 8, 8, 3), np.uint8),
        "labels": np.zeros(2, int),
        "m": np.zeros(2),
        "p": np.zeros((2, 3)),
    }
    with pytest.raises(ValueError, match=message):
        adversary.augmax(lambda x: x[:, 0, 0], **(good | change))
