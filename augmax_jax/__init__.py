"""AugMax in JAX: train image classifiers that stay accurate under distribution shift.

Everything a library user needs is a name of this package, imported on first use:

    from augmax_jax import augment, adversary, corruptions, models, objectives
    result = augmax_jax.augmax(key, logits_fn, images, labels)   # in anyone's training loop
    mixed = augmax_jax.augmix(key, images)
    augmax_jax.load("runs/mine").predict("photo.jpg")    # names and probabilities
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "adversary",
    "augmax",
    "augment",
    "augmix",
    "corruptions",
    "data",
    "evaluate_model",
    "evaluate_workdir",
    "export_stablehlo",
    "load",
    "models",
    "objectives",
    "torch_export",
    "torch_files",
    "torch_import",
    "torch_keys",
    "train_and_evaluate",
]
_MODULES = {
    "torch_files": "augmax_jax.pytorch.files",
    "torch_keys": "augmax_jax.pytorch.keys",
}  # the other modules are in this folder
_FUNCTIONS = {
    "augmax": "augmax_jax.adversary.from_images",
    "augmix": "augmax_jax.augment",
    "evaluate_model": "augmax_jax.robustness",
    "evaluate_workdir": "augmax_jax.training.commands",
    "export_stablehlo": "augmax_jax.inference.exporting",
    "load": "augmax_jax.inference.loading",
    "train_and_evaluate": "augmax_jax.training.commands",
}

if TYPE_CHECKING:  # the same names, for type checkers
    from augmax_jax import (
        adversary,
        augment,
        corruptions,
        data,
        models,
        objectives,
        torch_export,
        torch_import,
    )
    from augmax_jax.adversary.from_images import augmax
    from augmax_jax.augment import augmix
    from augmax_jax.evaluation.any_network import evaluate_model
    from augmax_jax.inference.exporting import export_stablehlo
    from augmax_jax.inference.loading import load
    from augmax_jax.pytorch import files as torch_files
    from augmax_jax.pytorch import keys as torch_keys
    from augmax_jax.training.commands import evaluate_workdir, train_and_evaluate
else:  # hidden from type checkers, which would then accept any name

    def __getattr__(name: str) -> Any:
        """Imports a public module or function when it is first asked for."""
        if name in _FUNCTIONS:
            return getattr(importlib.import_module(_FUNCTIONS[name]), name)
        if name in __all__:
            return importlib.import_module(_MODULES.get(name, f"augmax_jax.{name}"))
        raise AttributeError(f"module 'augmax_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
