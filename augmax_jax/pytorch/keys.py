"""Maps the names of our variables to the names in PyTorch checkpoints, both ways.

The names are those of the paper's PyTorch code, which keeps the names of its sources:
torchvision's ResNets, the CIFAR ResNet, WideResNet and ResNeXt that AugMix uses too, and IBN-Net.
So checkpoints of those projects can be imported as models of norm "bn" and "ibn".

    a norm called X      keys
    bn                   X.{weight,bias,running_mean,running_var,num_batches_tracked}
    ibn                  X.IN.{weight,bias} and X.BN.{weight,...}; X.{...} where there is no IN
    dubn                 X.bn.0.{...} (route "clean") and X.bn.1.{...} (route "augmented")
    dubin                X.IN.{weight,bias}, X.BN.bn.0.{...}, X.BN.bn.1.{...}; else as dubn
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax import models
from augmax_jax.models.resnet import ResNet
from augmax_jax.models.resnext import ResNeXt
from augmax_jax.models.wide_resnet import WideResNet

COUNTER = "num_batches_tracked"  # in PyTorch's batch norms; no effect with a fixed momentum


class Entry(NamedTuple):
    """One tensor of a state_dict, and its path in our variables.

    Attributes:
        path: collection and names, such as ("params", "layer1_0", "conv1", "kernel").
        shape: shape of PyTorch's tensor.
        transpose: order of axes that turns PyTorch's array into ours; None: the same array.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    transpose: tuple[int, ...] | None

    def to_jax(self, array: np.ndarray) -> np.ndarray:
        """Our array from PyTorch's."""
        return array if self.transpose is None else array.transpose(self.transpose)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """PyTorch's array from ours."""
        if self.transpose is None:
            return array
        return array.transpose(tuple(np.argsort(self.transpose)))


# Our module names -> PyTorch's: rules that are tried in turn on "/"-separated paths.
_RESNET = [(r"layer(\d)_(\d+)", r"layer\1.\2")]
_RULES: dict[str, list[tuple[str, str]]] = {
    "resnet": [*_RESNET, ("shortcut_conv", "shortcut.0"), ("shortcut_norm", "shortcut.1"),
               ("^head", "linear")],
    "resnet_imagenet": [*_RESNET, ("shortcut_conv", "downsample.0"),
                        ("shortcut_norm", "downsample.1"), ("^head", "fc")],
    "wide_resnet": [(r"block(\d)_(\d+)", r"block\1.layer.\2"), ("shortcut_conv", "conv_shortcut"),
                    ("^head", "fc")],
    "resnext": [("^conv1", "conv_1_3x3"), ("^bn1", "bn_1"), (r"stage(\d)_(\d+)", r"stage_\1.\2"),
                ("conv_group", "conv_conv"), ("bn_group", "bn"), ("shortcut_conv", "downsample.0"),
                ("shortcut_norm", "downsample.1"), ("^head", "classifier")],
}  # fmt: skip
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_ROUTES = {"clean": "bn.0", "augmented": "bn.1"}


def _rules(module: models.Classifier) -> list[tuple[str, str]]:
    if isinstance(module, WideResNet):
        return _RULES["wide_resnet"]
    if isinstance(module, ResNeXt):
        return _RULES["resnext"]
    assert isinstance(module, ResNet)
    return _RULES["resnet_imagenet" if module.imagenet_stem else "resnet"]


@functools.lru_cache(maxsize=16)
def abstract_variables(module: models.Classifier) -> dict[str, Any]:
    """Shapes and dtypes of a network's variables; the result is shared, so do not change it."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(lambda images: module.init(jax.random.key(0), images), images)


def entries(module: models.Classifier) -> dict[str, Entry]:
    """The state_dict of a network: PyTorch's key -> entry, without counters."""
    variables = abstract_variables(module)
    rules = _rules(module)
    result = {}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        path = tuple(part.key for part in key_path)
        name = "/".join(path[1:-1])
        siblings = _at(variables["params"], path[1:-1])
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        key = f"{name}.{_leaf(path, siblings)}".replace("/", ".")
        transpose = {4: (2, 3, 1, 0), 2: (1, 0)}.get(len(leaf.shape))
        shape = leaf.shape
        if transpose is not None:  # OIHW -> HWIO, [out, in] -> [in, out]
            shape = tuple(shape[axis] for axis in np.argsort(transpose))
        assert key not in result, key
        result[key] = Entry(path, shape, transpose)
    return result


def _leaf(path: tuple[str, ...], siblings: Mapping[str, Any]) -> str:
    """The last part of a key: a norm's inner module, if any, and the tensor."""
    owner, _, leaf = path[-1].rpartition("_")  # "clean_scale" -> "clean", "scale"
    if path[0] != "params":  # "batch_stats_clean" -> "clean"
        owner = path[0].removeprefix("batch_stats").removeprefix("_")
    if owner == "instance":
        return f"IN.{_LEAVES[leaf]}"
    parts = ["BN"] if "instance_scale" in siblings else []
    if owner:
        parts.append(_ROUTES[owner])
    return ".".join([*parts, _LEAVES[leaf]])


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def counter_keys(keys: Mapping[str, Any]) -> list[str]:
    """The keys of the counters beside the running statistics of a state_dict."""
    suffix = "running_mean"
    return [key.removesuffix(suffix) + COUNTER for key in keys if key.endswith(suffix)]


def guess_norm(keys: Mapping[str, Any]) -> str:
    """Guesses the norm of a network from a state_dict's keys."""
    dual = any(key.endswith(".bn.1.running_mean") for key in keys)
    instance = any(key.endswith(".IN.weight") for key in keys)
    return {(0, 0): "bn", (0, 1): "ibn", (1, 0): "dubn", (1, 1): "dubin"}[dual, instance]


def guess_model(keys: Mapping[str, Any]) -> str | None:
    """Guesses the network from a state_dict's keys, with any prefix; None: unknown."""

    def any_key(pattern: str) -> bool:
        return any(re.search(rf"(^|\.){pattern}", key) for key in keys)

    if any_key(r"block1\.layer\.0\."):
        return "wrn40_2"
    if any_key(r"stage_1\.0\.conv_reduce\."):
        return "resnext29"
    if not any_key(r"layer1\.0\.conv1\."):
        return None
    if any_key(r"fc\.weight$") or any_key(r"layer2\.0\.downsample\.0\."):
        bottleneck = any_key(r"layer1\.0\.conv3\.")
        return "resnet50_imagenet" if bottleneck else "resnet18_imagenet"
    return "resnet18" if any_key(r"layer4\.0\.") else "tiny"
