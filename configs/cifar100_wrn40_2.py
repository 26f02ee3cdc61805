"""AugMax-DuBIN, WRN-40-2 on CIFAR-100. Paper (Table 3): SA 76.80, RA 66.35."""

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.data.name = "cifar100"
    c.model.name = "wrn40_2"
    c.evaluate.benchmarks = ("cifar100_c",)
    return c
