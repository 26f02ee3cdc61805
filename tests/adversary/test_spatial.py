"""Worst-of-k spatial maps against Pillow and a search by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats
from scipy.special import log_softmax

from augmax_jax.adversary.spatial import draw_spatial, spatial_transform, worst_of_k_spatial
from augmax_jax.runtime.keys import example_keys


def pillow(image: np.ndarray, degrees: float, shift) -> np.ndarray:
    """Rotates clockwise about the centre, then moves: the matrix of torchvision's `affine`."""
    height, width, _ = image.shape
    cx, cy = width / 2, height / 2
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    tx, ty = (float(t) for t in shift)
    matrix = (
        *(c, s, c * (-cx - tx) + s * (-cy - ty) + cx),
        *(-s, c, -s * (-cx - tx) + c * (-cy - ty) + cy),
    )
    out = Image.fromarray(image).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=0
    )
    return np.asarray(out)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (17, 40)])
def test_transform_is_pillows(rng, height, width):
    images = rng.integers(1, 256, (200, height, width, 3), dtype=np.uint8)
    degrees = rng.uniform(-30, 30, 200).astype(np.float32)
    degrees[:4] = [0, 10, -30, 30]
    shifts = rng.integers(-3, 4, (200, 2)).astype(np.int32)
    ours = np.asarray(jax.jit(spatial_transform)(images, degrees, shifts))
    for image, angle, shift, out in zip(images, degrees, shifts, ours, strict=True):
        np.testing.assert_array_equal(out, pillow(image, float(angle), shift))


def test_directions():
    image = np.zeros((1, 9, 9, 3), np.uint8)
    image[0, 4, 7] = 255  # right of the centre
    moved = spatial_transform(image, jnp.zeros(1), jnp.array([[1, -2]]))
    assert np.argwhere(np.asarray(moved)[0, ..., 0]).tolist() == [[2, 8]]
    turned = spatial_transform(image, jnp.full(1, 90.0), jnp.zeros((1, 2), jnp.int32))
    assert np.argwhere(np.asarray(turned)[0, ..., 0]).tolist() == [[7, 4]]  # clockwise: below


def test_draws_are_uniform_and_belong_to_examples(key):
    degrees, shifts = draw_spatial(key, 3000, k=2)
    assert degrees.shape == (2, 3000)
    assert shifts.shape == (2, 3000, 2)
    assert stats.kstest(np.ravel(degrees), stats.uniform(-30, 60).cdf).pvalue > 1e-3
    counts = np.array([(np.asarray(shifts) == s).mean() for s in range(-3, 4)])
    # Rounding gives the outermost values half the width of the others.
    np.testing.assert_allclose(counts, np.array([0.5, 1, 1, 1, 1, 1, 0.5]) / 6, atol=0.015)
    part_degrees, part_shifts = draw_spatial(key, 7, k=2, first_index=100)
    np.testing.assert_array_equal(part_degrees, degrees[:, 100:107])
    np.testing.assert_array_equal(part_shifts, shifts[:, 100:107])


@pytest.fixture
def network(rng):
    weights = jnp.asarray(rng.normal(size=(12 * 12 * 3, 5)), jnp.float32)
    return lambda x: jnp.tanh(x.reshape(len(x), -1) @ weights / 4) * 3


@pytest.mark.parametrize("k", [1, 2, 10])
def test_the_worst_of_k_is_found(rng, key, network, k):
    images = rng.integers(0, 256, (16, 12, 12, 3), dtype=np.uint8)
    labels = rng.integers(0, 5, 16)
    result = jax.jit(lambda x, y: worst_of_k_spatial(key, network, x, y, k=k))(images, labels)
    degrees, shifts = draw_spatial(key, 16, k=k)
    candidates = np.stack(
        [
            [pillow(x, float(d), s) for x, d, s in zip(images, degrees[i], shifts[i], strict=True)]
            for i in range(k)
        ]
    )
    flat = network(jnp.asarray(candidates.reshape(-1, 12, 12, 3) / 255, jnp.float32))
    losses = -log_softmax(np.asarray(flat, np.float64).reshape(k, 16, 5), -1)[
        :, np.arange(16), labels
    ]
    worst = losses.argmax(0)
    np.testing.assert_allclose(result.loss, losses.max(0), rtol=1e-5)
    np.testing.assert_array_equal(result.images, candidates[worst, np.arange(16)])
    np.testing.assert_array_equal(result.degrees, degrees[worst, np.arange(16)])
    np.testing.assert_array_equal(result.shift, shifts[worst, np.arange(16)])
    np.testing.assert_allclose(
        result.logits, network(jnp.asarray(result.images, jnp.float32) / 255), atol=1e-5
    )


def test_more_tries_are_less_kind(rng, key, network):
    images = rng.integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    labels = rng.integers(0, 5, 8)
    one, many = (
        jax.jit(lambda x, y, k=k: worst_of_k_spatial(key, network, x, y, k=k))(images, labels)
        for k in (1, 32)
    )
    assert one.loss.mean() < many.loss.mean()


def test_the_identity_is_all_there_is_when_nothing_may_move(rng, key, network):
    images = rng.integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    labels = rng.integers(0, 5, 4)
    still = worst_of_k_spatial(key, network, images, labels, k=2, max_degrees=0, max_pixels=0)
    np.testing.assert_array_equal(still.images, images)
    np.testing.assert_array_equal(still.degrees, 0)


def test_slices_of_a_batch_give_the_same(rng, key, network):
    images = rng.integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    labels = rng.integers(0, 5, 8)

    def worst(key, images, labels):
        return worst_of_k_spatial(key, network, images, labels, k=3).images

    whole = jax.jit(worst)(key, images, labels)
    part = jax.jit(worst)(example_keys(key, 3, first_index=5), images[5:], labels[5:])
    np.testing.assert_array_equal(part, whole[5:])
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(8))
    np.testing.assert_array_equal(jax.jit(worst)(keys, images, labels), whole)
