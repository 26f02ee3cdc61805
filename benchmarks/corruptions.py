"""Speed of the corruptions against the published Python implementation, and agreement.

    python -m benchmarks.corruptions                           # images/s, 75 combinations
    python -m benchmarks.corruptions --parts speed agreement   # pixels and distributions too

The peer is the package imagecorruptions-imaug, with one image per call, in one process and in
one process per core. Repeats of all sides are interleaved and the medians compared, so that other
load on the machine affects all of them. Both apply ImageNet-C's constants
unless `--benchmark` says otherwise; compilation is timed separately.
"""

import argparse
import concurrent.futures
import importlib.util
import json
import multiprocessing
import os
import platform
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 32


def make_images(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Images with the smoothness and noise of photographs, uint8 [count, size, size, 3]."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (*rng.integers(3, 9, 2), 3), np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
        values = smooth * rng.uniform(0.3, 1) + rng.normal(0, rng.uniform(0, 12), smooth.shape)
        images.append(np.clip(values, 0, 255).astype(np.uint8))
    return np.stack(images)


def peer_names() -> tuple[str, ...]:
    """The 15 names; the package has the same."""
    from augmax_jax.corruptions import constants

    return constants.BENCHMARK


def run_peer(images: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """Seconds that the package takes for five severities of each name."""
    import cv2
    import imagecorruptions

    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)  # images are tiny: more threads only make it slower
    seconds = {}
    for name in names:
        start = time.perf_counter()
        for severity in range(1, 6):
            for image in images:
                imagecorruptions.corrupt(image, severity, name)
        seconds[name] = time.perf_counter() - start
    return seconds


def compare_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Images/s of both sides, overall and by corruption."""
    import jax

    from augmax_jax import corruptions

    names = peer_names()
    ours_images = jax.device_put(make_images(options.images, SIZE))
    peer_images = make_images(options.peer_images, SIZE)
    key = jax.random.key(0)

    def run_ours() -> dict[str, float]:
        seconds = {}
        for name in names:
            start = time.perf_counter()
            for severity in range(1, 6):
                result = corruptions.corrupt(
                    key, ours_images, name, severity, benchmark=options.benchmark
                )
            result.block_until_ready()
            seconds[name] = time.perf_counter() - start
        return seconds

    start = time.perf_counter()
    run_ours()
    cold = time.perf_counter() - start

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.processes, context) as pool:

        def run_pool() -> float:
            start = time.perf_counter()
            jobs = [pool.submit(run_peer, peer_images, names) for _ in range(options.processes)]
            for job in jobs:
                job.result()
            return time.perf_counter() - start

        warm = make_images(1, SIZE)  # Numba compiles at the first call
        list(pool.map(run_peer, [warm] * options.processes, [names] * options.processes))
        ours: list[dict[str, float]] = []
        single: list[dict[str, float]] = []
        pooled: list[float] = []
        for repeat in range(options.repeats):
            ours.append(run_ours())
            single.append(pool.submit(run_peer, peer_images, names).result())
            pooled.append(run_pool())
            print(f"repeat {repeat + 1} of {options.repeats}", flush=True)

    return summarise_speed(options, cold, ours, single, pooled)


def summarise_speed(
    options: argparse.Namespace,
    cold: float,
    ours: list[dict[str, float]],
    single: list[dict[str, float]],
    pooled: list[float],
) -> dict[str, Any]:
    """Images per second and ratios.

    Args:
        options: options of the command line.
        cold: seconds of our first pass, with compilation.
        ours: for each repeat, corruption -> seconds of all severities.
        single: the same for one process of the peer.
        pooled: for each repeat, seconds of all processes of the peer together.
    """
    import jax

    names = list(ours[0])
    combinations = 5 * len(names)

    def rate(seconds: float, images: int, per: int = combinations) -> float:
        return images * per / seconds

    ours_rates = [rate(sum(run.values()), options.images) for run in ours]
    single_rates = [rate(sum(run.values()), options.peer_images) for run in single]
    pooled_rates = [rate(run, options.peer_images * options.processes) for run in pooled]

    def ratio(mine: list[float], theirs: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))

    by_name = {
        name: {
            "ours": round(rate(statistics.median(r[name] for r in ours), options.images, 5)),
            "peer_one_process": round(
                rate(statistics.median(r[name] for r in single), options.peer_images, 5)
            ),
        }
        for name in names
    }
    return {
        "what": f"images/s over {combinations} combinations at {SIZE}x{SIZE}",
        "benchmark": options.benchmark,
        "device": str(jax.devices()[0].device_kind),
        "cores": os.cpu_count(),
        "repeats": options.repeats,
        "images": options.images,
        "peer_images": options.peer_images,
        "peer_processes": options.processes,
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "jax": jax.__version__,
        "seconds_cold_with_compilation": round(cold, 2),
        "seconds_warm": round(statistics.median(sum(run.values()) for run in ours), 2),
        "ours": round(statistics.median(ours_rates)),
        "peer_one_process": round(statistics.median(single_rates)),
        "peer_all_processes": round(statistics.median(pooled_rates)),
        "ratio_one_process": round(ratio(ours_rates, single_rates), 2),
        "ratio_all_processes": round(ratio(ours_rates, pooled_rates), 2),
        # The package reads a picture of frost from disk at every call, half of its time.
        "ratio_one_process_without_frost": round(
            sum(1 / v["peer_one_process"] for k, v in by_name.items() if k != "frost")
            / sum(1 / v["ours"] for k, v in by_name.items() if k != "frost"),
            2,
        ),
        "by_corruption": by_name,
    }


def load_reference() -> Any:
    """The second implementation that the tests use."""
    path = Path(__file__).parent.parent / "tests" / "corruptions" / "reference.py"
    spec = importlib.util.spec_from_file_location("corruptions_reference", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare_results(options: argparse.Namespace) -> dict[str, Any]:
    """Agreement with the second implementation, CIFAR-C's constants, on the same images.

    For each corruption the figures are those of the severity that agrees worst: ratio - 1 of the
    mean squared change with its standard error (both sides draw anew); ratio - 1 of the mean shift
    if the shift is at least a grey level; the difference of the mean shift in grey levels; and
    `within_a_level`, the smallest share of values within a grey level.
    """
    import jax
    from PIL import Image

    from augmax_jax import corruptions
    from augmax_jax.corruptions import constants, textures

    reference = load_reference()
    every = make_images(options.agreement_images, SIZE, seed=1)
    rng = np.random.default_rng(0)
    paths = [textures.folder() / f"frost{i}.{'png' if i < 4 else 'jpg'}" for i in range(1, 6)]
    frost = {
        "pictures": [np.asarray(Image.open(path).convert("RGB")) for path in paths],
        "scale": constants.FROST_SCALE["cifar"],
    }
    table = {}
    for name in constants.BENCHMARK + constants.EXTRA:
        few = [corruptions.corrupt(jax.random.key(k), every[:4], name, 5) for k in range(2)]
        deterministic = bool((few[0] == few[1]).all())
        images = every[: len(every) // 10] if deterministic else every
        rows = []
        for severity in constants.SEVERITIES:
            value = constants.CONSTANTS[name]["cifar"][severity - 1]
            extra = frost if name == "frost" else {}
            theirs = np.stack([reference.corrupt(rng, i, name, value, **extra) for i in images])
            key = jax.random.fold_in(jax.random.key(0), severity)
            ours = np.asarray(corruptions.corrupt(key, images, name, severity))
            changes = [side.astype(float) - images for side in (ours, theirs)]
            squares = [np.square(change).mean((1, 2, 3)) for change in changes]
            shifts = [change.mean() for change in changes]
            error = (squares[0] - squares[1]).std() / len(images) ** 0.5 / squares[1].mean()
            within = (np.abs(changes[0] - changes[1]) <= 1).mean()
            rows.append(
                {
                    "mean_squared_change": squares[0].mean() / squares[1].mean() - 1,
                    "standard_error": error,
                    "mean_shift": shifts[0] / shifts[1] - 1 if abs(shifts[1]) >= 1 else 0.0,
                    "mean_shift_levels": shifts[0] - shifts[1],
                    **({"within_a_level": within} if deterministic else {}),
                }
            )
        worst = {
            column: max((row[column] for row in rows), key=abs)
            for column in ("mean_squared_change", "mean_shift", "mean_shift_levels")
        }
        worst["standard_error"] = max(row["standard_error"] for row in rows)
        if deterministic:
            worst["within_a_level"] = min(row["within_a_level"] for row in rows)
        table[name] = {column: round(float(value), 4) for column, value in worst.items()}
        print(name, table[name], flush=True)
    return {"images": options.agreement_images, "by_corruption": table}


def main() -> None:
    """Runs the comparison and writes the result."""
    from augmax_jax.runtime import files

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=512, help="per batch")
    parser.add_argument("--peer_images", type=int, default=16, help="per process")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--benchmark", default="imagenet")
    parser.add_argument(
        "--parts", nargs="+", default=["speed"], choices=["speed", "agreement"], help="what to do"
    )
    parser.add_argument("--agreement_images", type=int, default=6000)
    parser.add_argument("--out", default="benchmarks/results/corruptions.json")
    options = parser.parse_args()

    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    result = json.loads(out.read_text()) if out.exists() else {}
    for part, compare in (("speed", compare_speed), ("agreement", compare_results)):
        if part in options.parts:
            result[part] = compare(options)
            files.write_json(out, result)
            shown = {k: v for k, v in result[part].items() if k != "by_corruption"}
            print(files.dumps(shown, indent=2))


if __name__ == "__main__":
    main()
