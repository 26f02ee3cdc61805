"""ResNeXt-29 for CIFAR, 4x32d in the paper."""

from typing import Any

import jax
from flax import linen as nn

from augmax_jax.models.classifier import HE_FAN_OUT, Classifier
from augmax_jax.models.cpu.convolution import Conv
from augmax_jax.models.norm import norm_layer


class GroupedBottleneck(nn.Module):
    """1x1 reduction, grouped 3x3, 1x1 expansion, each with its norm.

    Attributes:
        features: channels of the grouped convolution.
        outputs: channels of the block's output.
        groups: groups of the 3x3 convolution, which has the stride.
        stride: stride of the block.
        project: whether the shortcut is a 1x1 convolution and a norm instead of the identity.
        instance: whether the first norm is the network's DuBIN.
        norm: name of the norm.
        axis_name: mapped axis of synchronised batch norm, or None.
        dtype: dtype of convolutions and activations.
    """

    features: int
    outputs: int
    groups: int
    stride: int
    project: bool
    instance: bool
    norm: str
    axis_name: str | None
    dtype: Any

    def setup(self) -> None:
        def conv(features: int, kernel_size: int, stride: int = 1, groups: int = 1) -> Conv:
            return Conv(
                features,
                kernel_size,
                stride=stride,
                groups=groups,
                kernel_init=HE_FAN_OUT,
                dtype=self.dtype,
            )

        def norm(instance: bool = False) -> nn.Module:
            return norm_layer(self.norm, instance=instance)(axis_name=self.axis_name)

        self.conv_reduce = conv(self.features, 1)
        self.bn_reduce = norm(self.instance)
        self.conv_group = conv(self.features, 3, self.stride, self.groups)
        self.bn_group = norm()
        self.conv_expand = conv(self.outputs, 1)
        self.bn_expand = norm()
        if self.project:
            self.shortcut_conv = conv(self.outputs, 1, self.stride)
            self.shortcut_norm = norm()

    def __call__(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        y = self.bn_reduce.activation(self.conv_reduce(x), route=route, train=train)
        y = self.bn_group.activation(self.conv_group(y), route=route, train=train)
        y = self.bn_expand(self.conv_expand(y), route=route, train=train)
        if self.project:
            x = self.shortcut_norm(self.shortcut_conv(x), route=route, train=train)
        return nn.relu(y + x)


class ResNeXt(Classifier):
    """ResNeXt (Xie et al. 2017) with three stages; instance norm in the first two.

    Attributes:
        depth: 9 b + 2 for b blocks per stage.
        cardinality: groups of the 3x3 convolutions.
        base_width: channels per group in the first stage.
        stem_stride: stride of the first convolution.
    """

    depth: int = 29
    cardinality: int = 4
    base_width: int = 32
    stem_stride: int = 1

    def setup(self) -> None:
        self.conv1 = Conv(64, 3, stride=self.stem_stride, kernel_init=HE_FAN_OUT, dtype=self.dtype)
        self.bn1 = self.norm_at()
        block = self.block(GroupedBottleneck)
        for stage in range(3):
            planes = 64 * 2**stage
            blocks = []
            for i in range((self.depth - 2) // 9):
                blocks.append(
                    block(
                        planes * self.base_width // 64 * self.cardinality,
                        4 * planes,
                        groups=self.cardinality,
                        stride=2 if stage > 0 and i == 0 else 1,
                        project=i == 0,
                        instance=stage < 2,
                        norm=self.norm,
                        axis_name=self.axis_name,
                        dtype=self.dtype,
                    )
                )
            setattr(self, f"stage{stage + 1}", blocks)
        self.head = nn.Dense(
            self.num_classes,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
        )

    def trunk(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        x = self.bn1(self.conv1(x), route=route, train=train, relu=True)
        for stage in range(3):
            for block in getattr(self, f"stage{stage + 1}"):
                x = block(x, route, train)
        return x
