"""A network of two layers for tests of what surrounds a network.

It has what the shipped networks have (the four norms, both routes, an input normalisation), and
compiles in a third of the time of the smallest of them. The fixture `speck` registers it.
"""

import flax.linen as nn
import jax

from augmax_jax import models
from augmax_jax.models.cpu.convolution import Conv


class Speck(models.Classifier):
    """Two convolutions, of which the second has stride 2; 12 features."""

    stem_stride: int = 2

    def setup(self) -> None:
        """Makes the layers."""
        strides = (self.stem_stride, 2)
        self.convs = [
            Conv(width, 3, stride=stride, dtype=self.dtype)
            for width, stride in zip((8, 12), strides, strict=True)
        ]
        self.norms = [self.norm_at(instance=True), self.norm_at()]
        self.head = nn.Dense(self.num_classes, dtype=self.dtype)

    def trunk(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        """Maps images [B, H, W, 3] to features [B, H/4, W/4, 12] (stem of stride 2)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), route=route, train=train, relu=True)
        return x


ARCHITECTURE = models.Architecture(Speck, {}, ("stem_stride",))
