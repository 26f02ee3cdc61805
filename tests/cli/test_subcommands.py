"""`augmax-jax` hands over to the command of that name, and names what is wrong."""

import importlib
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from augmax_jax.cli import listing, subcommands
from augmax_jax.runtime import extras

ROOT = Path(__file__).parent.parent.parent


def test_the_console_script_is_the_module():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["augmax-jax"].partition(":")
    assert getattr(importlib.import_module(module), function) is subcommands.main


def test_help_has_an_example_of_every_subcommand(capsys):
    assert subcommands.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, subcommand in subcommands.SUBCOMMANDS.items():
        assert f"augmax-jax {name} {subcommand.example}\n" in shown
        assert subcommand.summary in shown
    assert subcommands.main([]) == 2
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("name", subcommands.SUBCOMMANDS)
def test_every_subcommand_has_a_help_that_names_it(name, capsys):
    if importlib.util.find_spec(subcommands.SUBCOMMANDS[name].module) is None:
        pytest.skip("not there yet")
    before = list(sys.argv)
    with pytest.raises(SystemExit) as stop:
        subcommands.main([name, "--help"])
    assert not stop.value.code
    assert f"augmax-jax {name}" in capsys.readouterr().out
    assert sys.argv == before


def test_an_unknown_subcommand_is_told_from_the_nearest(capsys):
    assert subcommands.main(["trian"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: unknown subcommand 'trian'. Did you mean 'train'? Available:")
    assert message.count("\n") == 1


def test_a_missing_extra_is_one_line(capsys, monkeypatch):
    def main(arguments):
        with extras.needed("tfds"):
            importlib.import_module("no_such_package")

    monkeypatch.setattr(listing, "main", main)
    assert subcommands.main(["list"]) == 2
    message = capsys.readouterr().err
    assert message == (
        "error: the package no_such_package is not installed: pip install 'augmax-jax[tfds]'\n"
    )


def test_arguments_and_status_are_handed_on(monkeypatch):
    seen = []
    monkeypatch.setattr(listing, "main", lambda arguments: seen.append(arguments) or 7)
    assert subcommands.main(["list", "networks", "--more"]) == 7
    assert seen == [["networks", "--more"]]


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_train_and_evaluate_are_the_modes_of_main(name):
    arguments = [name, "--config=digits", "--workdir=x", "--config.epochs=none"]
    done = subprocess.run(
        [sys.executable, "-m", "augmax_jax", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "augmax-jax: loading JAX ...",
        "error: config.epochs must be a whole number, got 'none'",
    ]


def test_the_mode_is_the_subcommands(monkeypatch):
    from augmax_jax import main

    seen = []
    monkeypatch.setattr(
        main.app, "run", lambda function, argv, flags_parser: seen.append((function, argv))
    )
    subcommands.main(["evaluate", "--workdir=x"])
    assert seen == [(main.main, ["augmax-jax evaluate", "--mode=evaluate", "--workdir=x"])]
