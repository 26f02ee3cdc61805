"""The two passes of normalisation against float64 NumPy, and their gradients against autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax import models
from augmax_jax.models.cpu import convolution
from augmax_jax.models.cpu.normalization import image_moments, scale_and_shift
from augmax_jax.models.norm import norm_layer
from augmax_jax.runtime import compiler


def _plain_moments(x):
    return x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)


def _plain_scale_and_shift(x, center, scale, shift, relu):
    with jax.numpy_rank_promotion("allow"):
        y = (x - center) * scale + shift
    return jax.nn.relu(y) if relu else y


@pytest.mark.parametrize("offset", [0.0, 30.0, -300.0])
def test_moments_equal_float64_numpy_whatever_the_mean(rng, offset):
    x = (rng.normal(size=(3, 16, 12, 5)) * [0.1, 1, 1, 3, 9] + offset).astype(np.float32)
    mean, variance = jax.jit(image_moments)(x)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean((1, 2), keepdims=True), rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(variance, exact.var((1, 2), keepdims=True), rtol=1e-5)


def test_moments_bear_a_first_pixel_unlike_all_others(rng):
    x = rng.normal(size=(3, 16, 12, 5)).astype(np.float32)
    x[:, 0, 0] += 1e4
    mean, variance = image_moments(x)
    exact = x.astype(np.float64)
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(mean, exact.mean((1, 2), keepdims=True), atol=4 * eps * 1e4)
    np.testing.assert_allclose(variance, exact.var((1, 2), keepdims=True), rtol=4 * 16 * 12 * eps)


def test_moments_of_flat_channels_have_no_variance():
    mean, variance = image_moments(jnp.full((2, 8, 8, 3), 1234.567))
    np.testing.assert_allclose(mean, 1234.567, rtol=1e-6)
    np.testing.assert_allclose(variance, 0, atol=1e-6)


@pytest.mark.parametrize("offset", [0, 10, 1000])
def test_the_moments_gradient_loses_no_more_than_the_means_digits(rng, offset):
    x = (rng.normal(size=(2, 16, 16, 4)) + offset).astype(np.float32)
    a, b = rng.normal(size=(2, 2, 1, 1, 4)).astype(np.float32)

    def weighted(x):
        mean, variance = image_moments(x)
        return (a * mean + b * variance).sum()

    wide = x.astype(np.float64)
    exact = (a + 2 * b * (wide - wide.mean((1, 2), keepdims=True))) / 256
    error = np.abs(jax.grad(weighted)(x) - exact).max() / np.abs(exact).max()
    assert error < 4 * np.finfo(np.float32).eps * max(offset, 1)


def test_gradient_of_moments_equals_autodiff(rng):
    x = rng.normal(size=(3, 6, 5, 4)) + 2

    def loss(moments):
        return lambda x: sum(jnp.sum(jnp.sin(value)) for value in moments(x))

    with jax.enable_x64(True):
        np.testing.assert_allclose(
            jax.grad(loss(image_moments))(x), jax.grad(loss(_plain_moments))(x), atol=1e-13
        )


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(4,), (1, 1, 1, 4), (3, 1, 1, 4)], ids=str)
def test_scale_and_shift_and_its_gradients_equal_autodiff(rng, relu, shape):
    x = rng.normal(size=(3, 6, 5, 4))
    values = [rng.normal(size=shape) for _ in range(3)]

    def loss(function, *arguments):
        return jnp.sum(jnp.sin(function(*arguments)))

    def kernel(*arguments):
        return scale_and_shift(*arguments, relu=relu)

    def plain(*arguments):
        return _plain_scale_and_shift(*arguments, relu)

    with jax.enable_x64(True):
        result, expected = (
            jax.value_and_grad(lambda *a, f=f: loss(f, *a), argnums=(0, 1, 2, 3))(x, *values)
            for f in (kernel, plain)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), result, expected)


def test_bfloat16_is_computed_in_float32(rng):
    x = jnp.asarray(rng.normal(size=(2, 8, 8, 4)) + 50, jnp.bfloat16)
    mean, variance = image_moments(x)
    assert mean.dtype == variance.dtype == jnp.float32
    np.testing.assert_allclose(
        variance, np.asarray(x.astype(jnp.float32)).var((1, 2), keepdims=True), rtol=1e-4
    )
    y = scale_and_shift(x, mean, jax.lax.rsqrt(variance), jnp.zeros(4), relu=True)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32).mean(), 0.4, atol=0.05)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("norm", ["bn", "ibn", "dubn", "dubin"])
def test_norm_layers_keep_gradients_of_the_textbook_formula(rng, key, norm, train):
    """Gradients also go through the statistics; some channels are normalised per image."""
    layer = norm_layer(norm, instance=True)()
    x = rng.normal(size=(4, 5, 5, 6)) * 2 + 1
    half = 3 if "i" in norm else 0

    def textbook(x):
        x0, x1 = x[..., :half], x[..., half:]
        axes = (0, 1, 2)
        batch = (x1.mean(axes, keepdims=True), x1.var(axes, keepdims=True)) if train else (0.0, 1.0)
        y1 = (x1 - batch[0]) / jnp.sqrt(batch[1] + 1e-5)
        mean, variance = _plain_moments(x0)
        return jax.nn.relu(jnp.concatenate([(x0 - mean) / jnp.sqrt(variance + 1e-5), y1], -1))

    with jax.enable_x64(True):
        variables = layer.init(key, x.astype(np.float32))
        variables = jax.tree.map(lambda a: a.astype(float), variables)

        def apply(x):
            y, _ = layer.apply(variables, x, train=train, relu=True, mutable=list(variables))
            return y

        result, expected = (
            jax.value_and_grad(lambda x, f=f: jnp.sum(f(x) ** 3))(x) for f in (apply, textbook)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), result, expected)


@pytest.mark.parametrize("train", [True, False])
def test_activation_is_the_layer_with_relu(rng, key, train):
    layer = norm_layer("dubin", instance=True)()
    x = jnp.asarray(rng.normal(size=(4, 5, 5, 6)), jnp.float32)
    variables = layer.init(key, x)
    options = {"route": "augmented", "train": train, "mutable": ["batch_stats_augmented"]}
    expected = layer.apply(variables, x, relu=True, **options)
    activation, updated = layer.apply(variables, x, method="activation", **options)
    jax.tree.map(np.testing.assert_array_equal, (activation.value, updated), expected)
    again = scale_and_shift(*activation.source, relu=True)
    np.testing.assert_array_equal(again, activation.value)


def _descend(trunk, state, train):
    """One step down the gradients of all parameters and the input of a network's feature map."""
    variables, x, _ = state

    def loss(params, x):
        y = trunk({**variables, "params": params}, x, train)
        return jnp.mean(jnp.tanh(y) ** 2 + y)

    gradients = jax.grad(loss, argnums=(0, 1))(variables["params"], x)
    params, x = jax.tree.map(lambda a, g: a - 0.01 * g, (variables["params"], x), gradients)
    return {**variables, "params": params}, x, gradients


