r"""AugMax-DuBIN with the attack on half of every batch, WRN-40-2 on CIFAR-10: not in the paper.

    python -m augmax_jax.main --config=configs/cifar10_wrn40_2_half_attack.py \
        --workdir=runs/cifar10_wrn40_2_half_attack \
        --config.evaluate.data_dir=DIR

DIR holds CIFAR-10-C and CIFAR-10.1 (docs/data.md).

Expect: not trained at this size; in a study on two CPU cores RA of AugMax-DuBIN or better.
Cost: half of the ascent; in that study 4.87 gradients of an image in a step instead of 6.74.
"""

from pathlib import Path

from augmax_jax.config import load


def get_config():
    c = load(Path(__file__).with_name("cifar10_wrn40_2.py"))
    c.adversary.every = 2  # docs/results.md has its figures ("Variants that may do better")
    return c
