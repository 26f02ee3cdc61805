"""What pyproject.toml cannot say: the wheel has configs/ as augmax_jax/configs."""

from setuptools import find_packages, setup

CONFIGS = "augmax_jax.configs"

setup(
    packages=[
        *find_packages(include=["augmax_jax", "augmax_jax.*"]),
        CONFIGS,
        f"{CONFIGS}.baselines",
    ],
    package_dir={CONFIGS: "configs"},
    package_data={
        "augmax_jax": ["py.typed", "report/templates/*"],
        f"{CONFIGS}.baselines": ["*.json"],
    },
)