@pytest.mark.parametrize(
    ("name", "depth", "options", "shape", "train"),
    [
        ("wrn40_2", 10, {"widen_factor": 1}, (9, 8, 8, 3), True),
        pytest.param(
            *("wrn40_2", 10, {"widen_factor": 1}, (9, 8, 8, 3), False), marks=pytest.mark.slow
        ),
        pytest.param(
            *("resnext29", 11, {"base_width": 4, "cardinality": 2}, (5, 4, 4, 3), True),
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_gradients_of_a_whole_network_equal_the_plain_path_in_float64(
    rng, key, monkeypatch, name, depth, options, shape, train
):
    with jax.enable_x64(True):
        model = models.create(name, 10, norm="dubin", **options)
        model = model.clone(depth=depth, dtype=jnp.float64)
        x = jnp.asarray(rng.uniform(size=shape))
        with jax.numpy_dtype_promotion("standard"):  # parameters are float32 at first
            variables = jax.jit(lambda key: model.init(key, x))(key)
        variables = jax.tree.map(lambda a: a.astype(jnp.float64), variables)
        collections = [c for c in variables if c != "params"] if train else []

        def trunk(variables, x, train):
            return model.apply(
                variables, x, "clean", train, method="trunk", mutable=collections or ["none"]
            )[0]

        start = (variables, x, jax.tree.map(jnp.zeros_like, (variables["params"], x)))

        def loop(state):
            return jax.lax.fori_loop(0, 2, lambda _, state: _descend(trunk, state, train), state)

        *_, fast = jax.jit(loop, compiler_options=compiler.jit_options("cpu"))(start)
        monkeypatch.setattr("augmax_jax.models.norm.image_moments", _plain_moments)
        for module in ("norm", "cpu.normalization"):  # the latter for activations
            monkeypatch.setattr(
                f"augmax_jax.models.{module}.scale_and_shift",
                lambda *a, relu: _plain_scale_and_shift(*a, relu),
            )
        with convolution.implementation("plain"):
            step = jax.jit(lambda state: _descend(trunk, state, train))
            *_, plain = step(step(start))

        def compare(a, b):
            assert a.dtype == jnp.float64
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * max(1, np.abs(b).max()))

        jax.tree.map(compare, fast, plain)
        assert np.abs(plain[1]).max() > 1e-6  # the gradient does reach the images
