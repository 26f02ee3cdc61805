"""The base class of all networks: input checks, input normalisation, the head, initial values."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from augmax_jax.models.cpu.normalization import at_least_float32
from augmax_jax.models.norm import ROUTES, BatchNorm, norm_layer
from augmax_jax.runtime.checks import check_shape, dtype_of
from augmax_jax.runtime.errors import check_name

Initializer = Callable[..., jax.Array]

# He-normal over the fan out: std sqrt(2 / (k^2 out)), not divided by the number of groups.
HE_FAN_OUT: Initializer = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for convolutions and linear layers.
UNIFORM_FAN_IN: Initializer = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_bias(inputs: int) -> Initializer:
    """U(-1/sqrt(inputs), 1/sqrt(inputs)), PyTorch's default for the bias of a linear layer."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        bound = inputs**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Classifier(nn.Module):
    """Base of the networks: images in [0, 1] to float32 logits, on one of two routes.

    Subclasses create their layers and `head` in `setup` and define `trunk`.

    Attributes:
        num_classes: number of logits.
        norm: "bn", "ibn", "dubn" or "dubin" (`augmax_jax.models.norm`).
        dtype: dtype of convolutions and activations; parameters, statistics, the arithmetic of
            the norms, the pooled features and the logits are float32.
        axis_name: mapped axis over which batch norm is synchronised in training, or None.
        mean: per-channel mean subtracted from the input, or None (no input normalisation;
            `models.create` gives each network its own).
        std: per-channel standard deviation that divides the input, or None.
        remat: whether to recompute blocks in the backward pass and not keep their activations.
    """

    num_classes: int
    norm: str = "dubin"
    dtype: Any = jnp.float32
    axis_name: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    remat: bool = False

    def trunk(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        """Normalised images `[B, H, W, 3]` to the last feature map `[B, H', W', D]`."""
        raise NotImplementedError

    def features(self, x: jax.Array, *, route: str = "clean", train: bool = False) -> jax.Array:
        """Pooled features before the linear layer, float32 `[B, D]`.

        Arguments and errors are those of `__call__`.
        """
        check_name("route", route, ROUTES)
        if dtype_of(x) == jnp.uint8:
            raise ValueError("x must be float with values in [0, 1]: divide uint8 images by 255")
        check_shape("x", x, ("B", "H", "W", 3))
        outer = at_least_float32(self.dtype)
        x = x.astype(outer)
        if self.mean is not None:
            mean, std = (jnp.asarray(v, outer)[None, None, None] for v in (self.mean, self.std))
            x = (x - mean) / std
        return self.trunk(x.astype(self.dtype), route, train).mean((1, 2), dtype=outer)

    def __call__(self, x: jax.Array, *, route: str = "clean", train: bool = False) -> jax.Array:
        """Logits of a batch of images.

        Args:
            x: float `[B, H, W, 3]` with values in [0, 1].
            route: "clean" (for evaluation and clean images) or "augmented" (for augmented and
                attacked images).
            train: whether to normalise with batch statistics. The collection
                `statistics_collection(norm, route)` must then be mutable, and is updated.

        Returns:
            float32 `[B, num_classes]`.

        Raises:
            ValueError: the route is unknown, or `x` has another shape or an integer dtype.
        """
        return self.head(self.features(x, route=route, train=train))

    # Called in `setup` by the networks.

    def norm_at(self, *, instance: bool = False) -> BatchNorm:
        """A norm layer; `instance`: whether the paper's networks have DuBIN here and not DuBN."""
        return norm_layer(self.norm, instance=instance)(axis_name=self.axis_name)

    def block(self, block: type[nn.Module]) -> Callable[..., nn.Module]:
        """The block class, rematerialised if asked; its call takes `(x, route, train)`."""
        return nn.remat(block, static_argnums=(2, 3)) if self.remat else block
