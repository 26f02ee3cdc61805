"""AugMax-DuBIN, WRN-40-2 on CIFAR-10. Paper (Table 2): SA 95.68, RA 90.67."""

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.model.name = "wrn40_2"
    c.evaluate.benchmarks = ("cifar10_c", "cifar10_1_v4", "spatial")
    return c
