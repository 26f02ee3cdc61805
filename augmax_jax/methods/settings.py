"""What the methods read from the config."""

from ml_collections import ConfigDict

from augmax_jax.augment import operators


def operator_names(config: ConfigDict) -> tuple[str, ...]:
    """The operators that `config.augment.operators` names: a set's name, or names."""
    value = config.augment.operators
    sets = {"augmix": operators.AUGMIX, "all": operators.ALL}
    if value in sets:
        return sets[value]
    return tuple(name.strip() for name in value.split(","))
