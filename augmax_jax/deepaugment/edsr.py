"""EDSR baseline, four times super-resolution: the first network of DeepAugment.

Lim et al. 2017, the variant of 16 residual blocks with 64 channels; 1,517,571 parameters.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.deepaugment.edsr_features import FeatureDamage
from augmax_jax.deepaugment.layers import Layer, Network, Weights, check_weights

BLOCKS = 16
FEATURES = 64
SCALE = 4
MEAN = (0.4488, 0.4371, 0.4040)  # mean of DIV2K: red, green, blue, in [0, 1]
PARAMETERS = 1_517_571


def _conv(inputs: int, outputs: int) -> Layer:
    return Layer(inputs, outputs, kernel=3, padding=(1, 1))


LAYERS: dict[str, Layer] = {
    "head.0": _conv(3, FEATURES),
    **{
        f"body.{block}.body.{module}": _conv(FEATURES, FEATURES)
        for block in range(BLOCKS)
        for module in (0, 2)
    },
    f"body.{BLOCKS}": _conv(FEATURES, FEATURES),
    "tail.0.0": _conv(FEATURES, 4 * FEATURES),
    "tail.0.2": _conv(FEATURES, 4 * FEATURES),
    "tail.1": _conv(FEATURES, 3),
}


class EDSR(Network):
    """float32 `[B, H, W, 3]` in [0, 255] to `[B, 4H, 4W, 3]`, not clipped."""

    LAYERS: ClassVar[Mapping[str, Layer]] = LAYERS

    def __call__(self, images: jax.Array, damage: FeatureDamage | None = None) -> jax.Array:
        """Enlarges images.

        Args:
            images: float `[B, H, W, 3]` in [0, 255].
            damage: damage to each image's activations; None: no damage.

        Returns:
            float `[B, 4 H, 4 W, 3]`, about [0, 255], not clipped.
        """
        mean = 255 * jnp.array(MEAN, images.dtype)[None, None, None]
        head = self.layer("head.0", images - mean)
        if damage is not None:
            head = damage.head(head)
        x = head
        for module in range(BLOCKS + 1):
            inputs = x if damage is None else damage.enter(module, x, head)
            outputs = self._body(module, inputs)
            x = outputs if damage is None else damage.leave(module, outputs, x)
        x = x + head
        for name in ("tail.0.0", "tail.0.2"):
            x = pixel_shuffle(self.layer(name, x), 2)
        return self.layer("tail.1", x) + mean

    def _body(self, module: int, x: jax.Array) -> jax.Array:
        if module == BLOCKS:
            return self.layer(f"body.{module}", x)
        y = nn.relu(self.layer(f"body.{module}.body.0", x))
        return x + self.layer(f"body.{module}.body.2", y)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
    """Turns channels into pixels as PyTorch does: channel c f² + y f + x is pixel (y, x) of c."""
    batch, height, width, channels = x.shape
    out = channels // factor**2
    x = x.reshape(batch, height, width, out, factor, factor)
    x = x.transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, height * factor, width * factor, out)


def check(weights: Mapping[str, np.ndarray]) -> Weights:
    """The weights in a file of EDSR, ours or published.

    The published file also holds the subtraction and addition of the mean, as convolutions
    that are not trained. They must be equal to those of this module.

    Raises:
        ValueError: as in `layers.check_weights`; or the file was trained with another mean.
    """
    rest = dict(weights)
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        kernel, bias = rest.pop(f"{name}.weight", None), rest.pop(f"{name}.bias", None)
        if kernel is not None and not np.allclose(np.reshape(kernel, (3, 3)), np.eye(3)):
            raise ValueError(f"{name}.weight of EDSR must be the identity, got {kernel.tolist()}")
        wanted = sign * 255 * np.array(MEAN)
        if bias is not None and not np.allclose(bias, wanted, atol=1e-2):
            raise ValueError(
                f"{name}.bias of EDSR must be {wanted.tolist()}, got {np.asarray(bias).tolist()}"
            )
    return check_weights(LAYERS, rest, "EDSR baseline x4")


def enlarge(params: Mapping, images: jax.Array, damage: FeatureDamage | None = None) -> jax.Array:
    """uint8 `[B, H, W, 3]` to uint8 `[B, 4H, 4W, 3]`, clipped and truncated.

    The published script truncates too; it does not round.
    """
    enlarged: Any = EDSR().apply({"params": params}, images.astype(jnp.float32), damage)
    return jnp.floor(jnp.clip(enlarged, 0, 255)).astype(jnp.uint8)
