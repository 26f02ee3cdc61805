"""stAdv: its warp against SciPy, its smoothness against NumPy, its flow by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.ndimage import map_coordinates

from augmax_jax.adversary import flow_smoothness, stadv, warp

BATCH, HEIGHT, WIDTH, CLASSES = 3, 7, 9, 4


@pytest.fixture
def images(rng):
    return rng.random((BATCH, HEIGHT, WIDTH, 3)).astype(np.float32)


@pytest.fixture
def network(rng):
    weights = rng.normal(size=(HEIGHT * WIDTH * 3, CLASSES)).astype(np.float32)
    return lambda x: x.reshape(len(x), -1) @ weights


def make_flow(rng, scale):
    return rng.uniform(-scale, scale, (BATCH, HEIGHT, WIDTH, 2)).astype(np.float32)


@pytest.mark.parametrize("scale", [0.4, 3.0, 30.0])
def test_warp_is_scipys(images, rng, scale):
    flow = make_flow(rng, scale)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for i in range(BATCH):
        places = [rows + flow[i, ..., 1], columns + flow[i, ..., 0]]
        for c in range(3):
            want = map_coordinates(images[i, ..., c], places, order=1, mode="nearest")
            np.testing.assert_allclose(warp(images, flow)[i, ..., c], want, atol=1e-5)


def test_warp_by_whole_pixels_copies(images):
    flow = np.zeros((BATCH, HEIGHT, WIDTH, 2), np.float32)
    np.testing.assert_array_equal(warp(images, flow), images)
    flow[..., 0], flow[..., 1] = 2, -1
    moved = np.asarray(warp(images, flow))
    np.testing.assert_allclose(moved[:, 1:, :-2], images[:, :-1, 2:], atol=1e-7)
    np.testing.assert_allclose(moved[:, 0, :-2], images[:, 0, 2:], atol=1e-7)  # clamped


def test_warp_is_differentiable(images, rng):
    # Away from whole pixels and from the border, where the slope jumps.
    flow = 0.1 + 0.8 * rng.random((BATCH, HEIGHT, WIDTH, 2)).astype(np.float32)
    flow[:, -1, :, 1] *= -1
    flow[:, :, -1, 0] *= -1
    check_grads(warp, (jnp.asarray(images), jnp.asarray(flow)), 1, ["rev"], atol=2e-2, rtol=2e-2)
    # On a pixel: the difference to the next pixel.
    slope = jax.grad(lambda f: warp(images, f).sum())(np.zeros_like(flow))
    np.testing.assert_allclose(
        slope[:, 1:-1, 1:-1, 0], np.diff(images.sum(-1), axis=2)[:, 1:-1, 1:], atol=1e-5
    )


def test_smoothness_is_numpys(rng):
    flow = make_flow(rng, 1.0)
    padded = np.pad(flow.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    total = np.zeros(BATCH)
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                d = padded[:, y + 1, x + 1] - padded[:, y + 1 + dy, x + 1 + dx]
                total += np.sqrt((d**2).sum(-1) + 1e-8)
    np.testing.assert_allclose(flow_smoothness(flow), total, rtol=1e-5)
    even = np.ones_like(flow)
    np.testing.assert_allclose(flow_smoothness(even), 4 * HEIGHT * WIDTH * 1e-4, rtol=1e-4)
    assert np.isfinite(jax.grad(lambda f: flow_smoothness(f).sum())(even)).all()


def cross_entropy(network, images, labels):
    logits = network(jnp.asarray(images))
    return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]


def test_raises_the_loss_within_its_bounds(images, network, rng):
    labels = np.asarray(network(images).argmax(-1))
    settings = {"step_size": 0.1, "max_flow": 0.5, "smoothness": 0.0}
    result = stadv(network, images, labels, steps=12, **settings)
    assert (
        cross_entropy(network, result.images, labels) > cross_entropy(network, images, labels)
    ).all()
    assert np.abs(result.flow).max() == pytest.approx(0.5)
    assert 0 <= result.images.min() <= result.images.max() <= 1
    np.testing.assert_array_equal(result.images, warp(images, result.flow))
    np.testing.assert_allclose(result.smoothness, flow_smoothness(result.flow), rtol=1e-6)


def test_flow_is_zero_where_nothing_moves_the_loss(images, network, rng):
    labels = rng.integers(0, CLASSES, BATCH)
    images[:, :, :4] = 0.25  # a flat patch: no flow within it changes a pixel
    result = stadv(network, images, labels, steps=1, max_flow=1.0)
    assert not np.any(result.flow[:, :, :3])
    assert np.any(result.flow[:, :, 4:])
    for still in ({"steps": 0}, {"step_size": 0.0}, {"max_flow": 0.0}):
        result = stadv(network, images, labels, **still)
        assert not np.any(result.flow)
        np.testing.assert_array_equal(result.images, images)


def test_smoothness_smooths(images, network, rng):
    labels = np.asarray(network(images).argmax(-1))
    rough = stadv(network, images, labels, smoothness=0.0)
    smooth = stadv(network, images, labels, smoothness=1e4)
    assert (smooth.smoothness < 0.7 * rough.smoothness).all()


def test_one_step_is_the_sign_of_the_gradient(images, network, rng):
    labels = rng.integers(0, CLASSES, BATCH)
    result = stadv(network, images, labels, steps=1, step_size=0.2)
    flow = jnp.zeros_like(result.flow)
    slope = jax.grad(lambda f: cross_entropy(network, warp(images, f), labels).sum())(flow)
    np.testing.assert_allclose(result.flow, 0.2 * np.sign(slope), atol=1e-7)
