"""`augmax-jax SUBCOMMAND ...`, also as `python -m augmax_jax`; the room `cli` has its code."""

import sys

from augmax_jax.cli.subcommands import main

if __name__ == "__main__":
    sys.exit(main())
