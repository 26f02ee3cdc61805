r"""AugMax-DuBIN, ResNet-18 on CIFAR-10 (the paper's Table 2).

    python -m augmax_jax.main --config=configs/cifar10_resnet18.py \
        --workdir=runs/cifar10_resnet18 \
        --config.evaluate.data_dir=DIR

DIR holds CIFAR-10-C and CIFAR-10.1 (docs/data.md).

Expect: paper: SA 95.76, RA 90.36.
Cost: not measured; 200 epochs.
"""

from pathlib import Path

from augmax_jax.config import load


def get_config():
    c = load(Path(__file__).with_name("cifar10_wrn40_2.py"))
    c.model.name = "resnet18"
    return c
