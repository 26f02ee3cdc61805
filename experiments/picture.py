"""The picture of README: one image, its chains, their random mix and their worst mix.

    python -m experiments.picture

A small network is first trained on the embedded digits, with standard training. AugMix and AugMax
then mix the same chains of test images, and the picture shows the image whose class loses most by
AugMax alone. Under each image is the probability that the network gives to its class.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import augmax_jax
from augmax_jax import adversary, augment, data
from augmax_jax.inference.predictor import Predictor
from augmax_jax.report import pictures
from augmax_jax.runtime import compiler, config_file, console, keys

OUT = Path(__file__).parent.parent / "docs" / "pictures" / "augmax.png"
WIDTH = 3
TILE = 160  # pixels of an image's side


def train(epochs: float) -> Predictor:
    """A network of standard training on the digits.

    Args:
        epochs: passes over the training set.
    """
    from augmax_jax.training.commands import train_and_evaluate

    config = config_file.load("digits")
    config.method = "normal"
    config.model.norm = "bn"
    config.epochs = epochs
    config.num_devices = 1
    config.pictures_every_epochs = 0.0
    config.tensorboard = False
    config.evaluate.benchmarks = ()
    config.evaluate.baseline = ""
    with tempfile.TemporaryDirectory() as workdir:
        train_and_evaluate(config, workdir)
        return augmax_jax.load(workdir)


def draw(network: Predictor, *, count: int = 128, seed: int = 0) -> np.ndarray:
    """The picture.

    Args:
        network: a network of the digits.
        count: test images to choose from.
        seed: of the chains and weights.

    Returns:
        uint8 `[H, W, 3]`.
    """
    split = data.load({"name": "digits"}, seed=0).test
    images, labels = (jnp.asarray(array[:count]) for array in split.arrays())
    each = keys.example_keys(jax.random.key(seed), len(images))
    chain_keys, mix_keys, start_keys = jax.vmap(lambda k: jax.random.split(k, 3))(each).T

    def logits_fn(x: jax.Array) -> Any:  # logits, as nothing is mutable
        return network.model.apply(network.variables, x, train=False)

    def chance(x: jax.Array) -> np.ndarray:
        """The probability of the right class, `[B]`."""
        given = jax.nn.softmax(logits_fn(x))
        return np.asarray(jnp.take_along_axis(given, labels[:, None], axis=1)[:, 0])

    chains = augment.sample_chains(chain_keys, images, width=WIDTH)
    m, w = augment.sample_mixing_weights(mix_keys, len(images), WIDTH)
    augmix = augment.mix(images, chains, m, w)
    found = adversary.augmax(
        logits_fn, images, chains, labels, *adversary.random_start(start_keys, len(images), WIDTH)
    )
    columns = {
        "Image": augment.to_float(images),
        **{f"Chain {k + 1}": augment.to_float(chains[:, k]) for k in range(WIDTH)},
        "AugMix": augmix,
        "AugMax": found.images,
    }
    chances = {name: chance(x) for name, x in columns.items()}
    others = np.min([value for name, value in chances.items() if name != "AugMax"], axis=0)
    best = int(np.argmax(others - chances["AugMax"]))
    weights = {"AugMix": (m, w), "AugMax": (found.m, jax.nn.softmax(found.p))}

    def caption(name: str) -> list[str]:
        lines = [f"p({int(labels[best])}) = {chances[name][best]:.2f}"]
        if name in weights:
            share, parts = (np.asarray(value)[best] for value in weights[name])
            lines += [f"m = {share:.2f}", f"w = {' '.join(f'{part:.2f}' for part in parts)}"]
        return lines

    tiles = [np.asarray(jnp.round(x[best] * 255).astype(jnp.uint8)) for x in columns.values()]
    return pictures.grid(
        [tiles],
        columns=list(columns),
        captions=[[caption(name) for name in columns]],
        scale_to=TILE,
    )


def main() -> None:
    """The command."""
    console.prepare()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help="PNG file to write")
    parser.add_argument("--epochs", type=float, default=15, help="of training the network")
    options = parser.parse_args()
    compiler.enable_compilation_cache("~/.cache/augmax_jax")
    options.out.write_bytes(pictures.to_png(draw(train(options.epochs))))


if __name__ == "__main__":
    main()
