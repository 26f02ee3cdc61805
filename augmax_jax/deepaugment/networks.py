"""One interface to the two networks of DeepAugment."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from augmax_jax.deepaugment import (
    cae,
    cae_bottleneck,
    cae_weights,
    edsr,
    edsr_features,
    edsr_weights,
)
from augmax_jax.deepaugment.layers import Layer, Network, Weights
from augmax_jax.runtime.errors import check_name


class Entry(NamedTuple):
    """The record of a network for the commands.

    Attributes:
        module: the Flax network.
        layers: its layers by name.
        check: function from the tensors in a file to weights.
        damage: function from (key, weights) to damaged weights.
        forward: function from (params, keys `[B]`, uint8 images `[B, H, W, 3]`) to distorted
            uint8 images; each image's key draws the damage to its activations.
        working_size: shorter side of the network's input in the published script.
        ratio: shorter side of the network's input, as a multiple of that of small images. It is
            about the published ratio for ImageNet, whose images have about 300 pixels at the
            scale of an average training crop.
        floats_per_pixel: size of the largest activation in floats, per pixel of the input.
    """

    module: Network
    layers: Mapping[str, Layer]
    check: Callable[[Mapping[str, np.ndarray]], Weights]
    damage: Callable[[jax.Array, Weights], Weights]
    forward: Callable[[Any, jax.Array, jax.Array], jax.Array]
    working_size: int
    ratio: float
    floats_per_pixel: int


def _edsr(params: Any, keys: jax.Array, images: jax.Array) -> jax.Array:
    return edsr.enlarge(params, images, edsr_features.draw(keys, len(images)))


def _cae(params: Any, keys: jax.Array, images: jax.Array) -> jax.Array:
    split = jax.vmap(jax.random.split)(keys)
    ids = cae_bottleneck.draw(split[:, 0], len(images))
    return cae.reconstruct(params, split[:, 1], images, ids)


NETWORKS: dict[str, Entry] = {
    "edsr": Entry(
        edsr.EDSR(),
        edsr.LAYERS,
        edsr.check,
        edsr_weights.damage,
        _edsr,
        working_size=128,
        ratio=0.5,
        floats_per_pixel=edsr.FEATURES * edsr.SCALE**2,
    ),
    "cae": Entry(
        cae.CAE(),
        cae.LAYERS,
        cae.check,
        cae_weights.damage,
        _cae,
        working_size=512,
        ratio=2,
        floats_per_pixel=256,
    ),
}


def get(name: str) -> Entry:
    """The network of that name; ValueError with the list if there is none."""
    check_name("network", name, NETWORKS)
    return NETWORKS[name]
