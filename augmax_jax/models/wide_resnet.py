"""Wide ResNet (pre-activation), WRN-40-2 in the paper."""

from typing import Any

import jax
from flax import linen as nn

from augmax_jax.models.classifier import HE_FAN_OUT, UNIFORM_FAN_IN, Classifier
from augmax_jax.models.cpu.convolution import Conv
from augmax_jax.models.norm import norm_layer


class WideUnit(nn.Module):
    """Norm, ReLU and convolution, twice; a projection starts from the activated input.

    Attributes:
        features: output channels.
        stride: stride of the first convolution.
        project: whether the shortcut is a 1x1 convolution (no norm) instead of the identity.
        instance: whether the first norm, on the *input* channels, is the network's DuBIN.
        norm: name of the norm.
        axis_name: mapped axis of synchronised batch norm, or None.
        dtype: dtype of convolutions and activations.
    """

    features: int
    stride: int
    project: bool
    instance: bool
    norm: str
    axis_name: str | None
    dtype: Any

    def setup(self) -> None:
        def conv(kernel_size: int, stride: int = 1) -> Conv:
            return Conv(
                self.features, kernel_size, stride=stride, kernel_init=HE_FAN_OUT, dtype=self.dtype
            )

        self.bn1 = norm_layer(self.norm, instance=self.instance)(axis_name=self.axis_name)
        self.conv1 = conv(3, self.stride)
        self.bn2 = norm_layer(self.norm, instance=False)(axis_name=self.axis_name)
        self.conv2 = conv(3)
        if self.project:
            self.shortcut_conv = conv(1, self.stride)

    def __call__(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        active = self.bn1.activation(x, route=route, train=train)
        hidden = self.bn2.activation(self.conv1(active), route=route, train=train)
        return self.conv2(hidden) + (self.shortcut_conv(active) if self.project else x)


class WideResNet(Classifier):
    """Wide ResNet (Zagoruyko and Komodakis 2016); instance norm in the first two of three stages.

    Attributes:
        depth: 6 u + 4 for u units per stage.
        widen_factor: w; the stages have 16 w, 32 w and 64 w channels.
        stem_stride: stride of the first convolution.
    """

    depth: int = 40
    widen_factor: int = 2
    stem_stride: int = 1

    def setup(self) -> None:
        self.conv1 = Conv(16, 3, stride=self.stem_stride, kernel_init=HE_FAN_OUT, dtype=self.dtype)
        unit = self.block(WideUnit)
        inputs = 16
        for stage in range(3):
            width = 16 * 2**stage * self.widen_factor
            units = []
            for i in range((self.depth - 4) // 6):
                units.append(
                    unit(
                        width,
                        2 if stage > 0 and i == 0 else 1,
                        project=inputs != width,
                        instance=stage < 2,
                        norm=self.norm,
                        axis_name=self.axis_name,
                        dtype=self.dtype,
                    )
                )
                inputs = width
            setattr(self, f"block{stage + 1}", units)
        self.bn1 = self.norm_at()
        self.head = nn.Dense(self.num_classes, kernel_init=UNIFORM_FAN_IN)

    def trunk(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        x = self.conv1(x)
        for stage in range(3):
            for unit in getattr(self, f"block{stage + 1}"):
                x = unit(x, route, train)
        return self.bn1(x, route=route, train=train, relu=True)
