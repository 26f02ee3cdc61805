"""Layers and weights under the names of the published files.

The damage of DeepAugment is described on PyTorch's tensors, so weights are kept as a dictionary
`{"<layer>.weight": [out, in, k, k], "<layer>.bias": [out]}` in PyTorch's layout, and turned into
Flax parameters just before a forward pass. A transposed convolution has `[in, out, k, k]`.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.pytorch import files as torch_files
from augmax_jax.runtime import files, paths

Weights = dict[str, jax.Array]
Params = dict[str, dict[str, jax.Array]]

# PyTorch's default: U(-b, b) with b = 1 / sqrt(fan_in).
_INITIAL = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_INITIAL_ENLARGE = nn.initializers.variance_scaling(
    1 / 3, "fan_in", "uniform", in_axis=0, out_axis=-1, batch_axis=(1, 2)
)
_SAVE_SUFFIX = ".npz"


@dataclasses.dataclass(frozen=True)
class Layer:
    """One convolution.

    Attributes:
        inputs: number of input channels.
        outputs: number of output channels.
        kernel: side of the kernel.
        stride: step of the kernel.
        padding: zeros before and after, the same for height and width.
        transposed: whether it is a transposed convolution; its stride is then its kernel.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """PyTorch's shape of the weight."""
        first = (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
        return (*first, self.kernel, self.kernel)

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes that turn PyTorch's weight into our kernel."""
        return (0, 2, 3, 1) if self.transposed else (2, 3, 1, 0)

    def module(self) -> nn.Module:
        """The layer as a Flax module."""
        if self.transposed:
            return Enlarge(self.outputs, self.kernel)
        sides = (self.kernel, self.kernel)
        padding = (self.padding, self.padding)
        return nn.Conv(self.outputs, sides, self.stride, padding, kernel_init=_INITIAL)


class Enlarge(nn.Module):
    """A transposed convolution whose stride is its kernel: every pixel becomes a block."""

    features: int
    factor: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        f = self.factor
        kernel = self.param("kernel", _INITIAL_ENLARGE, (channels, f, f, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        blocks = jnp.einsum("bhwi,iyxo->bhywxo", x, kernel)
        return blocks.reshape(batch, height * f, width * f, self.features) + bias[None, None, None]


class Network(nn.Module):
    """Base of networks that are a table of layers and a forward pass through them."""

    LAYERS: ClassVar[Mapping[str, Layer]]

    def setup(self) -> None:
        for name, layer in self.LAYERS.items():
            setattr(self, _flat(name), layer.module())

    def layer(self, name: str, x: jax.Array) -> jax.Array:
        """Applies the layer of that name."""
        return getattr(self, _flat(name))(x)


def to_params(layers: Mapping[str, Layer], weights: Mapping[str, jax.Array]) -> Params:
    """The weights as the parameters of the Flax network."""
    return {
        _flat(name): {
            "kernel": jnp.transpose(weights[f"{name}.weight"], layer.axes),
            "bias": weights[f"{name}.bias"],
        }
        for name, layer in layers.items()
    }


def to_weights(layers: Mapping[str, Layer], params: Mapping[str, Mapping]) -> Weights:
    """The reverse of `to_params`."""
    weights: Weights = {}
    for name, layer in layers.items():
        entry = params[_flat(name)]
        weights[f"{name}.weight"] = jnp.transpose(
            entry["kernel"], tuple(np.argsort(layer.axes).tolist())
        )
        weights[f"{name}.bias"] = entry["bias"]
    return weights


def check_weights(
    layers: Mapping[str, Layer], weights: Mapping[str, np.ndarray], what: str
) -> Weights:
    """Float32 weights of exactly these layers.

    Raises:
        ValueError: tensors are missing, left over, of another shape or not finite; the message
            names all of them.
    """
    for name, array in weights.items():
        if not hasattr(array, "shape"):
            raise ValueError(f"weights must be arrays, got {name}={type(array).__name__}")
    shapes = {f"{name}.weight": layer.shape for name, layer in layers.items()}
    shapes |= {f"{name}.bias": (layer.outputs,) for name, layer in layers.items()}
    missing = [name for name in shapes if name not in weights]
    extra = [name for name in weights if name not in shapes]
    wrong = [
        f"{name} {tuple(weights[name].shape)} instead of {shape}"
        for name, shape in shapes.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    found = {n: np.asarray(weights[n]) for n in shapes if n in weights}
    unusable = [
        name
        for name, array in found.items()
        if not jnp.issubdtype(array.dtype, jnp.floating) or not np.isfinite(array).all()
    ]
    problems = {
        "missing": missing,
        "left over": extra,
        "mis-shaped": wrong,
        "not finite floats": unusable,
    }
    if any(problems.values()):
        lines = [f"{title} ({len(n)}): {', '.join(n)}" for title, n in problems.items() if n]
        raise ValueError(f"the file does not hold the weights of {what}:\n  " + "\n  ".join(lines))
    return {name: jnp.asarray(found[name], jnp.float32) for name in shapes}


def read_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors in a PyTorch, safetensors or npz file; raises as `pytorch.files`."""
    return torch_files.read_state_dict(paths.expand(path))


def save_file(path: str | os.PathLike[str], weights: Mapping[str, jax.Array]) -> None:
    """Writes weights as an npz file that `read_file` reads, atomically."""
    check_save_path(path)

    def write(partial: os.PathLike[str]) -> None:
        with open(partial, "wb") as file:
            arrays: Any = {name: np.asarray(array) for name, array in weights.items()}
            np.savez(file, **arrays)

    files.write_atomically(paths.expand(path), write)


def check_save_path(path: str | os.PathLike[str]) -> None:
    """Finds out, before any work, whether weights can be written there; leaves nothing behind.

    Raises:
        ValueError: the name has another ending.
        OSError: the file cannot be written; the message says why.
    """
    if not os.fspath(path).endswith(_SAVE_SUFFIX):
        raise ValueError(f"out must end in {_SAVE_SUFFIX}, got {os.fspath(path)!r}")
    target = paths.expand(path)
    if target.is_dir():
        raise IsADirectoryError(f"out {target} is a directory: name a file")
    try:
        paths.try_writing(target.parent)
    except OSError as error:
        raise OSError(
            f"out {target} cannot be written ({error.strerror}): choose another"
        ) from error


def digest(weights: Mapping[str, jax.Array]) -> str:
    """A hash of the weights' values, the same for every file format."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode())
        total.update(np.ascontiguousarray(weights[name], np.float32).tobytes())
    return total.hexdigest()[:16]


def _flat(name: str) -> str:
    return name.replace(".", "_")
