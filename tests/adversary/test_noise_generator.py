"""ANT's generator against SciPy's convolution, its projection against bisection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import bisect
from scipy.signal import correlate

from augmax_jax.adversary import noise_generator as ng
from augmax_jax.runtime.keys import example_keys

SHAPE = (4, 6, 5, 3)


def distance(image, noise, scale):
    return np.linalg.norm(np.clip(image + scale * noise, 0, 1) - image)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8, 0.999])
def test_projection_is_that_of_bisection(rng, share):
    images = rng.random(SHAPE).astype(np.float32)
    images[0].flat[:20], images[0].flat[20:30] = 0, 1  # values already at a bound
    noise = rng.normal(size=SHAPE).astype(np.float32)
    noise[1].flat[::3] = 0
    noise[2] *= 1e-3
    room = np.where(noise > 0, 1 - images, np.where(noise < 0, images, 0))
    norms = share * np.linalg.norm(room.reshape(4, -1), axis=1)
    found = jax.jit(ng.add_noise)(images, noise, norms.astype(np.float32))
    for i in range(4):
        x, d = images[i].astype(np.float64), noise[i].astype(np.float64)
        scale = bisect(lambda s, x=x, d=d, i=i: distance(x, d, s) - norms[i], 0, 1e8, xtol=1e-12)
        np.testing.assert_allclose(found[i], np.clip(x + scale * d, 0, 1), atol=1e-5)
        assert np.linalg.norm(found[i] - images[i]) == pytest.approx(norms[i], rel=1e-5)


def test_beyond_reach_everything_is_at_its_bound(rng):
    images = rng.random(SHAPE).astype(np.float32)
    noise = rng.normal(size=SHAPE).astype(np.float32)
    noise[0].flat[::2] = 0
    found = ng.add_noise(images, noise, 100.0)
    want = np.where(noise > 0, 1, np.where(noise < 0, 0, images))
    np.testing.assert_allclose(found, want, atol=1e-5)
    np.testing.assert_array_equal(ng.add_noise(images, np.zeros(SHAPE, np.float32), 1.0), images)


def test_gradient_flows_through_the_scale(rng):
    images = rng.random((1, 4, 4, 3)).astype(np.float32)
    noise = rng.normal(size=(1, 4, 4, 3))
    slope = rng.normal(size=(1, 4, 4, 3))
    norm = 1.5

    def loss(noise):
        scale = bisect(lambda s: distance(images.astype(np.float64), noise, s) - norm, 0, 1e4)
        return (slope * np.clip(images + scale * noise, 0, 1)).sum()

    step, numeric = 1e-5, np.zeros(noise.size)
    for i in range(noise.size):
        nudge = np.zeros(noise.size)
        nudge[i] = step
        nudge = nudge.reshape(noise.shape)
        numeric[i] = (loss(noise + nudge) - loss(noise - nudge)) / (2 * step)
    ours = jax.grad(lambda n: (slope * ng.add_noise(images, n, norm)).sum())(
        jnp.asarray(noise, jnp.float32)
    )
    np.testing.assert_allclose(np.ravel(ours), numeric, atol=2e-3 * np.abs(numeric).max())


def test_gradient_is_finite_without_noise(rng):
    images = rng.random(SHAPE).astype(np.float32)
    ours = jax.grad(lambda n: ng.add_noise(images, n, 1.0).sum())(jnp.zeros(SHAPE))
    assert np.isfinite(ours).all()


@pytest.mark.parametrize(("kernel", "count"), [(1, 983), (3, 4183)])
def test_generator_starts_near_the_noise_it_gets(rng, key, kernel, count):
    generator = ng.init_generator(key, kernel=kernel)
    assert sum(x.size for x in jax.tree.leaves(generator)) == count
    height, width = 8, 7
    noise = rng.normal(size=(2, height + kernel - 1, width + kernel - 1, 3)).astype(np.float32)
    margin = (kernel - 1) // 2
    inside = noise[:, margin : margin + height, margin : margin + width]
    np.testing.assert_allclose(ng.apply_generator(generator, noise), inside, atol=1e-3)

    # Larger weights, so that the layers show.
    generator = jax.tree.map(lambda x: 0.3 * rng.normal(size=x.shape), generator)
    x = noise.astype(np.float64)
    for i, layer in enumerate(generator):
        x = x if i == 0 else np.maximum(x, 0)
        weights = np.asarray(layer["kernel"])[None]
        x = (
            np.concatenate(
                [
                    np.concatenate(
                        [
                            correlate(x[b : b + 1], weights[..., o], "valid")
                            for o in range(weights.shape[-1])
                        ],
                        axis=-1,
                    )
                    for b in range(2)
                ]
            )
            + layer["bias"]
        )
    np.testing.assert_allclose(ng.apply_generator(generator, noise), x + inside, atol=1e-4)


@pytest.mark.parametrize("kernel", [1, 3])
def test_drawn_noise_belongs_to_the_example(key, kernel):
    generator = ng.init_generator(key, kernel=kernel)
    whole = ng.draw_noise(key, generator, (4, 8, 8, 3))
    part = ng.draw_noise(example_keys(key, 2, first_index=2), generator, (2, 8, 8, 3))
    assert whole.shape == (4, 8, 8, 3)
    np.testing.assert_allclose(whole[2:], part, atol=1e-6)
    assert np.std(whole) == pytest.approx(1, abs=0.1)


def test_history_keeps_the_last_few(key):
    def generator(value):
        return jax.tree.map(lambda x: jnp.full_like(x, value), ng.init_generator(key))

    def drawn(history, count):
        keys = jax.random.split(key, 200)
        recalled = jax.vmap(lambda k: ng.recall(k, history, count))(keys)
        return {float(x) for x in recalled[0]["bias"][:, 0]}

    history = ng.init_history(generator(0), 3)
    history = ng.remember(history, generator(1), 0)
    assert drawn(history, 1) == {1}
    history = ng.remember(history, generator(2), 1)
    assert drawn(history, 2) == {1, 2}
    for count in (2, 3, 4):
        history = ng.remember(history, generator(count + 1), count)
    assert drawn(history, 5) == {3, 4, 5}
