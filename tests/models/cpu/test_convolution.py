"""Convolutions against PyTorch's in float64, on every path, in loops and out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.models.cpu import convolution
from augmax_jax.models.cpu.convolution import Conv, conv
from augmax_jax.models.cpu.normalization import Activation

# kernel size, stride, height, width, channels in, out, groups
CASES = [
    (3, 1, 8, 8, 6, 4, 1),
    (3, 1, 7, 5, 3, 4, 1),
    (3, 2, 8, 6, 4, 6, 1),
    (3, 2, 7, 9, 4, 6, 1),
    (3, 2, 8, 7, 4, 6, 1),
    (1, 1, 6, 5, 4, 6, 1),
    (1, 2, 8, 8, 4, 6, 1),
    (1, 2, 7, 5, 4, 6, 1),
    (7, 2, 16, 18, 3, 4, 1),
    (7, 2, 15, 17, 3, 4, 1),
    (5, 3, 11, 10, 2, 3, 1),
    (3, 1, 6, 6, 8, 12, 4),
    (3, 2, 6, 6, 8, 8, 2),
    (1, 1, 4, 4, 8, 8, 4),
    (3, 1, 8, 5, 64, 64, 1),  # from here on, by Winograd's method on the CPU
    (3, 2, 12, 10, 8, 12, 4),
]
DEAR = pytest.param((3, 1, 12, 8, 128, 128, 2), marks=pytest.mark.slow)
NAMES = ["auto", "canonical", "plain"]


def _example(rng, case, batch=19):  # chunks of 8 for the kernel's gradient, and 3 images
    k, _, height, width, channels, features, groups = case
    x = rng.normal(size=(batch, height, width, channels))
    kernel = rng.normal(size=(k, k, channels // groups, features))
    return x, kernel


def _gradients(x, kernel, g, *, stride, groups, name):
    def f(x, kernel):
        with convolution.implementation(name):
            return conv(x, kernel, stride=stride, groups=groups)

    y, vjp = jax.vjp(f, x, kernel)
    return y, *vjp(g)


@pytest.mark.parametrize("case", [*CASES, DEAR], ids=str)
def test_values_and_gradients_equal_those_of_pytorch(rng, case):
    torch = pytest.importorskip("torch")
    k, stride, *_, groups = case
    x, kernel = _example(rng, case)
    tx = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    tw = torch.tensor(kernel.transpose(3, 2, 0, 1), requires_grad=True)
    ty = torch.nn.functional.conv2d(tx, tw, stride=stride, padding=k // 2, groups=groups)
    g = rng.normal(size=tuple(ty.shape))
    ty.backward(torch.tensor(g))
    expected = (
        ty.detach().numpy().transpose(0, 2, 3, 1),
        tx.grad.numpy().transpose(0, 2, 3, 1),
        tw.grad.numpy().transpose(2, 3, 1, 0),
    )
    with jax.enable_x64(True):
        for name in NAMES:
            results = jax.jit(_gradients, static_argnames=("stride", "groups", "name"))(
                x, kernel, g.transpose(0, 2, 3, 1), stride=stride, groups=groups, name=name
            )
            for result, reference in zip(results, expected, strict=True):
                assert result.dtype == jnp.float64
                np.testing.assert_allclose(result, reference, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("case", "batch"), [(CASES[0], 5), *((CASES[i], 19) for i in (0, 2, 6, 11, 14, 15))], ids=str
)
def test_an_activation_gives_the_gradients_of_its_formula(rng, case, batch):
    _, stride, _, _, channels, _, groups = case
    x, kernel = _example(rng, case, batch)
    rows = (batch, 1, 1, channels)
    center, scale, shift = (rng.normal(size=s) for s in (rows, rows, (1, 1, 1, channels)))

    def loss(name, arguments, kernel):
        with convolution.implementation(name):
            value = Activation.of(*arguments)
            return jnp.sum(jnp.sin(conv(value, kernel, stride=stride, groups=groups)))

    def formula(arguments, kernel):
        x, center, scale, shift = arguments
        value = jax.nn.relu((x - center) * scale + shift)
        with convolution.implementation("plain"):
            return jnp.sum(jnp.sin(conv(value, kernel, stride=stride, groups=groups)))

    with jax.enable_x64(True):
        arguments = ((x, center, scale, shift), kernel)
        expected = jax.value_and_grad(formula, argnums=(0, 1))(*arguments)
        for name in NAMES:
            function = jax.value_and_grad(functools.partial(loss, name), argnums=(0, 1))
            # Compiled as one program, and once operation by operation, which takes longer.
            for compute in (
                (function, jax.jit(function)) if case is CASES[0] else (jax.jit(function),)
            ):
                jax.tree.map(
                    functools.partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-10),
                    compute(*arguments),
                    expected,
                )


def test_activations_halve_the_memory_of_training():
    """Alternating norms and convolutions keep the norms' inputs, not their results."""
    layers, image = 12, jnp.zeros((16, 16, 16, 8))
    kernels = jnp.zeros((layers, 3, 3, 8, 8))

    def loss(kernels, x, wrap):
        for kernel in kernels:
            coefficients = (x.mean((0, 1, 2)), jnp.ones(8), jnp.ones(8))
            x = conv(wrap(Activation.of(x, *coefficients)), kernel)
        return jnp.sum(x)

    def kept(wrap):
        step = jax.jit(jax.grad(functools.partial(loss, wrap=wrap)))
        return step.lower(kernels, image).compile().memory_analysis().temp_size_in_bytes

    with_source, without = kept(lambda a: a), kept(lambda a: a.value)
    assert without >= 1.9 * layers * image.nbytes
    assert with_source <= 0.65 * without


