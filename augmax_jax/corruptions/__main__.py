"""The command `python -m augmax_jax.corruptions`; `corruption_sets` has its code."""

import sys

from augmax_jax.corruption_sets.command import main

if __name__ == "__main__":
    sys.exit(main())
