"""Measures a network's accuracy on clean images and under distribution shift."""

from augmax_jax.evaluation.checks import check

__all__ = ["check"]
