"""DeepAugment: copies of a dataset, distorted by networks with damaged weights and activations.

Hendrycks et al. 2021, "The Many Faces of Robustness", which the paper combines with AugMax in its
Tables 4 and 5. The commands are `python -m augmax_jax.deepaugment distort` and `... train`; this
package has their functions. `config.data.extra_train` trains on the copies.
"""

from augmax_jax.deepaugment.distortion import distort
from augmax_jax.deepaugment.networks import NETWORKS
from augmax_jax.deepaugment.training import train

__all__ = ["NETWORKS", "distort", "train"]
