"""AugMax-DuBIN, ResNet-18 on CIFAR-10. Paper (Table 2): SA 95.76, RA 90.36."""

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.model.name = "resnet18"
    c.evaluate.benchmarks = ("cifar10_c", "cifar10_1_v4", "spatial")
    return c
