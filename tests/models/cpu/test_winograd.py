"""Winograd's convolution against NumPy's and SciPy's correlation, and where it is used."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import correlate

from augmax_jax.models.cpu import convolution, winograd
from augmax_jax.runtime import compiler

VALUES = st.floats(-100, 100, allow_nan=False)


@given(rows=arrays(np.float64, 6, elements=VALUES), kernel=arrays(np.float64, 3, elements=VALUES))
def test_the_three_matrices_filter_four_rows(rows, kernel):
    result = winograd.OUTPUT @ ((winograd.KERNEL @ kernel) * (winograd.INPUT @ rows))
    # Terms of the order of 100 * 100 * 8 cancel.
    np.testing.assert_allclose(result, np.correlate(rows, kernel), rtol=1e-12, atol=1e-8)


@pytest.mark.parametrize("shape", [(8, 5, 2, 3), (4, 1, 1, 2), (12, 4, 3, 1)], ids=str)
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-13)])
def test_it_equals_a_direct_correlation(rng, shape, dtype, bound):
    height, width, channels, features = shape
    x = rng.normal(size=(2, height, width, channels)).astype(dtype)
    kernel = rng.normal(size=(3, 3, channels, features)).astype(dtype)
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.stack(
        [
            [
                correlate(image, kernel[..., o].astype(np.float64), mode="valid")[..., 0]
                for o in range(features)
            ]
            for image in padded
        ]
    ).transpose(0, 2, 3, 1)
    with jax.enable_x64(dtype == "float64"):
        result = np.asarray(winograd.convolve(x, kernel))
    assert result.dtype == dtype
    assert np.abs(result - expected).max() <= bound * np.abs(expected).max()


@pytest.mark.parametrize(
    ("x", "kernel", "dtype", "expected"),
    [
        ((2, 8, 8, 64), (3, 3, 64, 64), jnp.float32, True),
        ((2, 56, 56, 64), (3, 3, 64, 128), jnp.float32, True),
        ((2, 8, 8, 64), (3, 3, 64, 64), jnp.bfloat16, False),
        ((2, 8, 8, 32), (3, 3, 32, 64), jnp.float32, False),
        ((2, 8, 8, 64), (3, 3, 64, 32), jnp.float32, False),
        ((2, 4, 4, 512), (3, 3, 512, 512), jnp.float32, False),
        ((2, 14, 14, 256), (3, 3, 256, 256), jnp.float32, False),
        ((2, 8, 8, 64), (1, 1, 64, 64), jnp.float32, False),
        ((2, 8, 8, 64), (5, 5, 64, 64), jnp.float32, False),
    ],
    ids=str,
)
def test_where_it_pays(x, kernel, dtype, expected):
    structs = jax.ShapeDtypeStruct(x, dtype), jax.ShapeDtypeStruct(kernel, dtype)
    assert winograd.pays(*structs) is expected


def _flops(f, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(f).lower(*arguments).compile().cost_analysis()["flops"]


@pytest.mark.parametrize("stride", [1, 2])
def test_networks_use_it_forwards_and_for_the_input_gradient(stride):
    def forward(x, kernel):
        with convolution.implementation("canonical"):
            return convolution.conv(x, kernel, stride=stride)

    def gradient(x, kernel, g):
        return jax.vjp(lambda x: forward(x, kernel), x)[1](g)[0]

    side = 16 // stride
    x, kernel, g = (16, 16, 16, 64), (3, 3, 64, 64), (16, side, side, 64)
    direct = 2 * 16 * side**2 * 9 * 64**2
    # Half of the products, and the sums of rows; a border's products with zeros do not count.
    low, high = (0.4, 0.7) if stride == 1 else (0.9, 1.0)
    assert low < _flops(forward, x, kernel) / direct < high
    if stride == 1:
        assert low < _flops(gradient, x, kernel, g) / direct < high


@pytest.mark.parametrize(("channels", "side"), [(64, 16), (128, 8)])
def test_a_sample_has_the_same_bits_among_any_others(rng, channels, side):
    x = rng.normal(size=(32, side, side, channels)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, channels, channels)).astype(np.float32)
    everything = winograd.convolve(x, kernel)
    for count in (8, 16):
        some = winograd.convolve(x[8 : 8 + count], kernel)
        np.testing.assert_array_equal(some, everything[8 : 8 + count])


def test_a_loop_does_not_copy_the_kernels(rng):
    x = jnp.asarray(rng.normal(size=(8, 8, 8, 64)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 64, 64)), jnp.float32)

    def repeated(x, kernel, count):
        return jax.lax.fori_loop(0, count, lambda _, x: winograd.convolve(x, kernel), x)

    program = jax.jit(repeated, compiler_options=compiler.jit_options("cpu"))
    text = program.lower(x, kernel, 3).compile().as_text()
    bodies = [c for c in text.split("\n\n") if c.count(" convolution(") == len(winograd.KERNEL)]
    assert len(bodies) == 1
    made = re.findall(r"= f32\[1,3,64,64\]\S* ([\w-]+)\(", bodies[0])
    assert set(made) == {"get-tuple-element"}
