"""`augmax-jax list [WHAT]`: what the package knows by name, read off its registries."""

import argparse
import inspect
import math
import sys
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp

from augmax_jax import methods, models
from augmax_jax.augment.operators import AUGMIX, REGISTRY
from augmax_jax.corruptions import constants
from augmax_jax.data.benchmarks import NAMES, opening
from augmax_jax.evaluation.benchmarks import MADE
from augmax_jax.runtime import config_file, console, errors

Rows = Iterator[tuple[str, str]]


def _datasets() -> Rows:
    yield "digits", "1,797 handwritten digits, which scikit-learn brings"
    yield "DIR", "a folder DIR/<split>/<class>/* of images"
    yield "NAME", "a set of TensorFlow Datasets with images and class labels, such as cifar10"


def _networks() -> Rows:
    for name, architecture in models.MODELS.items():
        of_imagenet = architecture.fields.get("imagenet_stem", False)
        classes = 1000 if of_imagenet else 10
        options = f"; options {', '.join(architecture.options)}" if architecture.options else ""
        count = f"{parameters(name, classes):,} parameters with DuBIN and {classes} classes"
        yield name, f"{architecture.constructor.__name__}, {count}{options}"


def parameters(name: str, num_classes: int, norm: str = "dubin") -> int:
    """How many parameters a network has, found without computing one.

    Raises:
        ValueError: an unknown name or norm.
    """
    network = models.create(name, num_classes, norm=norm)
    key = jax.eval_shape(lambda: jax.random.key(0))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(network.init, key, images)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def _methods() -> Rows:
    for name, spec in methods.METHODS.items():
        views = dict.fromkeys(view.label for view in spec.views)
        yield name, f"{spec.label}; views: {', '.join(views)}"


def _norms() -> Rows:
    for name, layers in models.NORMS.items():
        yield name, _summary(layers[0])


def _operators() -> Rows:
    for name in REGISTRY:
        yield name, "" if name in AUGMIX else "not of AugMix, as it resembles a corruption"


def _corruptions() -> Rows:
    family = {name: kind for kind, names in constants.FAMILIES.items() for name in names}
    for name in (*constants.BENCHMARK, *constants.EXTRA):
        yield name, family.get(name, "extra, which the literature keeps for validation")


def _benchmarks() -> Rows:
    for name in MADE:
        yield name, "made of the test split itself"
    for name in NAMES:
        yield name, opening.describe(name)


def _configs() -> Rows:
    for name, file in config_file.named().items():
        yield name, config_file.describe(file)


KINDS: dict[str, Callable[[], Rows]] = {
    "datasets": _datasets,
    "networks": _networks,
    "methods": _methods,
    "norms": _norms,
    "operators": _operators,
    "corruptions": _corruptions,
    "benchmarks": _benchmarks,
    "configs": _configs,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=console.program("augmax_jax.cli.listing"),
        description="List what the package knows by name, one line each.",
    )
    parser.add_argument("what", nargs="?", default="", help=f"{', '.join(KINDS)}; default: all")
    what = parser.parse_args(arguments).what
    console.prepare()
    jax.config.update("jax_platforms", "cpu")  # no accelerator is needed, nor its memory taken
    if not what:
        print("\n\n".join("\n".join([f"{kind}:", *_lines(kind, "  ")]) for kind in KINDS))
        return 0
    try:
        errors.check_name("kind", what, KINDS)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(_lines(what)))
    return 0


def _lines(kind: str, indent: str = "") -> list[str]:
    rows = list(KINDS[kind]())
    width = max(len(name) for name, _ in rows)
    return [f"{indent}{name:{width}}  {text}".rstrip() for name, text in rows]


def _summary(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
