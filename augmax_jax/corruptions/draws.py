"""Makes a benchmark image's key from its set, corruption and index, so that a set made
twice is the same."""

import jax

from augmax_jax.corruptions import constants
from augmax_jax.runtime import errors
from augmax_jax.runtime.checks import check_count


def benchmark_key(seed: int, name: str, severity: int) -> jax.Array:
    """The key of one corruption and severity; an image's key is this folded with its index.

    So a benchmark on disk and one made on the fly are the same if their seeds are.

    Args:
        seed: seed of the set, from 0 on.
        name: one of the 19 corruptions.
        severity: 1 to 5.

    Returns:
        One typed key.

    Raises:
        ValueError: the name is unknown, or a number is not as described.
    """
    check_count("seed", seed)
    check_severity(severity)
    names = constants.BENCHMARK + constants.EXTRA
    errors.check_name("corruption", name, names)
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), names.index(name)), severity)


def check_severity(severity: int) -> None:
    """Raises ValueError unless it is one of the five."""
    check_count("severity", severity, low=constants.SEVERITIES[0], high=constants.SEVERITIES[-1])