def test_the_program_does_not_grow_with_the_batch():
    def lines(batch):
        x, kernel = jnp.zeros((batch, 16, 16, 4)), jnp.zeros((3, 3, 4, 4))
        gradient = jax.jit(jax.grad(lambda w, x: jnp.sum(conv(x, w) ** 2)))
        return gradient.lower(kernel, x).compile().as_text().count("\n")

    assert lines(256) < 1.1 * lines(64)


@pytest.mark.parametrize("case", [CASES[i] for i in (0, 2, 6, 11, 15)], ids=str)
def test_gradients_inside_a_loop_equal_those_outside(rng, case):
    _, stride, *_, groups = case
    x, kernel = _example(rng, case)

    def loss(x, kernel):
        return jnp.sum(jnp.sin(conv(x, kernel, stride=stride, groups=groups)))

    def body(_, carry):
        x, kernel = carry
        dx, dw = jax.grad(loss, argnums=(0, 1))(x, kernel)
        return x - 0.1 * dx, kernel - 0.1 * dw

    with jax.enable_x64(True):
        inside = jax.jit(lambda *carry: jax.lax.fori_loop(0, 3, body, carry))(x, kernel)
        with convolution.implementation("plain"):
            outside = (jnp.asarray(x), jnp.asarray(kernel))
            for _ in range(3):
                outside = body(0, outside)
        for a, b in zip(inside, outside, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_cpu_gets_canonical_convolutions_and_other_platforms_plain_ones():
    x, kernel = jnp.zeros((16, 8, 8, 4)), jnp.zeros((3, 3, 4, 4))
    step = jax.jit(jax.grad(lambda x, w: jnp.sum(conv(x, w) ** 2), argnums=(0, 1)))
    traced = step.trace(x, kernel)
    forms = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    # The plain weight gradient swaps batch and features in its labels.
    assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in forms["cpu"]
    assert "[f, 0, 1, b]" not in forms["cpu"]
    assert "[f, 0, 1, b]" in forms["cuda"]
    assert forms["cuda"].count("stablehlo.convolution") == 3  # one choice, not both
    assert "conditional" not in step.lower(x, kernel).compile().as_text()


def test_layers_of_the_same_shapes_are_traced_once():
    x, kernel = jnp.zeros((16, 8, 8, 4)), jnp.zeros((3, 3, 4, 4))

    def convolutions(layers):
        def loss(x, kernel):
            for _ in range(layers):
                x = conv(x, kernel)
            return jnp.sum(x)

        step = jax.jit(jax.grad(loss, argnums=(0, 1)))
        return step.lower(x, kernel).as_text().count("stablehlo.convolution")

    assert convolutions(2) == convolutions(6) == 3


def test_an_unused_kernel_gradient_costs_nothing():
    x, kernel = jnp.zeros((16, 8, 8, 4)), jnp.zeros((3, 3, 4, 4))

    def steps(x, kernel):
        dx = jax.grad(lambda x: jnp.sum(conv(x, kernel) ** 2))
        return jax.lax.fori_loop(0, 2, lambda _, x: x - dx(x), x)

    def flops(f):
        return jax.jit(f).lower(x, kernel).compile().cost_analysis()["flops"]

    assert flops(steps) <= 2.2 * flops(conv)  # a forward and an input gradient


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[11]], ids=str)
def test_lower_precision_stays_near_float64(rng, case, dtype):
    _, stride, *_, groups = case
    x, kernel = (jnp.asarray(a, dtype) for a in _example(rng, case, batch=36))
    g = jnp.ones_like(conv(x, kernel, stride=stride, groups=groups))
    results = _gradients(x, kernel, g, stride=stride, groups=groups, name="canonical")
    with jax.enable_x64(True):
        exact = (jnp.asarray(np.asarray(a, np.float64)) for a in (x, kernel, g))
        references = _gradients(*exact, stride=stride, groups=groups, name="plain")
    bound = {jnp.bfloat16: 1e-2, jnp.float32: 2e-6}[dtype]
    for result, reference in zip(results, references, strict=True):
        assert result.dtype == dtype
        reference = np.asarray(reference)
        error = np.abs(np.asarray(result, np.float64) - reference).max()
        assert error <= bound * np.abs(reference).max()


