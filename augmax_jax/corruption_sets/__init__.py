"""Writes `-C` benchmarks of any dataset in the layouts of the published ones."""

from augmax_jax.corruption_sets.clean_images import Source
from augmax_jax.corruption_sets.writer import generate

__all__ = ["Source", "generate"]
