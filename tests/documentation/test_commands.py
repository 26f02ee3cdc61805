"""Every command of README, CONTRIBUTING and docs/ is understood; slow tests run it at toy size."""

import argparse
import ast
import contextlib
import functools
import importlib
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from augmax_jax import main
from augmax_jax.cli.subcommands import SUBCOMMANDS
from augmax_jax.training.run import check
from tests.documentation import blocks
from tests.documentation.blocks import ROOT, Block, Command

every_page = pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: page.stem)
# Blocks that may be left out of all this; each says why in a comment above it.
MOST_NOT_RUN = 12
CALL = re.compile(r"^\s*(python -m|augmax-jax|make|pip install|tensorboard) \w", re.MULTILINE)
# Commands in the text: `python -m X --flag VALUE`. A name in capitals stands for something else,
# and a module or subcommand alone for the command in general.
INLINE = re.compile(r"`((?:python -m [\w.]+|augmax-jax \w+) [^`]*)`")
PLACEHOLDER = re.compile(r"\.\.\.|\b[A-Z]{2,}\b|<|tableN")


class Parsed(Exception):
    """The command line was read without an error."""


def of_page(page: Path, folder: Path) -> list[Command]:
    found = []
    for block in blocks.of_page(page):
        if block.language == "bash" and not block.reason:
            programs = folder / str(block.line)
            programs.mkdir()
            found += blocks.commands(block, programs)
    return found


def inline(page: Path) -> list[Command]:
    text = blocks.BLOCK.sub("", page.read_text())
    found = []
    for match in INLINE.finditer(text):
        code = " ".join(match[1].split())
        if not PLACEHOLDER.search(code):
            program, *arguments = shlex.split(code)
            found.append(Command(Block(page, 0, "", code, ""), "", program, tuple(arguments)))
    return found


@every_page
def test_commands_stand_in_blocks_that_are_checked(page):
    for block in blocks.of_page(page):
        assert block.language in ("", "bash", "python", "bibtex"), block
        if block.language == "":
            assert not CALL.search(block.code), f"{block}: mark it as bash"
    outside = blocks.BLOCK.sub("", page.read_text())
    assert not re.search(r"^    (python -m|augmax-jax|pip install)", outside, re.MULTILINE)


def test_few_blocks_are_not_run_and_each_says_why():
    left_out = {str(b): b.reason for page in blocks.PAGES for b in blocks.of_page(page) if b.reason}
    print("\n".join(f"{block} is not run: {reason}" for block, reason in left_out.items()))
    assert len(left_out) <= MOST_NOT_RUN, left_out
    assert all(len(reason) > 10 for reason in left_out.values())
    marks = sum(page.read_text().count("<!-- not run") for page in blocks.PAGES)
    assert marks == len(left_out), "a mark must stand right above its block"


@every_page
def test_commands_are_understood(page, tmp_path, monkeypatch):
    for command in [*of_page(page, tmp_path), *inline(page)]:
        try:
            understand(command, monkeypatch)
        except SystemExit as error:
            if error.code not in (0, None):  # --help
                pytest.fail(f"{command}\n{error.code}")
        except Exception as error:
            raise AssertionError(f"{command}: {error}") from error


def understand(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads the command line as the program would; raises what it would raise."""
    monkeypatch.chdir(ROOT)
    arguments = list(command.arguments)
    if command.program == "python":
        assert arguments[0] == "-m", command
        understand_module(arguments[1], arguments[2:], monkeypatch)
    elif command.program == "augmax-jax":
        if arguments[0].startswith("-"):
            return
        subcommand = SUBCOMMANDS[arguments[0]]
        module = importlib.import_module(subcommand.module)
        understand_module(subcommand.module, arguments[1:], monkeypatch, module.main)
    elif command.program == "make":
        done = subprocess.run(["make", "-n", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif command.program == "pip":
        understand_pip(arguments)
    elif command.program in blocks.LAUNCHERS:  # what they start, which may be one argument
        started = shlex.split(" ".join(arguments).replace("--command=", ""))
        rest = tuple(started[started.index("augmax-jax") + 1 :])
        understand(Command(command.block, command.flags, "augmax-jax", rest), monkeypatch)


def understand_module(
    name: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    entry: Callable[[], object] | None = None,
) -> None:
    """A module's command; `entry` is its function where it is a subcommand of another."""
    if name == "pytest":
        assert all((ROOT / a).exists() for a in arguments if not a.startswith("-"))
    elif name == "augmax_jax.main":
        understand_run(arguments)
    else:
        parse = argparse.ArgumentParser.parse_args

        def stop(parser, args=None, namespace=None):
            parse(parser, args, namespace)
            raise Parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            entry() if entry else runpy.run_module(name, run_name="__main__", alter_sys=True)
        except Parsed:
            pass
        else:
            pytest.fail(f"{name} did not read its command line")
        finally:
            monkeypatch.undo()
            monkeypatch.chdir(ROOT)


def understand_run(arguments: list[str]) -> None:
    """Reads the flags and settings of a training or evaluation, and checks the settings."""
    (workdir,) = [a.removeprefix("--workdir=") for a in arguments if a.startswith("--workdir=")]
    if not any(a.startswith("--config=") for a in arguments):  # those of the run that is there
        arguments = [f"--config={started()[workdir]}", *arguments]
    config = main.parse_flags(["main", *arguments])
    with contextlib.suppress(FileNotFoundError):  # data and results of runs that are not here
        check(config)


@functools.cache
def started() -> dict[str, str]:
    """Workdir -> config of the runs that the pages start."""
    text = "\n".join(page.read_text() for page in blocks.PAGES).replace("\\\n", " ")
    found = re.findall(r"--config=(\S+) [^\n]*?--workdir=(\S+)", text)
    return {workdir: config for config, workdir in found}


def understand_pip(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for argument in arguments[1:]:
        if argument.startswith("."):
            extras = re.findall(r"[\w-]+", argument)
            assert set(extras) <= project["optional-dependencies"].keys()
        elif argument.endswith(".txt"):
            assert (ROOT / argument).exists()


@every_page
def test_snippets_use_names_that_exist(page):
    """What a Python block imports is there, and so is every name of a module that it imports."""
    for block in blocks.of_page(page):
        if block.language != "python":
            continue
        tree = ast.parse(block.code)
        modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    found = importlib.import_module(alias.name)
                    modules[alias.asname or alias.name] = found
            elif isinstance(node, ast.ImportFrom):
                source = importlib.import_module(node.module or "")
                for alias in node.names:
                    if not hasattr(source, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")
                    modules[alias.asname or alias.name] = getattr(source, alias.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                if type(module).__name__ == "module" and not isinstance(node.ctx, ast.Store):
                    assert hasattr(module, node.attr), f"{block}: {node.value.id}.{node.attr}"
