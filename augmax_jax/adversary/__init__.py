"""Adversaries: each finds inputs that a network gets wrong, within its own set."""

from augmax_jax.adversary import noise_generator
from augmax_jax.adversary.augmax import AugMaxResult, augmax, random_start, random_targets
from augmax_jax.adversary.inputs import LogitsFn
from augmax_jax.adversary.pgd import PGDResult, pgd
from augmax_jax.adversary.spatial import SpatialResult, worst_of_k_spatial
from augmax_jax.adversary.stadv import StAdvResult, flow_smoothness, stadv, warp
from augmax_jax.adversary.worst_of_k import WorstOfKResult, worst_of_k

__all__ = [
    "AugMaxResult",
    "LogitsFn",
    "PGDResult",
    "SpatialResult",
    "StAdvResult",
    "WorstOfKResult",
    "augmax",
    "flow_smoothness",
    "noise_generator",
    "pgd",
    "random_start",
    "random_targets",
    "stadv",
    "warp",
    "worst_of_k",
    "worst_of_k_spatial",
]
