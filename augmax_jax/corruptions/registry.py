"""Applies a corruption, by name and severity, to a batch."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.corruptions import (
    blur,
    constants,
    digital,
    filters,
    jpeg,
    noise,
    spatter,
    textures,
    weather,
)
from augmax_jax.corruptions.draws import check_severity
from augmax_jax.runtime import errors, keys
from augmax_jax.runtime.checks import check_images


class Setting(NamedTuple):
    """What a corruption's arrays are made from."""

    values: tuple[Any, ...]  # the constants of all five severities
    severity: int
    benchmark: str
    height: int
    width: int

    @property
    def value(self) -> Any:
        """The constants of this severity."""
        return self.values[self.severity - 1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


class Corruption(NamedTuple):
    """A corruption: `apply(key, image, arrays)` for one image, and the arrays for a setting.

    The arrays of all severities have the same shapes, so that one compilation serves them. If
    `batched`, `apply` takes all keys and images at once.
    """

    apply: Callable[[jax.Array, jax.Array, Any], jax.Array]
    arrays: Callable[[Setting], Any]
    batched: bool = False


def _scalar(setting: Setting) -> np.floating:
    return np.float32(setting.value)


def _named(*names: str) -> Callable[[Setting], dict[str, Any]]:
    def arrays(setting: Setting) -> dict[str, Any]:
        return {name: np.float32(v) for name, v in zip(names, setting.value, strict=True)}

    return arrays


def _longest_path(setting: Setting, radius: int) -> int:
    """Taps of the longest motion blur among the severities."""
    return max(2 * math.ceil(values[radius]) + 1 for values in setting.values)


def _frost_arrays(setting: Setting) -> dict[str, Any]:
    image, frost = setting.value
    pictures, sizes = textures.frost_pictures(
        constants.FROST_SCALE[setting.benchmark], setting.height, setting.width
    )
    return {
        "image": np.float32(image),
        "frost": np.float32(frost),
        "pictures": pictures,
        "sizes": sizes,
    }


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(noise.gaussian_noise, _scalar),
    "shot_noise": Corruption(noise.shot_noise, lambda s: noise.shot_constants(s.value)),
    "impulse_noise": Corruption(noise.impulse_noise, _scalar),
    "defocus_blur": Corruption(
        blur.linear_blur, lambda s: filters.disk(s.value, *s.size), batched=True
    ),
    "glass_blur": Corruption(
        blur.glass_blur,
        lambda s: blur.glass_constants(s.value, [sigma for sigma, _, _ in s.values]),
    ),
    "motion_blur": Corruption(
        blur.motion_blur,
        lambda s: blur.motion_constants(*s.value, capacity=_longest_path(s, 0)),
    ),
    "zoom_blur": Corruption(
        blur.linear_blur, lambda s: blur.zoom_operator(s.value, *s.size), batched=True
    ),
    "snow": Corruption(
        weather.snow,
        lambda s: weather.snow_constants(s.value, *s.size, capacity=_longest_path(s, 4)),
    ),
    "frost": Corruption(weather.frost, _frost_arrays),
    "fog": Corruption(
        weather.fog,
        _named("thickness", "decay"),
    ),
    "brightness": Corruption(weather.brightness, _scalar),
    "contrast": Corruption(digital.contrast, _scalar),
    "elastic_transform": Corruption(
        digital.elastic_transform,
        lambda s: digital.elastic_constants(
            s.value, *s.size, base=constants.BASE_SIZE[s.benchmark]
        ),
    ),
    "pixelate": Corruption(
        digital.pixelate, lambda s: digital.pixelate_constants(s.values, s.severity, *s.size)
    ),
    "jpeg_compression": Corruption(
        jpeg.jpeg_compression, lambda s: jpeg.quality_constants(s.value)
    ),
    "speckle_noise": Corruption(noise.speckle_noise, _scalar),
    "gaussian_blur": Corruption(
        blur.linear_blur, lambda s: filters.gaussian(s.value, *s.size), batched=True
    ),
    "spatter": Corruption(spatter.spatter, lambda s: spatter.spatter_constants(s.value, *s.size)),
    "saturate": Corruption(
        digital.saturate,
        _named("factor", "shift"),
    ),
}


@functools.lru_cache(maxsize=256)
def _arrays(name: str, severity: int, benchmark: str, height: int, width: int) -> Any:
    values = constants.CONSTANTS[name][benchmark]
    return CORRUPTIONS[name].arrays(Setting(values, severity, benchmark, height, width))


@functools.partial(jax.jit, static_argnames="name")
def _apply(name: str, keys_: jax.Array, images: jax.Array, arrays: Any) -> jax.Array:
    apply = CORRUPTIONS[name].apply
    if not CORRUPTIONS[name].batched:
        apply = jax.vmap(apply, in_axes=(0, 0, None))
    return filters.quantise(apply(keys_, images.astype(jnp.float32), arrays))


def corrupt(
    key: jax.Array,
    images: jax.Array | np.ndarray,
    name: str,
    severity: int,
    *,
    benchmark: str = "cifar",
) -> jax.Array:
    """Corrupts a batch of images as a published benchmark does.

    An image's result depends on its own key and pixels alone, never on the rest of the batch.
    The function runs on the device that holds `images`. It may be called inside `jax.jit` with
    `name`, `severity` and `benchmark` fixed. One compilation serves the five severities.

    Images may have any size. Kernels and displacements in pixels are those of the benchmark,
    but the elastic transform and pixelation scale with the image. So use
    "cifar" for images of about 32 pixels, "tiny_imagenet" for 64, "imagenet" for 224.

    Args:
        key: one key, folded with the images' indices, or a typed `[B]` array of keys.
        images: uint8 `[B, H, W, 3]`.
        name: one of `BENCHMARK` or `EXTRA`.
        severity: 1 to 5.
        benchmark: whose constants: "cifar", "tiny_imagenet" or "imagenet".

    Returns:
        uint8 `[B, H, W, 3]`.

    Raises:
        ValueError: the name, severity or benchmark is unknown; `images` has another shape or
            dtype, or is empty; the key is a bad one; or the pictures for "frost" are not installed
            (the message has the command).
    """
    errors.check_name("corruption", name, constants.BENCHMARK + constants.EXTRA)
    errors.check_name("benchmark", benchmark, constants.BENCHMARKS)
    check_severity(severity)
    images = check_images(images)
    arrays = _arrays(name, int(severity), benchmark, *images.shape[1:3])
    return _apply(name, keys.example_keys(key, len(images)), images, arrays)
