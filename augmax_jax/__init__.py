"""AugMax in JAX: train image classifiers that stay accurate under distribution shift.

What a library user needs is one name away and imported on first use:

    from augmax_jax import augment, adversary, corruptions, models, objectives
    result = augmax_jax.augmax(key, logits_fn, images, labels)   # in anyone's training loop
    mixed = augmax_jax.augmix(key, images)
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = ("adversary", "augment", "corruptions", "data", "models", "objectives")
_FUNCTIONS = {
    "augmax": "augmax_jax.adversary.from_images",
    "augmix": "augmax_jax.augment",
    "evaluate_model": "augmax_jax.evaluation.robustness",
    "evaluate_workdir": "augmax_jax.training.commands",
    "train_and_evaluate": "augmax_jax.training.commands",
}

__all__ = ["__version__", *_MODULES, *_FUNCTIONS]


def __getattr__(name: str) -> Any:
    """Imports a public module or function when it is first asked for."""
    if name in _MODULES:
        return importlib.import_module(f"augmax_jax.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'augmax_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
