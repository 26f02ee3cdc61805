"""The input pipeline alone: images/s against other libraries, memory, and the first batch.

    python -m benchmarks.input                              # all parts
    python -m benchmarks.input --parts speed --peers torch tf_data
    python -m benchmarks.input --folder PICTURES            # any folder of JPEG files by class

Without `--folder`, 5,500 pictures of ImageNet's sizes are made in `.cache/pictures`
(`benchmarks.pictures`; half a GB). Every pipeline reads the same training files, on the same cores:
random resized crops of 224 pixels in batches of 64.

speed   Pipelines take turns, each in a process of its own. A turn fetches batches until nothing
        that was ready in advance is left, times the next ones, and waits until no worker works any
        more. Figures are medians over turns, and a ratio is the median of those of all rounds.
memory  Resident memory of a process that only fetches batches, every 100 batches.
resume  Seconds from opening the folder to the first batch, of the first step and of a later one.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import input_peers, pictures
from benchmarks.interleave import Program, Tasks

RESULTS = Path(__file__).parent / "results" / "input.json"
FOLDER = Path(".cache/pictures")
PARTS = ("speed", "memory", "resume")
PACKAGES = {"torch": "torch", "tf_data": "tensorflow", "tf_data_aliased": "tensorflow"}
_READY = 12  # batches that no pipeline prepares as many of in advance
_QUIET = 0.1  # seconds in which workers that are done use no time


def open_folder(folder: str, size: int, step: int, batch: int) -> Generator[np.ndarray, None, None]:
    """Our training images from a step on, as a run with `random_resized_crop` gets them."""
    from augmax_jax import data

    config = {
        "name": str(Path(folder).resolve()),
        "image_size": size,
        "train_transform": "random_resized_crop",
        "test_transform": "center_crop",
        "holdout": 0.0,
    }
    batches = data.load(config, seed=0).train.train_batches(batch, start_step=step)
    return (found["image"] for found in batches)


def cpu_seconds() -> float:
    """CPU time of this process and of the processes that it started and that still run."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def wait_until_idle(limit: float = 60.0) -> None:
    """Waits until the workers of this process have done what they do in advance."""
    end = time.monotonic() + limit
    before = cpu_seconds()
    while time.monotonic() < end:
        time.sleep(_QUIET)
        now = cpu_seconds()
        if now - before < 0.1 * _QUIET:
            return
        before = now


def timed(batches: Iterator[np.ndarray], count: int) -> dict[str, float]:
    """Images per second, and CPU milliseconds per image, of a pipeline that works all the time."""
    for _ in range(_READY):
        next(batches)
    cpu, start = cpu_seconds(), time.perf_counter()
    images = sum(len(next(batches)) for _ in range(count))
    wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    wait_until_idle()
    return {"images_per_second": images / wall, "cpu_ms_per_image": 1000 * cpu / images}


def build_pipeline(pipeline: str, folder: str, size: int, batch: int, count: int) -> Tasks:
    """One pipeline's task, for a process of its own."""
    if pipeline == "ours":
        batches = open_folder(folder, size, 0, batch)
    else:
        paths = [str(path) for path in sorted(Path(folder, "train").glob("*/*"))]
        workers = len(os.sched_getaffinity(0))
        batches = input_peers.PIPELINES[pipeline](paths, size, batch, workers)
    return {"turn": lambda: timed(batches, count)}


