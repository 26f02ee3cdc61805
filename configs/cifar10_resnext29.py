"""AugMax-DuBIN, ResNeXt-29 (4x32d) on CIFAR-10. Paper (Table 2): SA 96.39, RA 92.11."""

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.model.name = "resnext29"
    c.evaluate.benchmarks = ("cifar10_c", "cifar10_1_v4", "spatial")
    return c
