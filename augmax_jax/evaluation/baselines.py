"""The classifiers that corruption errors are relative to, and the published ones."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from augmax_jax.corruptions import BENCHMARK


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The classifier that corruption errors are relative to.

    Attributes:
        name: its name in results.
        errors: corruption -> its errors at the five severities, or their mean.
        clean_error: error on clean images; needed for relative mCE only.
        constants: the benchmark whose severities gave the errors ("cifar", "tiny_imagenet" or
            "imagenet"); "" if that is not known.
    """

    name: str
    errors: Mapping[str, float | Sequence[float]]
    clean_error: float | None = None
    constants: str = ""

    def mean_error(self, corruption: str) -> float:
        """Error on one corruption, averaged over severities.

        Raises:
            ValueError: the baseline has no such error, or it is not a fraction in (0, 1].
        """
        if corruption not in self.errors:
            raise ValueError(
                f"baseline {self.name!r} has no error for {corruption!r}; it has: "
                f"{', '.join(self.errors)}"
            )
        try:
            error = float(np.mean(np.asarray(self.errors[corruption], float)))
        except (TypeError, ValueError):
            error = float("nan")  # no number: refused as such
        if not 0 < error <= 1:
            raise ValueError(
                f"error of baseline {self.name!r} on {corruption!r} must be a fraction in (0, 1], "
                f"got {error}"
            )
        return error


ALEXNET_ERRORS = dict(
    zip(
        BENCHMARK,
        (
            *(0.886428, 0.894468, 0.922640),
            *(0.819880, 0.826268, 0.785948, 0.798360),
            *(0.866816, 0.826572, 0.819324, 0.564592),
            *(0.853204, 0.646056, 0.717840, 0.606500),
        ),
        strict=True,
    )
)
"""Mean errors of AlexNet on ImageNet-C, the baseline of the benchmark's authors."""

ALEXNET_CLEAN_ERROR = 0.43478
"""Top-1 error of the same network on clean ImageNet, as torchvision publishes it."""

TINY_IMAGENET_RESNET18_ERRORS = dict(
    zip(
        BENCHMARK,
        (
            *(0.8037, 0.7597, 0.7758),
            *(0.8426, 0.8274, 0.7907, 0.8212),
            *(0.7497, 0.7381, 0.7433, 0.6800),
            *(0.8939, 0.7308, 0.6121, 0.6452),
        ),
        strict=True,
    )
)
"""Mean errors of the paper's normally trained ResNet-18 on Tiny ImageNet-C."""

TINY_IMAGENET_RESNET18_CLEAN_ERROR = 0.3836
"""Error of the same network on clean Tiny ImageNet (paper, Table 5: SA 61.64)."""

BASELINES = {
    baseline.name: baseline
    for baseline in (
        Baseline("alexnet", ALEXNET_ERRORS, ALEXNET_CLEAN_ERROR, constants="imagenet"),
        Baseline(
            "tiny_imagenet_resnet18",
            TINY_IMAGENET_RESNET18_ERRORS,
            TINY_IMAGENET_RESNET18_CLEAN_ERROR,
            constants="tiny_imagenet",
        ),
    )
}
"""Published baselines: AlexNet for ImageNet-C, the paper's ResNet-18 for Tiny ImageNet-C."""
