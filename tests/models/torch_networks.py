"""The paper's networks in PyTorch, written from the paper for the tests (imports PyTorch).

Attribute names are those of the official checkpoints.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Dual(nn.Module):
    """Two batch norms; `route` 0 is clean, 1 augmented."""

    def __init__(self, channels):
        super().__init__()
        self.bn = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)])
        self.route = 0

    def forward(self, x):
        return self.bn[self.route](x)


class Half(nn.Module):
    """Instance norm on the first half of the channels, `rest` on the others."""

    def __init__(self, channels, rest):
        super().__init__()
        self.half = int(channels * 0.5)
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = rest(channels - self.half)

    def forward(self, x):
        first, rest = torch.split(x, [self.half, x.shape[1] - self.half], 1)
        return torch.cat([self.IN(first.contiguous()), self.BN(rest.contiguous())], 1)


def make_norm(norm, channels, instance=False):
    plain = Dual if norm.startswith("du") else nn.BatchNorm2d
    return Half(channels, plain) if instance and norm in ("ibn", "dubin") else plain(channels)


def conv(inputs, outputs, size, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class Basic(nn.Module):
    expansion = 1

    def __init__(self, norm, inputs, width, stride, instance, shortcut):
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride)
        self.bn1 = make_norm(norm, width, instance)
        self.conv2 = conv(width, width, 3)
        self.bn2 = make_norm(norm, width)
        self.shortcut_name = shortcut
        if stride != 1 or inputs != width:
            projection = nn.Sequential(conv(inputs, width, 1, stride), make_norm(norm, width))
            setattr(self, shortcut, projection)

    def residual(self, x):
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))

    def forward(self, x):
        shortcut = getattr(self, self.shortcut_name, None)
        return F.relu(self.residual(x) + (x if shortcut is None else shortcut(x)))


class Bottleneck(Basic):
    expansion = 4

    def __init__(self, norm, inputs, width, stride, instance, shortcut):
        nn.Module.__init__(self)
        self.conv1 = conv(inputs, width, 1)
        self.bn1 = make_norm(norm, width, instance)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = make_norm(norm, width)
        self.conv3 = conv(width, 4 * width, 1)
        self.bn3 = make_norm(norm, 4 * width)
        self.shortcut_name = shortcut
        if stride != 1 or inputs != 4 * width:
            projection = nn.Sequential(
                conv(inputs, 4 * width, 1, stride), make_norm(norm, 4 * width)
            )
            setattr(self, shortcut, projection)

    def residual(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(F.relu(self.bn2(self.conv2(x)))))


class ResNet(nn.Module):
    def __init__(
        self,
        classes,
        norm,
        sizes,
        block=Basic,
        stem_stride=1,
        imagenet=False,
        widths=(64, 128, 256, 512),
    ):
        super().__init__()
        self.imagenet = imagenet
        self.stages = len(sizes)
        shortcut = "downsample" if imagenet else "shortcut"
        self.conv1 = conv(3, widths[0], 7 if imagenet else 3, stem_stride)
        self.bn1 = make_norm(norm, widths[0])
        inputs = widths[0]
        for stage, (size, width) in enumerate(zip(sizes, widths, strict=True)):
            blocks = []
            for i in range(size):
                stride = 2 if stage and not i else 1
                instance = stage < len(sizes) - 1
                blocks.append(block(norm, inputs, width, stride, instance, shortcut))
                inputs = width * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        setattr(self, "fc" if imagenet else "linear", nn.Linear(inputs, classes))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if self.imagenet:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return (self.fc if self.imagenet else self.linear)(x.mean((2, 3)))


class Unit(nn.Module):
    def __init__(self, norm, inputs, width, stride, instance):
        super().__init__()
        self.bn1 = make_norm(norm, inputs, instance)
        self.conv1 = conv(inputs, width, 3, stride)
        self.bn2 = make_norm(norm, width)
        self.conv2 = conv(width, width, 3)
        if inputs != width:
            self.conv_shortcut = conv(inputs, width, 1, stride)

    def forward(self, x):
        active = F.relu(self.bn1(x))
        shortcut = self.conv_shortcut(active) if hasattr(self, "conv_shortcut") else x
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(active))))


class Stage(nn.Module):
    def __init__(self, *units):
        super().__init__()
        self.layer = nn.Sequential(*units)

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, classes, norm, depth=40, widen_factor=2, stem_stride=1):
        super().__init__()
        self.conv1 = conv(3, 16, 3, stem_stride)
        inputs = 16
        for stage in range(3):
            width = 16 * 2**stage * widen_factor
            units = []
            for i in range((depth - 4) // 6):
                units.append(Unit(norm, inputs, width, 2 if stage and not i else 1, stage < 2))
                inputs = width
            setattr(self, f"block{stage + 1}", Stage(*units))
        self.bn1 = make_norm(norm, inputs)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class GroupedBlock(nn.Module):
    def __init__(self, norm, inputs, planes, cardinality, base_width, stride, instance, project):
        super().__init__()
        width = int(planes * base_width / 64) * cardinality
        self.conv_reduce = conv(inputs, width, 1)
        self.bn_reduce = make_norm(norm, width, instance)
        self.conv_conv = conv(width, width, 3, stride, cardinality)
        self.bn = make_norm(norm, width)
        self.conv_expand = conv(width, 4 * planes, 1)
        self.bn_expand = make_norm(norm, 4 * planes)
        self.downsample = None
        if project:
            self.downsample = nn.Sequential(
                conv(inputs, 4 * planes, 1, stride), make_norm(norm, 4 * planes)
            )

    def forward(self, x):
        y = F.relu(self.bn_reduce(self.conv_reduce(x)))
        y = self.bn_expand(self.conv_expand(F.relu(self.bn(self.conv_conv(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNeXt(nn.Module):
    def __init__(self, classes, norm, depth=29, cardinality=4, base_width=32, stem_stride=1):
        super().__init__()
        self.conv_1_3x3 = conv(3, 64, 3, stem_stride)
        self.bn_1 = make_norm(norm, 64)
        inputs = 64
        for stage in range(3):
            planes = 64 * 2**stage
            blocks = []
            for i in range((depth - 2) // 9):
                stride = 2 if stage and not i else 1
                blocks.append(
                    GroupedBlock(
                        norm, inputs, planes, cardinality, base_width, stride, stage < 2, i == 0
                    )
                )
                inputs = 4 * planes
            setattr(self, f"stage_{stage + 1}", nn.Sequential(*blocks))
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.relu(self.bn_1(self.conv_1_3x3(x)))
        return self.classifier(self.stage_3(self.stage_2(self.stage_1(x))).mean((2, 3)))


def create(name, classes, norm="dubin", **options):
    """The network of a name of our registry."""
    if name == "wrn40_2":
        return WideResNet(classes, norm, **options)
    if name == "resnext29":
        return ResNeXt(classes, norm, **options)
    if name == "resnet50_imagenet":
        return ResNet(classes, norm, (3, 4, 6, 3), Bottleneck, 2, imagenet=True)
    if name == "resnet18_imagenet":
        return ResNet(classes, norm, (2, 2, 2, 2), Basic, 2, imagenet=True)
    if name == "tiny":
        return ResNet(classes, norm, (1, 1, 1), widths=(16, 32, 64), **options)
    assert name == "resnet18"
    return ResNet(classes, norm, (2, 2, 2, 2), **options)


def randomise(network, seed):
    """Random affine parameters and statistics; the other weights are random already."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
                uniform(module.weight, 0.5, 1.5)
                uniform(module.bias, -0.3, 0.3)
            if isinstance(module, nn.BatchNorm2d):
                uniform(module.running_mean, -0.3, 0.3)
                uniform(module.running_var, 0.5, 1.5)
    return network


def set_route(network, route):
    """Sends the next forward passes through "clean" or "augmented"."""
    for module in network.modules():
        if isinstance(module, Dual):
            module.route = ("clean", "augmented").index(route)
