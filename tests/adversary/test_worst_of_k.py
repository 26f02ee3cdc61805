"""Worst-of-k search against a search by hand."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from augmax_jax import augment
from augmax_jax.adversary import worst_of_k
from augmax_jax.runtime.keys import example_keys

BATCH, SIDE, CLASSES = 5, 4, 3


@pytest.fixture
def network(rng):
    weights = rng.normal(size=(SIDE * SIDE * 3, CLASSES)).astype(np.float32)
    return lambda x: x.reshape(len(x), -1) @ weights


def draw(keys):
    return jax.vmap(lambda k: jax.random.uniform(k, (SIDE, SIDE, 3)))(keys)


def losses(network, images, labels):
    scores = log_softmax(np.asarray(network(images), np.float64), axis=1)
    return -scores[np.arange(len(labels)), labels]


def test_finds_what_a_search_finds(network, rng, key):
    labels = rng.integers(0, CLASSES, BATCH)
    result = worst_of_k(key, network, draw, labels, k=7)
    keys = example_keys(key, BATCH)
    tried = [draw(jax.vmap(lambda k, j=j: jax.random.fold_in(k, j))(keys)) for j in range(7)]
    found = np.stack([losses(network, images, labels) for images in tried])
    np.testing.assert_array_equal(result.choice, found.argmax(0))
    np.testing.assert_allclose(result.loss, found.max(0), rtol=1e-5)
    np.testing.assert_allclose(result.first_loss, found[0], rtol=1e-5, atol=1e-5)
    for i in range(BATCH):
        np.testing.assert_array_equal(result.images[i], tried[result.choice[i]][i])
    np.testing.assert_array_equal(result.candidate, result.images)


def test_more_draws_never_do_less(network, rng, key):
    labels = rng.integers(0, CLASSES, BATCH)
    before = worst_of_k(key, network, draw, labels, k=1)
    np.testing.assert_array_equal(before.loss, before.first_loss)
    for k in (2, 8):
        result = worst_of_k(key, network, draw, labels, k=k)
        assert (result.loss >= before.loss).all()
        np.testing.assert_allclose(result.first_loss, before.first_loss, rtol=1e-6)
        before = result
    assert (result.loss > result.first_loss).any()


def test_candidates_may_be_anything_that_makes_images(network, rng, key):
    labels = rng.integers(0, CLASSES, BATCH)
    result = worst_of_k(
        key,
        network,
        lambda keys: {"image": draw(keys), "place": jax.vmap(jax.random.bits)(keys)},
        labels,
        to_images=lambda candidate: 1 - candidate["image"],
    )
    np.testing.assert_allclose(result.images, 1 - result.candidate["image"])
    assert result.candidate["place"].shape == (BATCH,)
    np.testing.assert_allclose(losses(network, result.images, labels), result.loss, rtol=1e-5)


def test_worst_levels_keep_operators_and_depths(network, rng, key):
    """Redrawn levels: as AdvMix does it, with operators that show which they are."""
    images = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
    marks = tuple(
        augment.Operator(
            str(i),
            lambda image, level, i=i: image.at[0, 0, i].set(level.astype(np.uint8)),
            lambda level, height, width: level * 20 + 1,
        )
        for i in range(3)
    )
    settings = {"width": 2, "depth": 1, "severity": 10, "operators": marks}
    plain = augment.sample_chains(key, images, **settings)
    same = augment.sample_chains(key, images, **settings, level_key=key)
    np.testing.assert_array_equal(plain, same)
    other = augment.sample_chains(key, images, **settings, level_key=jax.random.key(9))
    changed = np.asarray(plain != other)
    for i in range(BATCH):
        for j in range(2):
            # One operator's mark moved, and it is the operator that both calls drew.
            ours = set(zip(*np.nonzero(np.asarray(plain[i, j]) != images[i]), strict=True))
            theirs = set(zip(*np.nonzero(np.asarray(other[i, j]) != images[i]), strict=True))
            assert ours == theirs
    assert changed.any()


def test_the_place_in_the_batch(network, rng, key):
    labels = rng.integers(0, CLASSES, BATCH)
    whole = worst_of_k(key, network, draw, labels, k=3)
    part = worst_of_k(example_keys(key, 3, first_index=2), network, draw, labels[2:], k=3)
    np.testing.assert_array_equal(whole.images[2:], part.images)


@pytest.mark.parametrize(
    ("labels", "k", "message"),
    [
        (np.zeros(BATCH, int), 0, "k must be at least 1, got 0"),
        (np.zeros(BATCH), 5, "labels must be int"),
        (np.zeros((), int), 5, "labels must be int"),
    ],
)
def test_bad_input(network, key, labels, k, message):
    with pytest.raises(ValueError, match=message):
        worst_of_k(key, network, draw, labels, k=k)
