"""Input: a dataset by name or folder becomes three splits of uint8 images and int32 labels.

Small sets are read once into memory (and the trainer keeps them on the devices); large
ones are decoded on the fly. In both cases the training stream is a pure function
of `(seed, step)`, so a resumed run gets the same batches as an uninterrupted one, and evaluation
yields every example exactly once.

TensorFlow is imported only when a tfds dataset is read.
"""

from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.images import BadImageError
from augmax_jax.data.loading import load
from augmax_jax.data.settings import DataConfig, check
from augmax_jax.data.split import Batch, Data, Split

__all__ = [
    "ArraySplit",
    "BadImageError",
    "Batch",
    "Data",
    "DataConfig",
    "Split",
    "check",
    "load",
]
