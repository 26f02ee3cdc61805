"""The commands print on any terminal, and show what the package's modules say."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from augmax_jax.runtime import console
console.prepare()
print("97.1 \\u00b1 0.2 %, caf\\udce9")
logging.getLogger("augmax_jax.data.folder").info("read caf\\udce9")
logging.getLogger("other").info("not shown")
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_text_is_printed(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
    )
    assert done.stdout.endswith(b" 0.2 %, caf\\udce9\n")
    assert done.stderr == b"read caf\\udce9\n"


FAILING = """
import asyncio
from augmax_jax.runtime import console

class Fails:
    def __init__(self, fail):
        self.fail = fail

    def __del__(self):
        self.fail()

def closed():
    loop = asyncio.new_event_loop()
    loop.close()
    loop.call_soon_threadsafe(print)

console.prepare()
console.prepare()  # a notebook runs several commands
Fails(closed)
Fails(lambda: 1 / 0)
"""


def test_errors_that_nobody_can_catch_are_shown_but_for_those_of_a_closed_loop():
    done = subprocess.run(
        [sys.executable, "-c", FAILING], capture_output=True, check=True, text=True
    )
    assert "Event loop is closed" not in done.stderr
    assert done.stderr.count("ZeroDivisionError") == 1
