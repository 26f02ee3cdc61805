"""The fenced blocks of README.md, CONTRIBUTING.md and docs/, and the commands in them."""

import dataclasses
import os
import re
import stat
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# A reader sees in the page's source why a block is not run.
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# What a block may call; each is replaced by a program that notes its arguments.
LAUNCHERS = ("gcloud", "mpirun", "srun")  # start a command on several machines
PROGRAMS = ("python", "augmax-jax", "make", "pip", "pre-commit", "tensorboard", *LAUNCHERS)
RECORDER = """#!/bin/sh
{ printf '%s\\0' "XLA_FLAGS=$XLA_FLAGS" "${0##*/}" "$@"; printf '\\n\\0'; } >> "$RECORD"
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: its file.
        line: the line of the page that its code starts on.
        language: what stands behind the fence.
        code: its text.
        reason: why it is not run; empty if it is.
    """

    page: Path
    line: int
    language: str
    code: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Command:
    """One call of a program in a block.

    Attributes:
        block: where it stands.
        flags: value of XLA_FLAGS.
        program: one of `PROGRAMS`.
        arguments: its arguments, as bash hands them over.
    """

    block: Block
    flags: str
    program: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.block}: {self.program} {' '.join(self.arguments)}"


def of_page(page: Path) -> list[Block]:
    """All blocks of a page, in their order."""
    text = page.read_text()
    return [
        Block(
            page,
            text[: found.start("code")].count("\n") + 1,
            found["language"],
            found["code"],
            found["reason"] or "",
        )
        for found in BLOCK.finditer(text)
    ]


def commands(block: Block, folder: Path) -> list[Command]:
    """What bash calls when it runs the block, with programs that do nothing.

    Args:
        block: of language "bash".
        folder: an empty folder for the programs.

    Raises:
        AssertionError: bash does not understand the block, or it calls another program.
    """
    record = folder / "record"
    record.touch()
    for name in PROGRAMS:
        program = folder / name
        program.write_text(RECORDER)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = {"PATH": f"{folder}", "RECORD": str(record), "HOME": os.environ["HOME"]}
    done = subprocess.run(
        ["/bin/bash", "-euc", block.code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"
    found = []
    for call in record.read_text().split("\n\0"):
        if call:
            flags, program, *arguments = call.removesuffix("\0").split("\0")
            found.append(
                Command(block, flags.removeprefix("XLA_FLAGS="), program, tuple(arguments))
            )
    return found
