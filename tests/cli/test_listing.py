"""`augmax-jax list` names what the registries have, one line each."""

import jax
import jax.numpy as jnp
import pytest

from augmax_jax import corruptions, methods, models
from augmax_jax.augment import ALL
from augmax_jax.cli import listing
from augmax_jax.data.benchmarks import NAMES
from augmax_jax.runtime import config_file

REGISTRIES = {
    "networks": models.MODELS,
    "methods": methods.METHODS,
    "norms": models.NORMS,
    "operators": ALL,
    "corruptions": (*corruptions.BENCHMARK, *corruptions.EXTRA),
    "benchmarks": ("corrupted", "spatial", *NAMES),
    "configs": config_file.named(),
}


def names(text):
    return [line.split()[0] for line in text.splitlines()]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_a_kind_is_listed_one_line_each(kind, capsys):
    assert listing.main([kind]) == 0
    assert names(capsys.readouterr().out) == list(REGISTRIES[kind])


def test_everything_is_listed_by_default(capsys, monkeypatch):
    monkeypatch.setattr(listing, "parameters", lambda *_: 1)  # traces every network
    assert listing.main([]) == 0
    sections = capsys.readouterr().out.split("\n\n")
    assert [section.splitlines()[0] for section in sections] == [f"{k}:" for k in listing.KINDS]


def test_what_cannot_be_listed_is_told_from_the_nearest(capsys):
    assert listing.main(["network"]) == 2
    assert "Did you mean 'networks'?" in capsys.readouterr().err


@pytest.mark.parametrize("norm", models.NORMS)
def test_parameters_are_those_of_the_variables(norm):
    network = models.create("tiny", 7, norm=norm)
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert listing.parameters("tiny", 7, norm) == count


@pytest.mark.parametrize(
    ("name", "count"), [("resnet18_imagenet", 11_689_512), ("resnet50_imagenet", 25_557_032)]
)
def test_parameters_are_those_of_torchvision(name, count):
    assert listing.parameters(name, 1000, "bn") == count
