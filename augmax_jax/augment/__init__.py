"""Augmentation on the device: operators, chains, mixing, flip and crop."""

from augmax_jax.augment import operators, standard
from augmax_jax.augment.chains import augmix, sample_chains
from augmax_jax.augment.mixing import mix, sample_mixing_weights, to_float
from augmax_jax.augment.operators import ALL, AUGMIX, Operator

__all__ = [
    "ALL",
    "AUGMIX",
    "Operator",
    "augmix",
    "mix",
    "operators",
    "sample_chains",
    "sample_mixing_weights",
    "standard",
    "to_float",
]
