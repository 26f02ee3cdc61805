"""AugMax-DuBIN, WRN-40-2 on CIFAR-10. Paper: SA 95.68, RA 90.67 (Table 2)."""

from augmax_jax.config import defaults


def get_config():
    return defaults()
