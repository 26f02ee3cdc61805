"""The compressive autoencoder of DeepAugment: an image through a code of random bits.

After Theis et al. 2017; 2,241,859 parameters. The code has 32 bits for every 4x4 pixels.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.deepaugment import cae_bottleneck
from augmax_jax.deepaugment.layers import Layer, Network, Weights, check_weights
from augmax_jax.runtime.keys import example_keys

CODE = 32  # channels
STRIDE = 4  # pixels per position of the code, in height and width
PARAMETERS = 2_241_859

_BEFORE = (1, 2)  # zeros before a convolution of stride 2: one before, two after
_INNER = Layer(128, 128, kernel=3, padding=(1, 1))

# In the order of the network; the weight damage numbers layers in this order.
LAYERS: dict[str, Layer] = {
    "e_conv_1.1": Layer(3, 64, kernel=5, stride=2, padding=_BEFORE),
    "e_conv_2.1": Layer(64, 128, kernel=5, stride=2, padding=_BEFORE),
    **{f"e_block_{block}.{place}": _INNER for block in (1, 2, 3) for place in (1, 4)},
    "e_conv_3.0": Layer(128, CODE, kernel=5, padding=(2, 2)),
    "d_up_conv_1.0": Layer(CODE, 64, kernel=3),
    "d_up_conv_1.3": Layer(64, 128, kernel=2, transposed=True),
    **{f"d_block_{block}.{place}": _INNER for block in (1, 2, 3) for place in (1, 4)},
    "d_up_conv_2.0": Layer(128, 32, kernel=3),
    "d_up_conv_2.3": Layer(32, 256, kernel=2, transposed=True),
    "d_up_conv_3.0": Layer(256, 16, kernel=3),
    "d_up_conv_3.3": Layer(16, 3, kernel=3),
}


class CAE(Network):
    """float32 `[B, H, W, 3]` in [0, 1] to about the same image, in [-1, 1].

    The result has 4 floor(H / 4) rows and 4 floor(W / 4) columns.
    """

    LAYERS: ClassVar[Mapping[str, Layer]] = LAYERS

    def __call__(
        self, images: jax.Array, key: jax.Array, bottleneck_id: jax.Array | None = None
    ) -> jax.Array:
        """Encodes images, draws bits and decodes them.

        Args:
            images: float `[B, H, W, 3]` in [0, 1].
            key: one key, or one per image `[B]`.
            bottleneck_id: id of the damage to each image's code, int `[B]`; None: no damage.

        Returns:
            float `[B, 4 (H // 4), 4 (W // 4), 3]` in [-1, 1].
        """
        keys = jax.vmap(jax.random.split)(example_keys(key, images.shape[0]))
        z = self.encode(images)
        gain = None
        if bottleneck_id is not None:
            z, gain = cae_bottleneck.damage(keys[:, 0], z, bottleneck_id)
        code = binarize(keys[:, 1], z)
        return self.decode(code if gain is None else code * gain)

    def encode(self, images: jax.Array) -> jax.Array:
        """float `[B, H, W, 3]` to float `[B, H // 4, W // 4, 32]` in (-1, 1)."""
        x = _activate(self.layer("e_conv_1.1", images))
        x = _activate(self.layer("e_conv_2.1", x))
        x = self._blocks("e", x)
        return jnp.tanh(self.layer("e_conv_3.0", x))

    def decode(self, code: jax.Array) -> jax.Array:
        """Bits `[B, h, w, 32]`, 0 or 1 unless damaged, to images `[B, 4h, 4w, 3]`."""
        x = _activate(self.layer("d_up_conv_1.0", 2 * code - 1))
        x = self.layer("d_up_conv_1.3", _pad(x, 1))
        x = self._blocks("d", x)
        x = _activate(self.layer("d_up_conv_2.0", x))
        x = self.layer("d_up_conv_2.3", _pad(x, 1))
        x = _activate(self.layer("d_up_conv_3.0", x))
        return jnp.tanh(self.layer("d_up_conv_3.3", _pad(x, 2, "reflect")))

    def _blocks(self, half: str, x: jax.Array) -> jax.Array:
        for block in (1, 2, 3):
            y = _activate(self.layer(f"{half}_block_{block}.1", x))
            x = x + self.layer(f"{half}_block_{block}.4", y)
        return x


def binarize(key: jax.Array, z: jax.Array) -> jax.Array:
    """Random bits that are 1 with probability (1 + z) / 2.

    The gradient is that of (1 + z) / 2 (a straight-through estimator).

    Args:
        key: one key, or one per image `[B]`.
        z: float `[B, h, w, C]` in [-1, 1].

    Returns:
        0 or 1, float `[B, h, w, C]`.
    """
    uniform = jax.vmap(lambda k: jax.random.uniform(k, z.shape[1:]))(example_keys(key, len(z)))
    chance = (1 + z) / 2
    bits = (uniform <= chance).astype(z.dtype)
    return bits + (chance - jax.lax.stop_gradient(chance))


def check(weights: Mapping[str, np.ndarray]) -> Weights:
    """The weights in a file of the CAE, ours or published; raises as `layers.check_weights`."""
    return check_weights(LAYERS, weights, "the compressive autoencoder (CAE)")


def reconstruct(
    params: Mapping, key: jax.Array, images: jax.Array, bottleneck_id: jax.Array | None = None
) -> jax.Array:
    """uint8 `[B, H, W, 3]` to uint8 with sides that are multiples of 4, clipped and truncated."""
    scaled = images.astype(jnp.float32) / 255
    out: Any = CAE().apply({"params": params}, scaled, key, bottleneck_id)
    return jnp.floor(255 * jnp.clip(out, 0, 1)).astype(jnp.uint8)


def _activate(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, 0.01)


def _pad(x: jax.Array, width: int, mode: str = "constant") -> jax.Array:
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), mode=mode)
