"""AugMax-DuBIN, ResNeXt-29 (4x32d) on CIFAR-100. Paper (Table 3): SA 80.70, RA 68.86."""

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.data.name = "cifar100"
    c.model.name = "resnext29"
    c.evaluate.benchmarks = ("cifar100_c",)
    return c
