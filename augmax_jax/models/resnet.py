"""ResNets of the paper: ResNet-18 for CIFAR and Tiny ImageNet, ResNet-18/50 for ImageNet."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from augmax_jax.models.classifier import (
    UNIFORM_FAN_IN,
    Classifier,
    Initializer,
    uniform_bias,
)
from augmax_jax.models.cpu.convolution import Conv
from augmax_jax.models.norm import norm_layer


class _Block(nn.Module):
    """Base class of the two residual blocks.

    Attributes:
        features: channels of the block's 3x3 convolutions.
        stride: stride of the block.
        project: whether the shortcut is a 1x1 convolution and a norm instead of the identity.
        instance: whether the first norm is the network's DuBIN (or IBN).
        norm: name of the norm.
        axis_name: mapped axis of synchronised batch norm, or None.
        kernel_init: initialiser of the kernels of the convolutions.
        dtype: dtype of convolutions and activations.
    """

    features: int
    stride: int
    project: bool
    instance: bool
    norm: str
    axis_name: str | None
    kernel_init: Initializer
    dtype: Any

    expansion = 1

    def _conv(self, features: int, kernel_size: int, stride: int = 1) -> Conv:
        return Conv(
            features, kernel_size, stride=stride, kernel_init=self.kernel_init, dtype=self.dtype
        )

    def _norm(self, instance: bool = False) -> nn.Module:
        return norm_layer(self.norm, instance=instance)(axis_name=self.axis_name)

    def _make_shortcut(self) -> None:
        if self.project:
            self.shortcut_conv = self._conv(self.features * self.expansion, 1, self.stride)
            self.shortcut_norm = self._norm()

    def _shortcut(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        if not self.project:
            return x
        return self.shortcut_norm(self.shortcut_conv(x), route=route, train=train)


class BasicBlock(_Block):
    """Two 3x3 convolutions, each followed by its norm (He et al. 2016)."""

    def setup(self) -> None:
        self.conv1 = self._conv(self.features, 3, self.stride)
        self.bn1 = self._norm(self.instance)
        self.conv2 = self._conv(self.features, 3)
        self.bn2 = self._norm()
        self._make_shortcut()

    def __call__(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        y = self.bn1.activation(self.conv1(x), route=route, train=train)
        y = self.bn2(self.conv2(y), route=route, train=train)
        return nn.relu(y + self._shortcut(x, route, train))


class Bottleneck(_Block):
    """1x1, 3x3 (which carries the stride, "v1.5") and 1x1 to four times the width."""

    expansion = 4

    def setup(self) -> None:
        self.conv1 = self._conv(self.features, 1)
        self.bn1 = self._norm(self.instance)
        self.conv2 = self._conv(self.features, 3, self.stride)
        self.bn2 = self._norm()
        self.conv3 = self._conv(self.features * self.expansion, 1)
        self.bn3 = self._norm()
        self._make_shortcut()

    def __call__(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        y = self.bn1.activation(self.conv1(x), route=route, train=train)
        y = self.bn2.activation(self.conv2(y), route=route, train=train)
        y = self.bn3(self.conv3(y), route=route, train=train)
        return nn.relu(y + self._shortcut(x, route, train))


class ResNet(Classifier):
    """Post-activation residual network; instance norm in all stages but the last.

    Attributes:
        block_class: `BasicBlock` or `Bottleneck`.
        stage_sizes: blocks per stage; every stage but the first halves the resolution.
        widths: channels of each stage (a bottleneck's output has four times as many).
        stem_stride: stride of the first convolution.
        imagenet_stem: whether to use a 7x7 convolution and max-pooling, not one 3x3 convolution.
        kernel_init: initialiser of the kernels of the convolutions.
    """

    block_class: type[_Block] = BasicBlock
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_stride: int = 1
    imagenet_stem: bool = False
    kernel_init: Initializer = UNIFORM_FAN_IN

    def setup(self) -> None:
        self.conv1 = Conv(
            self.widths[0],
            7 if self.imagenet_stem else 3,
            stride=self.stem_stride,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
        )
        self.bn1 = self.norm_at()
        block: Callable[..., nn.Module] = self.block(self.block_class)
        inputs = self.widths[0]
        for stage, (size, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True)):
            blocks = []
            for i in range(size):
                stride = 2 if stage > 0 and i == 0 else 1
                outputs = width * self.block_class.expansion
                blocks.append(
                    block(
                        width,
                        stride,
                        project=stride != 1 or inputs != outputs,
                        instance=stage < len(self.widths) - 1,
                        norm=self.norm,
                        axis_name=self.axis_name,
                        kernel_init=self.kernel_init,
                        dtype=self.dtype,
                    )
                )
                inputs = outputs
            setattr(self, f"layer{stage + 1}", blocks)
        self.head = nn.Dense(
            self.num_classes, kernel_init=UNIFORM_FAN_IN, bias_init=uniform_bias(inputs)
        )

    def trunk(self, x: jax.Array, route: str, train: bool) -> jax.Array:
        x = self.bn1(self.conv1(x), route=route, train=train, relu=True)
        if self.imagenet_stem:
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage in range(len(self.widths)):
            for block in getattr(self, f"layer{stage + 1}"):
                x = block(x, route, train)
        return x
