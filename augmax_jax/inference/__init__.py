"""A trained network in its user's hands: loaded from where it was left, it names what it sees.

network = augmax_jax.load("runs/mine")
network.predict("photo.jpg")                    # [[("cat", 0.93), ("dog", 0.04), ...]]
"""

from augmax_jax.inference.loading import load
from augmax_jax.inference.predictor import Predictor

__all__ = ["Predictor", "load"]
