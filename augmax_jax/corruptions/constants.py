"""Severity constants of the published benchmarks: name -> benchmark -> severities 1 to 5.

Values are those of the scripts that made CIFAR-10-C / CIFAR-100-C (32×32), Tiny ImageNet-C
(64×64) and ImageNet-C (224×224) (Hendrycks and Dietterich, ICLR 2019). Lengths are in pixels
unless a comment says otherwise, and noise levels in units of the full range.
"""

from typing import Any

BENCHMARK = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The 15 corruptions of the benchmarks, in the order of the literature."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four corruptions that the literature keeps for validation."""

FAMILIES = {
    "noise": BENCHMARK[:3],
    "blur": BENCHMARK[3:7],
    "weather": BENCHMARK[7:11],
    "digital": BENCHMARK[11:],
}
"""The 15 corruptions by family. Brightness counts as weather, as in the literature."""

BENCHMARKS = ("cifar", "tiny_imagenet", "imagenet")
"""The sets of constants."""

SEVERITIES = (1, 2, 3, 4, 5)

REVISION = 2
"""Raised whenever the same key and images give other pixels; stored with each generated set."""

BASE_SIZE = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 224}
"""Side of the images of each benchmark, in pixels."""

# Gaussian noise: standard deviation.
_GAUSSIAN_NOISE = {
    "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
    "tiny_imagenet": (0.04, 0.08, 0.12, 0.15, 0.18),
    "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38),
}
# Shot noise: photons at full brightness.
_SHOT_NOISE = {
    "cifar": (500, 250, 100, 75, 50),
    "tiny_imagenet": (250, 100, 50, 30, 15),
    "imagenet": (60, 25, 12, 5, 3),
}
# Impulse noise: fraction of values replaced.
_IMPULSE_NOISE = {
    "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
    "tiny_imagenet": (0.01, 0.02, 0.05, 0.08, 0.14),
    "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27),
}
# Speckle noise: standard deviation of the factor.
_SPECKLE_NOISE = {
    "cifar": (0.06, 0.1, 0.12, 0.16, 0.2),
    "tiny_imagenet": (0.15, 0.2, 0.25, 0.3, 0.35),
    "imagenet": (0.15, 0.2, 0.35, 0.45, 0.6),
}
# Defocus blur: radius of the disk, sigma that softens its edge.
_DEFOCUS_BLUR = {
    "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "tiny_imagenet": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
}
# Glass blur: sigma, largest displacement, sweeps over the image.
_GLASS_BLUR = {
    "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "tiny_imagenet": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
}
# Motion blur: radius, sigma along the path.
_MOTION_BLUR = {
    "cifar": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "tiny_imagenet": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "imagenet": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
}
# Zoom blur: (stop, step) of the range of zoom factors from 1, as numpy.arange makes them:
# rounding makes it include `stop` for some.
_ZOOM_BLUR_SMALL = ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01))
_ZOOM_BLUR = {
    "cifar": _ZOOM_BLUR_SMALL,
    "tiny_imagenet": _ZOOM_BLUR_SMALL,
    "imagenet": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
}
# Gaussian blur: sigma.
_GAUSSIAN_BLUR = {
    "cifar": (0.4, 0.6, 0.7, 0.8, 1),
    "tiny_imagenet": (0.5, 0.75, 1, 1.25, 1.5),
    "imagenet": (1, 2, 3, 4, 6),
}
# Snow: mean and deviation of the flakes' noise, its zoom, threshold, motion blur's radius and
# sigma, share of the image that is not whitened.
_SNOW = {
    "cifar": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "tiny_imagenet": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "imagenet": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
}
# Frost: weight of the image, weight of the picture of frost.
_FROST = {
    "cifar": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "tiny_imagenet": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    "imagenet": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
}
FROST_SCALE = {"cifar": 0.2, "tiny_imagenet": 0.3, "imagenet": 1.0}
"""Factor by which the pictures of frost are resized first."""
# Fog: thickness, decay of the roughness from one scale to the next.
_FOG = {
    "cifar": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "tiny_imagenet": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "imagenet": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
}
# Brightness: added to V of HSV.
_BRIGHTNESS = {
    "cifar": (0.05, 0.1, 0.15, 0.2, 0.3),
    "tiny_imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
    "imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
}
# Contrast: factor about the mean.
_CONTRAST = {
    "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
    "tiny_imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
    "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
}
# Saturate: factor and summand of S of HSV.
_SATURATE = {
    "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    "tiny_imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    "imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
# Elastic transform: amplitude and sigma of the displacements, reach of the affine jitter.
# The authors computed ImageNet-C's from a side of 244 pixels; the values in pixels count.
_ELASTIC_TRANSFORM = {
    "cifar": (
        (0, 0, 2.56),
        (1.6, 6.4, 2.24),
        (2.56, 1.92, 1.92),
        (3.2, 1.28, 1.6),
        (3.2, 0.96, 0.96),
    ),
    "tiny_imagenet": (
        (0, 0, 5.12),
        (3.2, 19.2, 3.84),
        (6.4, 5.12, 3.84),
        (6.4, 1.92, 1.92),
        (10.24, 1.92, 1.28),
    ),
    "imagenet": (
        (488, 170.8, 24.4),
        (488, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ),
}
# Pixelate: factor of the intermediate size.
_PIXELATE = {
    "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
    "tiny_imagenet": (0.9, 0.8, 0.7, 0.6, 0.5),
    "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25),
}
# JPEG: quality.
_JPEG_COMPRESSION = {
    "cifar": (80, 65, 58, 50, 40),
    "tiny_imagenet": (65, 58, 50, 40, 25),
    "imagenet": (25, 18, 15, 10, 7),
}
# Spatter: mean and deviation of the liquid's noise, its sigma, threshold, strength (of water) or
# sigma of the edge (of mud), mud or water.
_SPATTER = {
    "cifar": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "tiny_imagenet": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "imagenet": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
}

CONSTANTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "gaussian_noise": _GAUSSIAN_NOISE,
    "shot_noise": _SHOT_NOISE,
    "impulse_noise": _IMPULSE_NOISE,
    "defocus_blur": _DEFOCUS_BLUR,
    "glass_blur": _GLASS_BLUR,
    "motion_blur": _MOTION_BLUR,
    "zoom_blur": _ZOOM_BLUR,
    "snow": _SNOW,
    "frost": _FROST,
    "fog": _FOG,
    "brightness": _BRIGHTNESS,
    "contrast": _CONTRAST,
    "elastic_transform": _ELASTIC_TRANSFORM,
    "pixelate": _PIXELATE,
    "jpeg_compression": _JPEG_COMPRESSION,
    "speckle_noise": _SPECKLE_NOISE,
    "gaussian_blur": _GAUSSIAN_BLUR,
    "spatter": _SPATTER,
    "saturate": _SATURATE,
}
