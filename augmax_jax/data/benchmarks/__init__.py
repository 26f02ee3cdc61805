"""Published robustness sets, and generated ones of the same layout, behind one interface."""

from augmax_jax.data.benchmarks.benchmark import Benchmark
from augmax_jax.data.benchmarks.opening import NAMES, open_benchmark

__all__ = ["NAMES", "Benchmark", "open_benchmark"]
