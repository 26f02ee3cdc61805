"""The paper's networks by name, with any of its four norms (paper Sec. 4.3 and 5.1).

Use:

    module = models.create("wrn40_2", 10, norm="dubin")
    variables = module.init(key, images)                                  # both routes
    logits = module.apply(variables, images, route="clean")               # evaluation
    logits, update = module.apply(                                        # training
        variables, images, route="augmented", train=True,
        mutable=[models.statistics_collection("dubin", "augmented")])
    features = module.apply(variables, images, method="features")
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from augmax_jax.models.classifier import HE_FAN_OUT, Classifier
from augmax_jax.models.norm import (
    IBN,
    NORMS,
    ROUTES,
    BatchNorm,
    DuBIN,
    DuBN,
    statistics_collection,
    statistics_collections,
)
from augmax_jax.models.norm_conversion import SINGLE_NORM, both_routes, single_route
from augmax_jax.models.resnet import BasicBlock, Bottleneck, ResNet
from augmax_jax.models.resnext import ResNeXt
from augmax_jax.models.wide_resnet import WideResNet
from augmax_jax.runtime.checks import check_count, check_flag
from augmax_jax.runtime.errors import check_name

__all__ = [
    "IBN",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "MODELS",
    "NORMS",
    "ROUTES",
    "SINGLE_NORM",
    "BatchNorm",
    "Channels",
    "Classifier",
    "DuBIN",
    "DuBN",
    "both_routes",
    "create",
    "input_normalization",
    "single_route",
    "statistics_collection",
    "statistics_collections",
    "usual_image_size",
    "usual_test_transform",
]

# Input normalisation of the ImageNet networks, on the [0, 1] scale (torchvision's numbers).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_IDENTITY = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and deviation that change nothing

Channels = tuple[float, float, float]


class Architecture(NamedTuple):
    """One name of the registry.

    Attributes:
        constructor: the network's class.
        fields: fields of the class that this name sets.
        options: fields that the user may set, all positive integers.
        mean: mean of the network's own input normalisation.
        std: standard deviation of the same.
        image_size: side of the images that it is usually trained on, with `stem_stride=1`.
    """

    constructor: type[Classifier]
    fields: Mapping[str, Any]
    options: tuple[str, ...]
    mean: Channels = _IDENTITY[0]
    std: Channels = _IDENTITY[1]
    image_size: int = 32


_IMAGENET_STEM = {"imagenet_stem": True, "stem_stride": 2, "kernel_init": HE_FAN_OUT}

MODELS: dict[str, Architecture] = {
    "resnet18": Architecture(ResNet, {}, ("stem_stride",)),
    "wrn40_2": Architecture(WideResNet, {}, ("stem_stride", "depth", "widen_factor")),
    "resnext29": Architecture(ResNeXt, {}, ("stem_stride", "depth", "cardinality", "base_width")),
    "resnet18_imagenet": Architecture(
        ResNet,
        {**_IMAGENET_STEM, "block_class": BasicBlock},
        (),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        image_size=224,
    ),
    "resnet50_imagenet": Architecture(
        ResNet,
        {**_IMAGENET_STEM, "block_class": Bottleneck, "stage_sizes": (3, 4, 6, 3)},
        (),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        image_size=224,
    ),
    # Not in the paper: a network of 80 thousand parameters for demos and tests.
    "tiny": Architecture(
        ResNet,
        {"stage_sizes": (1, 1, 1), "widths": (16, 32, 64), "kernel_init": HE_FAN_OUT},
        ("stem_stride",),
    ),
}


def create(
    name: str,
    num_classes: int,
    *,
    norm: str = "dubin",
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    remat: bool = False,
    **options: int,
) -> Classifier:
    """Builds a network.

    Args:
        name: resnet18, wrn40_2, resnext29 (CIFAR; Tiny ImageNet with `stem_stride=2`),
            resnet18_imagenet, resnet50_imagenet, or tiny (for demos and tests).
        num_classes: number of logits.
        norm: "dubin" (the paper's), "dubn", "ibn" or "bn".
        dtype: float32, or bfloat16 for convolutions and activations; parameters,
            statistics and logits stay float32.
        axis_name: mapped axis over which batch norm is synchronised in training, or None.
        mean: per-channel mean of the input normalisation, three numbers on the [0, 1] scale.
            None, together with `std`: the network's own, which is ImageNet's for
            resnet18_imagenet and resnet50_imagenet and none for the others, as in the paper's
            code. (0, 0, 0) with a `std` of (1, 1, 1) means no normalisation, for any network.
        std: per-channel standard deviation, three positive numbers, or None.
        remat: whether to recompute blocks in the backward pass: this needs less memory and about
            a third more compute.
        **options: `stem_stride` (1 or 2; resnet18, wrn40_2, resnext29, tiny), `depth` and
            `widen_factor` (wrn40_2), `depth`, `cardinality` and `base_width` (resnext29).

    Returns:
        A Flax linen module; see `Classifier.__call__` and `Classifier.features`.

    Raises:
        ValueError: a name, norm or option is unknown, or the network cannot have a value.
    """
    check_name("model", name, MODELS)
    check_name("norm", norm, NORMS)
    check_count("num_classes", num_classes, low=1)
    check_flag("remat", remat)
    if axis_name is not None and not isinstance(axis_name, str):
        raise ValueError(f"axis_name must be the name of a mapped axis or None, got {axis_name!r}")
    architecture = MODELS[name]
    for option, value in options.items():
        if not architecture.options:
            raise ValueError(f"model {name!r} takes no options, got {option}={value!r}")
        check_name(f"option of model {name!r}", option, architecture.options)
        check_count(option, value, low=1)
    fields = {**architecture.fields, **options}
    _check_sizes(architecture.constructor, fields)
    normalization = input_normalization(name, mean, std)
    # "No normalisation" has one form, so that modules that do the same are equal.
    mean, std = (None, None) if normalization == _IDENTITY else normalization
    return architecture.constructor(
        num_classes=num_classes,
        norm=norm,
        dtype=_check_dtype(dtype),
        axis_name=axis_name,
        remat=remat,
        mean=mean,
        std=std,
        **fields,
    )


def input_normalization(
    name: str, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> tuple[Channels, Channels]:
    """The mean and deviation that `create` gives a network for these arguments.

    Args:
        name: as in `create`.
        mean: three numbers on the [0, 1] scale; None, together with `std`: the network's own.
        std: three positive numbers, or None.

    Returns:
        `(mean, std)`: the network's input is (image - mean) / std. Zeros and ones mean no
        normalisation.

    Raises:
        ValueError: the name is unknown, only one of `mean` and `std` is given, or one has not
            three numbers.
    """
    check_name("model", name, MODELS)
    if (mean is None) != (std is None):
        raise ValueError(f"mean and std go together, got mean={mean!r}, std={std!r}")
    if mean is None or std is None:
        return MODELS[name].mean, MODELS[name].std
    return _check_channels("mean", mean), _check_channels("std", std, positive=True)


def usual_image_size(name: str, **options: int) -> int:
    """Side of the images that a network is trained on where nothing else is said.

    Args:
        name: as in `create`.
        **options: of the network; with `stem_stride=2` it takes images of twice the side.

    Returns:
        224 for the ImageNet networks, 64 with `stem_stride=2` (Tiny ImageNet), else 32 (CIFAR).

    Raises:
        ValueError: the name is unknown, or the stride is neither 1 nor 2.
    """
    check_name("model", name, MODELS)
    stride = options.get("stem_stride", 1)
    check_count("stem_stride", stride, low=1, high=2)
    return MODELS[name].image_size * stride


def usual_test_transform(name: str) -> str:
    """How test images are made square for a network where nothing else is said.

    Returns:
        "center_crop" for the ImageNet networks, as is the habit there (256 of which 224), else
        "resize"; see `config.data.test_transform`.

    Raises:
        ValueError: the name is unknown.
    """
    check_name("model", name, MODELS)
    return "center_crop" if MODELS[name].image_size == 224 else "resize"


def _check_sizes(constructor: type[Classifier], fields: Mapping[str, Any]) -> None:
    if fields.get("stem_stride", 1) > 2:
        raise ValueError(f"stem_stride must be 1 or 2, got {fields['stem_stride']}")
    depth = fields.get("depth")
    if depth is not None and constructor is WideResNet and (depth < 10 or depth % 6 != 4):
        raise ValueError(f"depth must be 6 n + 4 (10, 16, ..., 40), got {depth}")
    if depth is not None and constructor is ResNeXt and (depth < 11 or depth % 9 != 2):
        raise ValueError(f"depth must be 9 n + 2 (11, 20, 29, ...), got {depth}")


def _check_dtype(dtype: Any) -> Any:
    allowed = {jnp.dtype(d): d for d in (jnp.float32, jnp.bfloat16)}
    try:
        return allowed[jnp.dtype(dtype)]
    except (KeyError, TypeError):
        raise ValueError(f"dtype must be float32 or bfloat16, got {dtype!r}") from None


def _check_channels(name: str, values: Sequence[float], *, positive: bool = False) -> Channels:
    try:
        channels = [] if isinstance(values, str) else [float(value) for value in values]
    except (TypeError, ValueError):
        channels = []
    if len(channels) != 3 or not all(map(math.isfinite, channels)):
        raise ValueError(f"{name} must be three numbers, one per channel, got {values!r}")
    if positive and min(channels) <= 0:
        raise ValueError(f"{name} must be positive, got {values!r}")
    red, green, blue = channels
    return red, green, blue
