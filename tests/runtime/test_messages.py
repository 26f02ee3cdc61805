"""What a command shows: messages of the package's own modules, and others' warnings."""

import subprocess
import sys

PROGRAM = """
import logging, sys
from augmax_jax.runtime import messages
messages.show(*map(int, sys.argv[1:]))
for name in ("augmax_jax.data.loading", "__main__", "absl", "somewhere.else"):
    logging.getLogger(name).info("info of %s", name)
    logging.getLogger(name).warning("warning of %s", name)
"""


def shown(*arguments):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_own_messages_show_from_info_on_and_others_from_warnings():
    lines = shown()
    assert [line for line in lines if line.startswith("info")] == [
        "info of augmax_jax.data.loading",
        "info of __main__",
    ]
    assert sum(line.startswith("warning") for line in lines) == 4
    assert not any(line.startswith("info") for line in shown("30"))
