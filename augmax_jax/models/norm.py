"""Normalisation layers of the paper: BatchNorm, IBN, DuBN and DuBIN (paper Sec. 4.3).

A batch travels a network on one of two *routes*: "clean" (the paper's BNc) or "augmented" (BNa).

    layer      channels [0, C/2)   channels [C/2, C)      statistics live in
    BatchNorm  batch norm          the same               batch_stats
    IBN        instance norm       batch norm             batch_stats
    DuBN       two batch norms, one per route             batch_stats_clean, batch_stats_augmented
    DuBIN      instance norm       two batch norms        batch_stats_clean, batch_stats_augmented

Conventions are those of the paper's PyTorch code: eps 1e-5; running <- 0.9 running + 0.1 batch;
the running variance is the unbiased one, although the batch is normalised with the biased one;
instance norm has affine parameters, shared by the routes, and no running statistics.
"""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from augmax_jax.models.cpu.normalization import Activation, image_moments, scale_and_shift
from augmax_jax.runtime.checks import check_flag, check_shape
from augmax_jax.runtime.errors import check_name

ROUTES = ("clean", "augmented")
EPSILON = 1e-5
MOMENTUM = 0.1  # weight of the new batch, as PyTorch defines it


# The pure functions are jitted so that layers of equal shapes are traced once.
@functools.partial(jax.jit, static_argnames="axis_name")
def batch_moments(
    mean: jax.Array, variance: jax.Array, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Moments of a batch from those of its images, over all devices of an axis if it is given.

    Args:
        mean: mean of each image, float32 `[B, 1, 1, C]`.
        variance: biased variance of each image, float32 `[B, 1, 1, C]`.
        axis_name: mapped axis over which the batch is split evenly, or None.

    Returns:
        `(mean, variance)` of the whole batch, float32 `[1, 1, 1, C]`, the variance biased.
    """

    def average(values: jax.Array) -> jax.Array:
        values = values.mean(0, keepdims=True)
        return values if axis_name is None else jax.lax.pmean(values, axis_name)

    # The mean is synchronised first. Then the spread of the image means around it adds to the
    # variance; averages of squares would cancel.
    batch_mean = average(mean)
    return batch_mean, average(variance + jnp.square(mean - batch_mean))


@jax.jit
def _running(old: jax.Array, new: jax.Array) -> jax.Array:
    return (1 - MOMENTUM) * old + MOMENTUM * jax.lax.stop_gradient(new)


@jax.jit
def _normalising(
    mean: jax.Array, variance: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Center, scale and shift that normalise, and then apply the layer's own scale and bias."""
    return mean, jax.lax.rsqrt(variance + EPSILON) * scale[None, None, None], bias


@jax.jit
def _joined(instance: tuple[jax.Array, ...], batch: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Concatenates values of channels: `[B, 1, 1, C]` with `[1, 1, 1, D]`, or `[C]` with `[D]`."""
    images = instance[0].shape[0]

    def join(first: jax.Array, second: jax.Array) -> jax.Array:
        if second.ndim > 1:
            second = jnp.broadcast_to(second, (images, *second.shape[1:]))
        return jnp.concatenate([first, second], axis=-1)

    return tuple(map(join, instance, batch))


class BatchNorm(nn.Module):
    """Batch norm on all channels.

    The base of the other three, which differ by two class attributes.

    Attributes:
        axis_name: mapped axis over which training statistics are synchronised (the unbiased
            variance then counts the global batch); None: every device has its own statistics.
    """

    dual: ClassVar[bool] = False  # one batch norm per route
    instance: ClassVar[bool] = False  # instance norm on the first half of the channels

    axis_name: str | None = None

    def __call__(
        self, x: jax.Array, *, route: str = "clean", train: bool = False, relu: bool = False
    ) -> jax.Array:
        """Normalises a batch; in training, updates the running statistics of `route` alone.

        Args:
            x: `[B, H, W, C]`, float32 or bfloat16.
            route: "clean" or "augmented". Single norms ignore it.
            train: whether to normalise with the batch's statistics and update the running
                ones, whose collection must then be mutable (see `statistics_collection`).
            relu: whether to apply ReLU to the result.

        Returns:
            Array of the shape and dtype of `x`. Statistics and arithmetic are float32 always.

        Raises:
            ValueError: the route is unknown, `x` is not float `[B, H, W, C]`, or training has one
                value per channel only.
        """
        return scale_and_shift(x, *self.coefficients(x, route, train), relu=relu)

    def activation(self, x: jax.Array, *, route: str = "clean", train: bool = False) -> Activation:
        """`__call__` with ReLU, as the `Activation` that `convolution.conv` takes."""
        return Activation.of(x, *self.coefficients(x, route, train))

    @nn.compact
    def coefficients(
        self, x: jax.Array, route: str, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The arguments of `scale_and_shift` that normalise `x`; arguments as in `__call__`.

        Returns:
            Center, scale and shift of every channel, float32, broadcastable to `x`.

        Raises:
            ValueError: the route is unknown, or training has one value per channel only.
        """
        check_name("route", route, ROUTES)
        check_flag("train", train)
        check_shape("x", x, ("B", "H", "W", "C"))
        channels = x.shape[-1]
        if self.instance and channels < 2:
            raise ValueError("instance norm takes half of the channels, and x has only one")
        half = channels // 2 if self.instance else 0
        batch_scale, batch_bias, mean, variance = self._batch_norms(channels - half, route)

        if train or half:
            # Moments of all channels, though eval mode needs the first half only: a sum over a part
            # would need a copy of that part.
            image_mean, image_variance = image_moments(x)
        if train:
            batch_mean, batch_variance = batch_moments(
                image_mean[..., half:],
                image_variance[..., half:],
                None if self.is_initializing() else self.axis_name,
            )
            if not self.is_initializing():
                count = x.size // channels
                if self.axis_name is not None:
                    count *= jax.lax.psum(1, self.axis_name)
                if count < 2:
                    raise ValueError(
                        f"batch norm needs more than one value per channel in training, "
                        f"got input of shape {x.shape}"
                    )
                unbiased = batch_variance.ravel() * (count / (count - 1))
                # Not `+=`: on NumPy variables that would write into the caller's arrays.
                mean.value = _running(mean.value, batch_mean.ravel())
                variance.value = _running(variance.value, unbiased)
        else:
            batch_mean, batch_variance = (v.value[None, None, None] for v in (mean, variance))

        batch = (batch_mean, batch_variance, batch_scale, batch_bias)
        if not half:
            return _normalising(*batch)
        # The coefficients of the halves are joined, so that the image is read and written once.
        images = (image_mean[..., :half], image_variance[..., :half])
        return _normalising(*_joined((*images, *self._affine("instance", half)), batch))

    def _affine(self, name: str, channels: int) -> tuple[jax.Array, jax.Array]:
        prefix = f"{name}_" if name else ""
        return (
            self.param(f"{prefix}scale", nn.initializers.ones, (channels,), jnp.float32),
            self.param(f"{prefix}bias", nn.initializers.zeros, (channels,), jnp.float32),
        )

    def _batch_norms(
        self, channels: int, route: str
    ) -> tuple[jax.Array, jax.Array, nn.Variable, nn.Variable]:
        """Affine parameters and statistics of `route`; initialisation creates both routes'."""
        wanted = route if self.dual else ""
        others = [r for r in ROUTES if r != route] if self.dual and self.is_initializing() else []
        result = {}
        for name in [wanted, *others]:
            collection = _collection(name)
            result[name] = (
                *self._affine(name, channels),
                self.variable(collection, "mean", jnp.zeros, (channels,), jnp.float32),
                self.variable(collection, "var", jnp.ones, (channels,), jnp.float32),
            )
        return result[wanted]


class IBN(BatchNorm):
    """Instance norm on the first half of the channels, batch norm on the rest.

    IBN-a of Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via
    IBN-Net", ECCV 2018.
    """

    instance: ClassVar[bool] = True


class DuBN(BatchNorm):
    """Two batch norms, one per route, each with its own affine parameters and statistics."""

    dual: ClassVar[bool] = True


class DuBIN(BatchNorm):
    """Instance norm on the first half of the channels, DuBN on the rest (paper Sec. 4.3)."""

    dual: ClassVar[bool] = True
    instance: ClassVar[bool] = True


# norm -> (layer where the paper's networks have DuBIN, layer everywhere else)
NORMS: dict[str, tuple[type[BatchNorm], type[BatchNorm]]] = {
    "bn": (BatchNorm, BatchNorm),
    "ibn": (IBN, BatchNorm),
    "dubn": (DuBN, DuBN),
    "dubin": (DuBIN, DuBN),
}


def norm_layer(norm: str, *, instance: bool) -> type[BatchNorm]:
    """The class of a network's norm layer at one position.

    Args:
        norm: "bn", "ibn", "dubn" or "dubin".
        instance: whether DuBIN and IBN networks use instance norm at this position.

    Raises:
        ValueError: the norm is unknown.
    """
    check_name("norm", norm, NORMS)
    return NORMS[norm][0 if instance else 1]


def _collection(route: str) -> str:
    return f"batch_stats_{route}" if route else "batch_stats"


def statistics_collection(norm: str, route: str) -> str:
    """The one Flax collection that a forward pass in training on `route` updates.

    Raises:
        ValueError: the norm or route is unknown.
    """
    check_name("norm", norm, NORMS)
    check_name("route", route, ROUTES)
    return _collection(route if NORMS[norm][1].dual else "")


def statistics_collections(norm: str) -> tuple[str, ...]:
    """All collections of running statistics of a network with this norm.

    Raises:
        ValueError: the norm is unknown.
    """
    return tuple(dict.fromkeys(statistics_collection(norm, route) for route in ROUTES))
