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
