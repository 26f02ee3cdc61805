"""Makes a benchmark image's key from its set, corruption and index, so that a set made
twice is the same."""

import jax

from augmax_jax.corruptions import constants
from augmax_jax.runtime import errors


def benchmark_key(seed: int, name: str, severity: int) -> jax.Array:
    """The key of one corruption and severity; an image's key is this folded with its index.

    So a benchmark on disk and one made on the fly are the same if their seeds are.

    Args:
        seed: seed of the set.
        name: one of the 19 corruptions.
        severity: 1 to 5.

    Returns:
        One typed key.

    Raises:
        ValueError: the name is unknown.
    """
    names = constants.BENCHMARK + constants.EXTRA
    errors.check_name("corruption", name, names)
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), names.index(name)), severity)
