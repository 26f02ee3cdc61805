"""The corruptions of CIFAR-C, Tiny ImageNet-C and ImageNet-C, batched and on the device.

Fifteen corruptions in five severities make the benchmarks (`BENCHMARK`), four more are kept for
validation (`EXTRA`). Sources: Hendrycks and Dietterich, "Benchmarking neural network robustness
to common corruptions and perturbations", ICLR 2019, and the scripts that made the published sets.
All of them, JPEG included, are JAX functions: they can be jitted and run on any device.
"""

from augmax_jax.corruptions.constants import (
    BENCHMARK,
    BENCHMARKS,
    EXTRA,
    FAMILIES,
    REVISION,
    SEVERITIES,
)
from augmax_jax.corruptions.draws import benchmark_key
from augmax_jax.corruptions.registry import corrupt

__all__ = [
    "BENCHMARK",
    "BENCHMARKS",
    "EXTRA",
    "FAMILIES",
    "REVISION",
    "SEVERITIES",
    "benchmark_key",
    "corrupt",
]