def test_second_derivatives_and_remat(rng):
    x, kernel = _example(rng, CASES[2])

    def loss(x, kernel):
        return jnp.sum(jnp.tanh(conv(x, kernel, stride=2)))

    def penalty(f):
        return jax.grad(lambda x: jnp.sum(jax.grad(f)(x, kernel) ** 2))

    with jax.enable_x64(True):
        result = penalty(jax.checkpoint(loss))(jnp.asarray(x))
        with convolution.implementation("plain"):
            expected = penalty(loss)(jnp.asarray(x))
        np.testing.assert_allclose(result, expected, rtol=1e-11, atol=1e-11)


def test_pmap_gives_each_device_its_gradient(rng):
    x, kernel = _example(rng, CASES[0], batch=8)
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    gradient = jax.grad(lambda x, w: jnp.sum(conv(x, w) ** 2), argnums=1)
    shards = jax.pmap(gradient, in_axes=(0, None))(x.reshape(2, 4, *x.shape[1:]), kernel)
    np.testing.assert_allclose(shards.sum(0), gradient(x, kernel), rtol=1e-4)


@pytest.mark.parametrize(("dtype", "parameters"), [("bfloat16", "float32"), ("float32", "float32")])
def test_module_keeps_parameters_in_float32(key, dtype, parameters):
    module = Conv(6, 3, stride=2, groups=2, use_bias=True, dtype=dtype)
    variables = module.init(key, jnp.ones((1, 8, 8, 4)))
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype.name), variables["params"])
    assert shapes == {"kernel": ((3, 3, 2, 6), parameters), "bias": ((6,), parameters)}
    y = module.apply(variables, jnp.ones((1, 8, 8, 4)))
    assert (y.shape, y.dtype) == ((1, 4, 4, 6), dtype)


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((8, 8, 3), (3, 3, 3, 4), {}, r"x must be images .* \(8, 8, 3\)"),
        ((1, 8, 8, 3), (2, 2, 3, 4), {}, "odd k"),
        ((1, 8, 8, 3), (3, 5, 3, 4), {}, "kernel must be"),
        ((1, 8, 8, 3), (3, 3, 4, 4), {}, "groups must divide"),
        ((1, 8, 8, 4), (3, 3, 2, 5), {"groups": 2}, "5 out, got 2"),
        ((1, 8, 8, 3), (3, 3, 3, 4), {"stride": 0}, "stride must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        conv(jnp.zeros(x), jnp.zeros(kernel), **options)


def test_dtypes_must_agree():
    with pytest.raises(ValueError, match="dtype of x, float32, got bfloat16"):
        conv(jnp.zeros((1, 4, 4, 1)), jnp.zeros((3, 3, 1, 1), jnp.bfloat16))


def test_unknown_implementation_is_named():
    with (
        pytest.raises(ValueError, match=r"'plane'.* Did you mean 'plain'"),
        convolution.implementation("plane"),
    ):
        pass
