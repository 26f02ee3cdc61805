"""Operators and corruptions per second, against Pillow and NumPy on all cores."""

import concurrent.futures
import importlib.util
import multiprocessing
import os
import time
from typing import Any

import jax
import numpy as np

from augmax_jax import corruptions
from augmax_jax.corruptions import constants
from benchmarks import augment
from benchmarks.corruptions import load_reference, make_images

NEEDED = ("scipy", "skimage", "cv2")  # of the second implementation


def operators(side: int, batch: int, repeats: int) -> dict[str, Any]:
    """The six chains of each AugMax sample: ours on the device, Pillow's on all cores."""
    return augment.compare(side, repeats, sorted(os.sched_getaffinity(0)), batch)


def corrupt(side: int, count: int, names: tuple[str, ...], benchmark: str) -> dict[str, Any]:
    """Our images per second over the severities of each corruption, without compilation."""
    images = jax.device_put(make_images(count, side))
    key = jax.random.key(0)
    seconds = {}
    begin = time.perf_counter()
    for name in names:
        for _ in range(2):  # the first compiles
            start = time.perf_counter()
            for severity in constants.SEVERITIES:
                result = corruptions.corrupt(key, images, name, severity, benchmark=benchmark)
            jax.block_until_ready(result)
            seconds[name] = time.perf_counter() - start
    whole = time.perf_counter() - begin
    return _rates(seconds, count) | {"seconds_with_compilation": round(whole, 2)}


def check_peer() -> None:
    """Raises ModuleNotFoundError if a package of the second implementation is not installed."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"{package} is not installed")


def corrupt_on_cores(
    side: int, count: int, names: tuple[str, ...], benchmark: str
) -> dict[str, Any]:
    """The same by the second implementation, image by image, a share on every core."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    values = {name: constants.CONSTANTS[name][benchmark] for name in names}
    with concurrent.futures.ProcessPoolExecutor(cores, context) as pool:
        first = make_images(1, side)
        list(pool.map(_share, [first] * cores, [values] * cores))
        shares = list(pool.map(_share, [make_images(count, side)] * cores, [values] * cores))
    slowest = {name: max(share[name] for share in shares) for name in names}
    return _rates(slowest, count * cores) | {"processes": cores}


def _share(images: np.ndarray, values: dict[str, tuple]) -> dict[str, float]:
    """Seconds of each corruption for one core's images."""
    reference = load_reference()
    rng = np.random.default_rng(0)
    seconds = {}
    for name, severities in values.items():
        start = time.perf_counter()
        for value in severities:
            for image in images:
                reference.corrupt(rng, image, name, value)
        seconds[name] = time.perf_counter() - start
    return seconds


def _rates(seconds: dict[str, float], count: int) -> dict[str, Any]:
    """Images per second, of each corruption and of all."""
    each = len(constants.SEVERITIES) * count
    return {
        "images_per_second": round(each * len(seconds) / sum(seconds.values()), 1),
        "by_corruption": {name: round(each / took, 1) for name, took in seconds.items()},
    }
