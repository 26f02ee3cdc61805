"""Checks of the settings of random chains."""

from augmax_jax.runtime.checks import check_count, check_number

LOWEST_LEVEL = 0.1
FULL_STRENGTH = 10  # the level at which operators act with their full strength


def check_chain_settings(
    width: int, depth: int | None, severity: float, *, prefix: str = ""
) -> None:
    """Raises ValueError for settings of random chains that are out of range.

    Args:
        width: chains per image, at least 1.
        depth: operators per chain, at least 1, or None.
        severity: upper end of the levels, in [0.1, 10].
        prefix: goes before each name in the message, such as "config.augment.".
    """
    check_count(f"{prefix}width", width, low=1)
    if depth is not None:
        check_count(f"{prefix}depth", depth, low=1)
    check_number(f"{prefix}severity", severity, low=LOWEST_LEVEL, high=FULL_STRENGTH)
