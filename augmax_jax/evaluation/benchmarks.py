"""The benchmarks that a run can be asked for, by name: published, made on the fly, or a folder."""

from __future__ import annotations

import hashlib
import logging
import os
from typing import TYPE_CHECKING

import jax

from augmax_jax.data import Data
from augmax_jax.data.benchmarks import NAMES, Benchmark, open_benchmark
from augmax_jax.evaluation.corrupted import CORRUPTED, corrupted
from augmax_jax.evaluation.spatial import SPATIAL, worst_of_maps
from augmax_jax.runtime import errors, paths

if TYPE_CHECKING:
    from ml_collections import ConfigDict

logger = logging.getLogger(__name__)

MADE = (CORRUPTED, SPATIAL)
"""Benchmarks that are made on the fly from the test split."""


def check_name(name: str) -> None:
    """Raises ValueError unless a benchmark can have this name; a folder need not exist."""
    is_path = os.sep in name or name.startswith((".", "~")) or paths.expand(name).is_dir()
    if not is_path or not name:
        errors.check_name("benchmark", name, (*MADE, *NAMES))


def find(name: str, config: ConfigDict, data: Data) -> Benchmark:
    """The benchmark that a config names.

    Args:
        name: "corrupted", "spatial", the name of a published set, or a folder.
        config: the run's config.
        data: the run's data; the first two are made from its test split.

    Raises:
        ValueError: the name is unknown, or the set does not fit the run.
        FileNotFoundError: the set does not exist.
    """
    location = f"test split: {data.test_location}"
    if name == CORRUPTED:
        constants = config.evaluate.constants
        return corrupted(data.test, constants=constants, seed=config.seed, location=location)
    if name == SPATIAL:
        return worst_of_maps(data.test, seed=config.seed, location=location)
    check_name(name)
    return open_benchmark(
        name if name in NAMES else str(paths.expand(name)),
        class_names=data.class_names,
        image_size=config.data.image_size,
        root=config.evaluate.data_dir and paths.expand(config.evaluate.data_dir),
        data_dir=config.data.data_dir,
        bad_images=config.data.bad_images,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def missing(config: ConfigDict, data: Data) -> dict[str, str]:
    """Finds the config's benchmarks that cannot be measured, and logs why.

    Args:
        config: the run's config.
        data: the run's data.

    Returns:
        Name of the benchmark -> the reason.
    """
    reasons = {}
    for name in config.evaluate.benchmarks:
        try:
            find(name, config, data)
        except (ValueError, OSError, ImportError) as error:
            reasons[name] = str(error)
            logger.warning("benchmark %s will not be measured: %s", name, error)
    return reasons


def file_stem(name: str, benchmark: Benchmark) -> str:
    """The stem of the names of a benchmark's files.

    Args:
        name: the benchmark's name in the config.
        benchmark: the set; two folders of the same name get different stems.
    """
    stem = benchmark.name.replace("/", "_")
    if name in (*MADE, *NAMES):
        return stem
    return f"{stem}-{hashlib.sha256(os.fsencode(benchmark.location)).hexdigest()[:8]}"
