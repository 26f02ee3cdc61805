"""Robustness sets made from a split as it is read: nothing is written, any dataset has one."""

from collections.abc import Sequence

from augmax_jax import corruptions
from augmax_jax.data import Split
from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.evaluation import identity
from augmax_jax.evaluation.derived import DerivedSplit
from augmax_jax.runtime import errors, keys
from augmax_jax.runtime.checks import check_count

CORRUPTED = "corrupted"  # name in results of the test split, corrupted on the fly


def corrupted(
    split: Split,
    *,
    constants: str = "cifar",
    names: Sequence[str] = corruptions.BENCHMARK,
    seed: int = 0,
    location: str = "",
) -> Benchmark:
    """A `-C` benchmark of any images, which are corrupted on the fly.

    The images are those that `corruption_sets.generate` writes for the same split and seed.

    Args:
        split: the clean images.
        constants: the benchmark whose severities to use: "cifar" for images of about 32 pixels,
            "tiny_imagenet" for 64, "imagenet" for 224.
        names: the corruptions.
        seed: seed of the draws.
        location: where the split was read from, for the results.

    Raises:
        ValueError: a name or the constants are unknown, the seed is no whole number from 0 on, or
            "frost" is among the names and its pictures are not installed.
    """
    errors.check_name("constants", constants, corruptions.BENCHMARKS)
    check_count("seed", seed)
    if isinstance(names, str) or not names:
        raise ValueError(f"names must be a list of corruptions, at least one, got {names!r}")
    for name in names:
        errors.check_name("corruption", name, corruptions.BENCHMARK + corruptions.EXTRA)
    recipe = identity.of_split(split) | {
        "constants": constants,
        "seed": seed,
        "revision": corruptions.REVISION,
    }
    if "frost" in names:
        recipe["frost pictures"] = identity.of_frost()

    def load(corruption: str | None, severity: int | None) -> Split:
        name, level = corruption or "", severity or 0
        key = corruptions.benchmark_key(seed, name, level)

        def transform(images, first):
            own = keys.example_keys(key, len(images), first_index=first)
            return corruptions.corrupt(own, images, name, level, benchmark=constants)

        return DerivedSplit(split, transform)

    return Benchmark(
        name=CORRUPTED,
        kind="corruptions",
        source="generated",
        corruptions=tuple(names),
        severities=corruptions.SEVERITIES,
        classes=None,
        loader=load,
        location=location,
        constants=constants,
        recipe=recipe,
    )
