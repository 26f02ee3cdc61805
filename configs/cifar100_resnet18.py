r"""AugMax-DuBIN, ResNet-18 on CIFAR-100 (the paper's Table 3).

    python -m augmax_jax.main --config=configs/cifar100_resnet18.py \
        --workdir=runs/cifar100_resnet18 \
        --config.evaluate.data_dir=DIR

DIR holds CIFAR-100-C (docs/data.md).

Expect: paper: SA 78.69, RA 65.75.
Cost: not measured; 200 epochs.
"""

from pathlib import Path

from augmax_jax.config import load
from augmax_jax.runtime.following import by_method


def get_config():
    c = load(Path(__file__).with_name("cifar100_wrn40_2.py"))
    c.model.name = "resnet18"
    c.objective.consistency_weight = 1.0  # on CIFAR only this network has another λ than 10
    by_method(c, "objective.consistency_weight", augmix=12.0)
    return c
