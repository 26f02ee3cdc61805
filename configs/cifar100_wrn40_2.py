r"""AugMax-DuBIN, WRN-40-2 on CIFAR-100 (the paper's Table 3).

    python -m augmax_jax.main --config=configs/cifar100_wrn40_2.py \
        --workdir=runs/cifar100_wrn40_2 \
        --config.evaluate.data_dir=DIR

DIR holds CIFAR-100-C (docs/data.md).

Expect: paper: SA 76.80, RA 66.35.
Cost: not measured; 200 epochs.
"""

from pathlib import Path

from augmax_jax.config import load


def get_config():
    c = load(Path(__file__).with_name("cifar10_wrn40_2.py"))
    c.data.name = "cifar100"
    c.evaluate.benchmarks = ("cifar100_c",)
    return c
