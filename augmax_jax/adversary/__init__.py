"""Adversaries: each finds inputs that a network gets wrong, within its own set."""

from augmax_jax.adversary.augmax import (
    AugMaxResult,
    LogitsFn,
    augmax,
    random_start,
    random_targets,
)

__all__ = ["AugMaxResult", "LogitsFn", "augmax", "random_start", "random_targets"]
