r"""AugMax-DuBIN, WRN-40-2 on CIFAR-10 (the paper's Table 2).

    python -m augmax_jax.main --config=configs/cifar10_wrn40_2.py \
        --workdir=runs/cifar10_wrn40_2 \
        --config.evaluate.data_dir=DIR

DIR holds CIFAR-10-C and CIFAR-10.1 (docs/data.md).

Expect: paper: SA 95.68, RA 90.67.
Cost: not measured; 200 epochs.
"""

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.data.name = "cifar10"
    c.model.name = "wrn40_2"
    c.evaluate.benchmarks = ("cifar10_c", "cifar10_1_v4", "spatial")
    return c
