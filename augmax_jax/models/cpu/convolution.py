"""Convolutions that are fast on every backend, in loops too; models do not know which they get.

XLA:CPU has fast kernels only for convolutions in canonical form (NHWC x HWIO -> NHWC, no window
reversal). It rewrites others into that form in the entry computation of a program, but not inside
`while_loop` or `scan`, where autodiff's gradients of a convolution are then 6 to 500 times slower
(docs/performance_log.md has the figures). So on the CPU the two gradients are written out here, as
canonical convolutions of explicitly transposed arrays. Other backends get the plain operation and
its autodiff gradients. The choice is made when a program is lowered, by the platform that it is
lowered for. So a process with an accelerator also gets the fast form when it compiles for its CPU.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from augmax_jax.models.cpu import winograd
from augmax_jax.models.cpu.normalization import Activation, at_least_float32, scale_and_shift
from augmax_jax.runtime.errors import check_name

IMPLEMENTATIONS = ("auto", "canonical", "plain")
_implementation = contextvars.ContextVar("convolution_implementation", default="auto")

# The gradient of a kernel contracts over batch and space. It is summed over chunks of this many
# images, so that its operands and their transposes stay in the cache (docs/performance_log.md).
CHUNK = 8
SMALL_CHUNK = 64  # the chunk for images of at most this many pixels:
SMALL_PIXELS = 64


@contextlib.contextmanager
def implementation(name: str) -> Iterator[None]:
    """Forces one implementation of convolutions, for tests and measurements.

    It acts on functions that are *traced* inside the `with` block: a jitted function keeps the
    implementation that it was traced with.

    Args:
        name: "canonical" (gradients written out in canonical form), "plain" (XLA's convolution
            and its autodiff) or "auto" (canonical on the CPU, plain elsewhere; the default).

    Raises:
        ValueError: the name is unknown.
    """
    check_name("implementation", name, IMPLEMENTATIONS)
    token = _implementation.set(name)
    try:
        yield
    finally:
        _implementation.reset(token)


def current_implementation() -> str:
    """The name of the implementation that is in force."""
    return _implementation.get()


def for_platform(canonical: Callable, plain: Callable, name: str, *args):
    """Calls `canonical` on the CPU and `plain` elsewhere, or the one that `name` forces.

    Args:
        canonical: function of `args`.
        plain: another function with the same results.
        name: one of `IMPLEMENTATIONS`.
        *args: arrays.
    """
    if name == "auto":
        return lax.platform_dependent(*args, cpu=canonical, default=plain)
    return canonical(*args) if name == "canonical" else plain(*args)


def conv(
    x: jax.Array | Activation, kernel: jax.Array, *, stride: int = 1, groups: int = 1
) -> jax.Array:
    """Convolves images with a square kernel, zero-padded by half its size on every side.

    Args:
        x: images, float `[B, H, W, C]`, or an `Activation`. For an activation on the CPU, the
            kernel's gradient keeps the source and not the value.
        kernel: `[k, k, C / groups, O]` with odd k, of the dtype of `x`.
        stride: step of the kernel along height and width.
        groups: number of groups of the input channels and of the output channels.

    Returns:
        `[B, ceil(H / stride), ceil(W / stride), O]`, of the dtype of `x`.

    Raises:
        ValueError: shapes, dtypes, stride and groups do not fit together.
    """
    x, source = x if isinstance(x, Activation) else (x, None)
    _check(x, kernel, stride, groups)
    name = current_implementation()
    if name == "plain":
        return _plain(x, kernel, stride, groups)
    return _conv(x, source, kernel, stride, groups, name)


class Conv(nn.Module):
    """`conv` with parameters: "kernel" `[k, k, C / groups, features]`, "bias" `[features]`.

    Attributes:
        features: output channels.
        kernel_size: side k of the kernel, odd.
        stride: as in `conv`.
        groups: as in `conv`.
        use_bias: whether to add a bias.
        kernel_init: initialiser of the kernel.
        bias_init: initialiser of the bias.
        dtype: dtype of computation and result; parameters are float32 (float64 if `dtype` is).
    """

    features: int
    kernel_size: int
    stride: int = 1
    groups: int = 1
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
    dtype: jax.typing.DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array | Activation) -> jax.Array:
        """Convolves `x`, `[B, H, W, C]`."""
        value, source = x if isinstance(x, Activation) else (x, None)
        channels = value.shape[-1]
        if self.groups < 1 or channels % self.groups:
            raise ValueError(f"groups must divide the {channels} channels, got {self.groups}")
        parameter_dtype = at_least_float32(self.dtype)
        shape = (self.kernel_size, self.kernel_size, channels // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, parameter_dtype)
        value = value.astype(self.dtype)
        y = conv(
            value if source is None else Activation(value, source),
            kernel.astype(self.dtype),
            stride=self.stride,
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), parameter_dtype)
            y = y + bias.astype(self.dtype)[None, None, None]
        return y


def _check(x: jax.Array, kernel: jax.Array, stride: int, groups: int) -> None:
    """Raises ValueError unless the arguments of `conv` fit together."""
    if x.ndim != 4:
        raise ValueError(f"x must be images [B, H, W, C], got shape {x.shape}")
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(f"kernel must be [k, k, C, O] with odd k, got shape {kernel.shape}")
    if x.dtype != kernel.dtype:
        raise ValueError(f"kernel must have the dtype of x, {x.dtype}, got {kernel.dtype}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    if groups < 1 or kernel.shape[3] % groups or kernel.shape[2] * groups != x.shape[3]:
        raise ValueError(
            f"groups must divide the channels, {x.shape[3]} in (kernel: {kernel.shape[2]} a group) "
            f"and {kernel.shape[3]} out, got {groups}"
        )


def _canonical(x, kernel, *, stride=1, padding, lhs_dilation=1, rhs_dilation=1, groups=1):
    """A convolution in the one form that XLA:CPU has fast kernels for."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=padding,
        lhs_dilation=(lhs_dilation, lhs_dilation),
        rhs_dilation=(rhs_dilation, rhs_dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _plain(x, kernel, stride, groups):
    """XLA's own convolution."""
    half = kernel.shape[0] // 2
    return _canonical(x, kernel, stride=stride, padding=[(half, half)] * 2, groups=groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _conv(x, source, kernel, stride, groups, name):
    """`source` is what x was computed from, or None. It adds no information: no gradient."""
    return _value(x, kernel, stride=stride, groups=groups, name=name)


def _conv_forward(x, source, kernel, stride, groups, name):
    return _conv(x, source, kernel, stride, groups, name), (x, source, kernel)


def _conv_backward(stride, groups, name, residuals, g):
    x, source, kernel = residuals
    options = {"stride": stride, "groups": groups, "name": name}
    # Each gradient has its own choice, so that XLA can drop the one that a loop does not need.
    dx = _dx(kernel, g, size=x.shape[1:3], **options)
    return dx, None, _dw(x, source, kernel, g, **options)


# Jitted, so that layers of equal shapes are traced once.
@functools.partial(jax.jit, static_argnames=("stride", "groups", "name"))
def _value(x, kernel, *, stride, groups, name):
    def canonical(x, kernel):
        return _grouped(functools.partial(_forward, stride=stride), groups, x, kernel)

    def plain(x, kernel):
        return _plain(x, kernel, stride, groups)

    return for_platform(canonical, plain, name, x, kernel)


@functools.partial(jax.jit, static_argnames=("size", "stride", "groups", "name"))
def _dx(kernel, g, *, size, stride, groups, name):
    height, width = size

    def canonical(kernel, g):
        dx = functools.partial(_input_gradient, height=height, width=width, stride=stride)
        return _grouped(dx, groups, g, kernel)

    def plain(kernel, g):
        x = jnp.zeros((g.shape[0], *size, kernel.shape[2] * groups), g.dtype)
        return jax.vjp(lambda x: _plain(x, kernel, stride, groups), x)[1](g)[0]

    return for_platform(canonical, plain, name, kernel, g)


@functools.partial(jax.jit, static_argnames=("stride", "groups", "name"))
def _dw(x, source, kernel, g, *, stride, groups, name):
    """Reads either x or its source; XLA drops the other one, so that it need not be kept."""

    def canonical(x, source, kernel, g):
        k = kernel.shape[0]
        dw = functools.partial(_kernel_gradient, k=k, stride=stride)

        def of(images):
            x, source, g = images
            x = x if source is None else _recomputed(source, g).astype(g.dtype)
            return _grouped(dw, groups, x, g)

        pixels = x.shape[1] * x.shape[2]
        chunk = x.shape[0] if k == 1 else SMALL_CHUNK if pixels <= SMALL_PIXELS else CHUNK
        images = (x, None, g) if source is None else (None, source, g)
        return _sum_over_chunks(of, images, chunk).transpose(1, 2, 0, 3).astype(kernel.dtype)

    def plain(x, source, kernel, g):
        return jax.vjp(lambda kernel: _plain(x, kernel, stride, groups), kernel)[1](g)[0]

    return for_platform(canonical, plain, name, x, source, kernel, g)


_conv.defvjp(_conv_forward, _conv_backward)


def _grouped(operation, groups, a, b):
    """Applies an ungrouped operation to every group of the last axes of `a` and `b`."""
    if groups == 1:
        return operation(a, b)
    pairs = zip(jnp.split(a, groups, axis=-1), jnp.split(b, groups, axis=-1), strict=True)
    return jnp.concatenate([operation(*pair) for pair in pairs], axis=-1)


def _recomputed(source, g):
    """The activation that `source` gives, computed again once the gradient `g` exists."""
    x, center, scale, shift = source
    # The computation uses a part of g. Otherwise XLA would take the value of the forward pass, or
    # compute this one during that pass, and keep it until now. (XLA drops optimization barriers on
    # the CPU.)
    nothing = (0 * g[:1, :1, :1, :1]).astype(shift.dtype)
    return scale_and_shift(x, center, scale, shift + nothing, relu=True)


def _forward(x, kernel, *, stride):
    k, _, channels, features = kernel.shape
    if k > 1:
        return _same(x, kernel) if stride == 1 else _plain(x, kernel, stride, 1)
    x = x[:, ::stride, ::stride]
    return (x.reshape(-1, channels) @ kernel[0, 0]).reshape(*x.shape[:3], features)


def _same(x, kernel):
    """A convolution of stride 1, by the fastest algorithm."""
    return winograd.convolve(x, kernel) if winograd.pays(x, kernel) else _plain(x, kernel, 1, 1)


def _input_gradient(g, kernel, *, height, width, stride):
    k, _, channels, features = kernel.shape
    half = k // 2
    if k == 1:
        dx = (g.reshape(-1, features) @ kernel[0, 0].T).reshape(*g.shape[:3], channels)
        if stride == 1:
            return dx
        edges = [(n - 1) % stride for n in (height, width)]
        spread = [(0, 0, 0), *((0, edge, stride - 1) for edge in edges), (0, 0, 0)]
        return lax.pad(dx, jnp.zeros((), dx.dtype), spread)
    transposed = kernel.transpose(0, 1, 3, 2)
    if stride == 1:
        return _same(g, transposed[::-1, ::-1])
    if k == 3 and stride == 2 and height % 2 == 0 and width % 2 == 0:
        return _input_gradient_by_phases(g, transposed)
    padding = [
        (half, n + half - 1 - (h - 1) * stride)
        for n, h in zip((height, width), g.shape[1:3], strict=True)
    ]
    return _canonical(g, transposed[::-1, ::-1], padding=padding, lhs_dilation=stride)


def _input_gradient_by_phases(g, transposed):
    """Input gradient of a 3x3 convolution of stride 2: even and odd pixels use different taps."""
    b, h, w, _ = g.shape
    taps = (slice(1, 2), slice(None, None, -2))  # taps of even pixels, taps of odd pixels
    rows = [
        [_canonical(g, transposed[taps[i], taps[j]], padding=[(0, i), (0, j)]) for j in (0, 1)]
        for i in (0, 1)
    ]
    phases = jnp.stack([jnp.stack(row, axis=3) for row in rows], axis=2)
    return phases.reshape(b, 2 * h, 2 * w, phases.shape[-1])


def _sum_over_chunks(function, arrays, size):
    """Sums `function` over chunks of `size` images of the arrays `[B, ...]`.

    It is a loop, so that the time to compile does not grow with the batch.
    """
    batch = jax.tree.leaves(arrays)[0].shape[0]
    if batch <= size:
        return function(arrays)

    def part(start, size):
        # Slices, because XLA:CPU would copy arrays that are reshaped to chunks.
        return function(jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, size), arrays))

    rest = batch % size
    zeros = jnp.zeros_like(jax.eval_shape(lambda: part(0, size)))
    total = part(batch - rest, rest) if rest else zeros
    # Two chunks at a time, so that one is transposed while the other is convolved.
    return lax.fori_loop(0, batch // size, lambda i, t: t + part(i * size, size), total, unroll=2)


def _kernel_gradient(x, g, *, k, stride):
    """`[C, k, k, O]`, in at least float32."""
    height, width, channels = x.shape[1:]
    h, w, features = g.shape[1:]
    wide = at_least_float32(x.dtype)
    if k == 1:
        x = x[:, ::stride, ::stride].reshape(-1, channels)
        return (x.T @ g.reshape(-1, features)).astype(wide)[:, None, None]
    half = k // 2
    return _canonical(
        x.transpose(3, 1, 2, 0),  # channels act as the batch, images as the channels
        g.transpose(1, 2, 0, 3),
        padding=[(half, (out - 1) * stride + k - n - half) for n, out in ((height, h), (width, w))],
        rhs_dilation=stride,
    ).astype(wide)
