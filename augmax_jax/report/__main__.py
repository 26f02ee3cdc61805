"""The command: python -m augmax_jax.report RUN [RUN ...] [--out FILE]."""

import argparse
import sys
from collections.abc import Sequence

from augmax_jax import report
from augmax_jax.report import runs
from augmax_jax.runtime import console


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes one run's report, or compares several."""
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.report"), description=main.__doc__
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="workdir of a run")
    parser.add_argument(
        "--out", help="file to write (default: RUN/report.html, comparison.html of several)"
    )
    given = parser.parse_args(arguments)
    console.prepare()
    try:
        if len(given.runs) == 1:
            path = report.write(given.runs[0], out=given.out)
            text = report.summary_table(runs.load(given.runs[0]).results)
        else:
            path, text = report.compare(given.runs, out=given.out or report.COMPARISON)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(text)
    print(f"\nReport: {path}")


if __name__ == "__main__":
    main()