def compare_speed(options: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """Images per second of all pipelines, and the ratios to ours."""
    settings = {
        "folder": str(options.folder),
        "size": options.image_size,
        "batch": options.batch,
        "count": options.count,
    }
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", *options.peers)}
    with contextlib.ExitStack() as running:
        programs = {}
        for name in turns:
            programs[name] = Program(build_pipeline, cores, pipeline=name, **settings)
            running.callback(programs[name].close)
        for repeat in range(options.repeats + 1):
            for name, program in programs.items():
                found = program("turn")[2]
                if repeat:  # the first turn warms up
                    turns[name].append(found)
            print(f"round {repeat} of {options.repeats}", flush=True)
    return summarise(turns)


def summarise(turns: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of every pipeline's turns, and of the ratios of ours to each round's.

    Args:
        turns: pipeline -> what `timed` found in each of its turns; "ours" is one.
    """

    def column(name: str, key: str) -> list[float]:
        return [turn[key] for turn in turns[name]]

    def ratios(name: str, key: str) -> list[float]:
        pairs = zip(column("ours", key), column(name, key), strict=True)
        return [mine / theirs for mine, theirs in pairs]

    found: dict[str, Any] = {}
    for name in turns:
        rate, cpu = "images_per_second", "cpu_ms_per_image"
        found[name] = {
            rate: round(statistics.median(column(name, rate))),
            cpu: round(statistics.median(column(name, cpu)), 2),
        }
        if name != "ours":
            of_round = ratios(name, rate)
            found[name]["ratio"] = round(statistics.median(of_round), 2)
            found[name]["ratio_lowest"] = round(min(of_round), 2)
            found[name]["ratio_highest"] = round(max(of_round), 2)
            # Of work, so that more is better, as with the speed.
            found[name]["ratio_of_cpu_time"] = round(1 / statistics.median(ratios(name, cpu)), 2)
    return found


def resident_mb() -> float:
    """Memory of this process that is in use, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def build_memory(folder: str, size: int, batch: int, batches: int, every: int) -> Tasks:
    """The task that fetches many batches and looks at the memory."""

    def run() -> dict[str, Any]:
        stream = open_folder(folder, size, 0, batch)
        found = {}
        for number in range(1, batches + 1):
            next(stream)
            if number % every == 0:
                found[str(number)] = round(resident_mb(), 1)
        return found

    return {"memory": run}


def measure_memory(options: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """Resident MB by number of batches."""
    every = min(100, options.batches)
    program = Program(
        build_memory,
        cores,
        folder=str(options.folder),
        size=options.image_size,
        batch=options.batch,
        batches=options.batches,
        every=every,
    )
    wall, _, by_batch = program("memory")
    program.close()
    numbers = list(by_batch)
    return {
        "batches": int(numbers[-1]),
        "first_batch": int(numbers[0]),
        "first_mb": by_batch[numbers[0]],
        "last_mb": by_batch[numbers[-1]],
        "most_mb": max(by_batch.values()),
        "seconds": round(wall, 1),
        "resident_mb": by_batch,
    }


def build_first_batch(folder: str, size: int, batch: int, steps: list[int]) -> Tasks:
    """A task for each step: from opening the folder to the first batch."""

    def task(step: int) -> dict[str, float]:
        start = time.perf_counter()
        stream = open_folder(folder, size, step, batch)
        next(stream)
        seconds = time.perf_counter() - start
        stream.close()
        wait_until_idle()
        return {"seconds": seconds}

    return {f"step {step}": functools.partial(task, step) for step in steps}


def measure_resume(options: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """Seconds to the first batch of the first step and of a later one."""
    program = Program(
        build_first_batch,
        cores,
        folder=str(options.folder),
        size=options.image_size,
        batch=options.batch,
        steps=[0, options.step],
    )
    rounds = []
    for repeat in range(options.repeats + 1):
        found = [program(task)[2]["seconds"] for task in program.tasks]
        if repeat:
            rounds.append(found)
    program.close()
    first, later = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(later / first for first, later in rounds)
    return {
        "step": options.step,
        "seconds_at_step_0": round(first, 3),
        "seconds_at_step": round(later, 3),
        "ratio": round(ratio, 2),
    }


def describe(folder: Path) -> dict[str, Any]:
    """How many training files a folder has, their mean size in bytes and their mean sides.

    Raises:
        FileNotFoundError: the folder has no training files.
    """
    from PIL import Image

    paths = sorted((folder / "train").glob("*/*"))
    if not paths:
        raise FileNotFoundError(
            f"no files {folder}/train/<class>/*; make some by `python -m benchmarks.pictures "
            f"{folder}`"
        )
    sides = []
    for path in paths:
        with Image.open(path) as image:
            sides.append(image.size)
    return {
        "files": len(paths),
        "mean_kb": round(statistics.fmean(path.stat().st_size for path in paths) / 1000, 1),
        "mean_sides": [round(float(side)) for side in np.mean(sides, 0)],
    }


def main() -> None:
    """Measures, prints and writes the results; parts that were not run keep theirs."""
    from augmax_jax.runtime import files
    from benchmarks.augment import machine

    there = [name for name in input_peers.PIPELINES if importlib.util.find_spec(package(name))]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--peers", nargs="+", default=there, choices=list(input_peers.PIPELINES))
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--count", type=int, default=20, help="batches that a turn times")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--batches", type=int, default=2000, help="for the memory")
    parser.add_argument("--step", type=int, default=10_000, help="where a run is resumed")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.folder == FOLDER:
        pictures.main([str(FOLDER)])
    cores = sorted(os.sched_getaffinity(0))[: options.cores]

    result = json.loads(options.out.read_text()) if options.out.exists() else {}
    settings = {key: getattr(options, key) for key in ("image_size", "batch", "count", "repeats")}
    result.update(machine=machine(), settings={**settings, "cores": len(cores)})
    result["pictures"] = describe(options.folder)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    measures = (compare_speed, measure_memory, measure_resume)
    for part, measure in zip(PARTS, measures, strict=True):
        if part in options.parts:
            result[part] = measure(options, cores)
            files.write_json(options.out, result)
            print(part, files.dumps(result[part], indent=2), flush=True)


def package(pipeline: str) -> str:
    """The package that a peer needs."""
    return PACKAGES.get(pipeline, pipeline)


if __name__ == "__main__":
    main()
