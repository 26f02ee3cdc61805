"""Adversaries: each finds inputs that a network gets wrong, within its own set."""

from augmax_jax.adversary.augmax import (
    AugMaxResult,
    LogitsFn,
    augmax,
    random_start,
    random_targets,
)
from augmax_jax.adversary.spatial import SpatialResult, worst_of_k_spatial

__all__ = [
    "AugMaxResult",
    "LogitsFn",
    "SpatialResult",
    "augmax",
    "random_start",
    "random_targets",
    "worst_of_k_spatial",
]
