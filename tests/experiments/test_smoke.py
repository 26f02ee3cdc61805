"""Every script runs from beginning to end at toy size, as a user would start it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
SCRIPTS = [*(f"table{n}" for n in range(1, 12)), "figure1"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One workdir: scripts share their runs."""
    return tmp_path_factory.mktemp("runs")


def start(script, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{script}", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_runs(script, runs):
    done = start(script, "--smoke", "--workdir", str(runs))
    assert done.returncode == 0, done.stderr + done.stdout
    text = (runs / "smoke" / f"{script}.txt").read_text()
    assert text in done.stdout
    lines = text.rstrip().splitlines()
    assert lines[0].startswith("!!! SMOKE RUN, NOT A RESULT")
    assert lines[-1].startswith("!!! SMOKE RUN, NOT A RESULT")
    record = json.loads((runs / "smoke" / f"{script}.json").read_text())
    assert record["smoke_not_a_result"] is True
    assert {run["state"] for run in record["runs"].values()} == {"done"}
    for row in record["rows"]:
        measured = row[1 : row.index("│")] if "│" in row else row[1:]
        assert all(re.match(r"[\d,.]+", cell) for cell in measured), row
    if script == "figure1":
        assert (runs / "smoke" / "figure1.png").stat().st_size > 10_000
        numbers = json.loads((runs / "smoke" / "figure1_numbers.json").read_text())
        assert set(numbers["kinds"]) == {"clean", "augmix", "pgd", "augmax"}
        assert numbers["smoke_not_a_result"] is True

    again = start(script, "--smoke", "--workdir", str(runs))
    assert again.returncode == 0, again.stderr
    assert not re.search(
        r"^(\[\d+/\d+\]|compiling)", again.stdout, re.MULTILINE
    )  # nothing was run again
