"""What a command shows of the package's messages: its own from INFO on, others' warnings."""

import logging


def show(level: int = logging.INFO) -> None:
    """Shows the messages of every module of the package on standard error, text alone.

    Args:
        level: of the package's messages; those of other libraries show from WARNING on.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    # A module that is run by `python -m` has the second name.
    for name in ("augmax_jax", "__main__"):
        logging.getLogger(name).setLevel(level)
