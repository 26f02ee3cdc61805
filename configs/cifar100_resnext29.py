r"""AugMax-DuBIN, ResNeXt-29 (4x32d) on CIFAR-100 (the paper's Table 3).

    python -m augmax_jax.main --config=configs/cifar100_resnext29.py \
        --workdir=runs/cifar100_resnext29 \
        --config.evaluate.data_dir=DIR

DIR holds CIFAR-100-C (docs/data.md).

Expect: paper: SA 80.70, RA 68.86.
Cost: not measured; 200 epochs.
"""

from pathlib import Path

from augmax_jax.config import load


def get_config():
    c = load(Path(__file__).with_name("cifar100_wrn40_2.py"))
    c.model.name = "resnext29"
    return c
