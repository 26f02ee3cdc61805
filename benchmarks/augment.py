"""Chains per second: ours against the Pillow pipeline of the official code.

    python -m benchmarks.augment [--sizes 32 64 224] [--repeats 7] [--processes 2]

Both make the six chains (two tuples of three) that one AugMax sample needs, on the same
cores. Pillow runs in `--processes` workers, one image at a time, as in the official data
loader. Ours is one jitted call in this process, on the same cores. Repeats are interleaved
and medians compared, so that other load on the machine affects both. Ratios are samples per
second, ours over Pillow's.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

RESULTS = Path(__file__).parent / "results" / "augment.json"
BATCH = {32: 256, 64: 128, 224: 24}
TUPLES, WIDTH, SEVERITY = 2, 3, 3


# ---- the peer: AugMix chains with Pillow, one image at a time


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _pillow_operator(index: int, image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One of AugMix's nine operators at a random level."""
    level = rng.uniform(0.1, SEVERITY)
    sign = -1 if rng.uniform() > 0.5 else 1
    size = image.size[0]
    if index == 0:
        return ImageOps.autocontrast(image)
    if index == 1:
        return ImageOps.equalize(image)
    if index == 2:
        return ImageOps.posterize(image, 4 - int(level * 0.4))
    if index == 3:
        return image.rotate(sign * int(level * 3), resample=Image.Resampling.BILINEAR)
    if index == 4:
        return ImageOps.solarize(image, 256 - int(level * 25.6))
    if index == 5:
        return _affine(image, 1, sign * level * 0.03, 0, 0, 1, 0)
    if index == 6:
        return _affine(image, 1, 0, 0, sign * level * 0.03, 1, 0)
    shift = sign * int(level * size / 30)
    if index == 7:
        return _affine(image, 1, 0, shift, 0, 1, 0)
    return _affine(image, 1, 0, 0, 0, 1, shift)


def _pillow_sample(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The six chains of one sample, uint8."""
    image = Image.fromarray(array)
    chains = []
    for _ in range(TUPLES * WIDTH):
        chain = image.copy()
        for _ in range(rng.integers(1, 4)):
            chain = _pillow_operator(int(rng.integers(9)), chain, rng)
        chains.append(np.asarray(chain))
    return np.stack(chains)


def _pillow_worker(connection, images: np.ndarray, seed: int, core: int | None) -> None:
    """Runs its share of the batch on request, and sends back the CPU time that it took."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    rng = np.random.default_rng(seed)
    while connection.recv():
        start = time.process_time()
        for image in images:
            _pillow_sample(image, rng)
        connection.send(time.process_time() - start)


class PillowPool:
    """Worker processes that hold their share of the images, so that the loop sends none."""

    def __init__(self, images: np.ndarray, cores: list[int]):
        context = multiprocessing.get_context("spawn")
        self.connections, self.workers = [], []
        for i, core in enumerate(cores):
            ours, theirs = context.Pipe()
            share = images[i :: len(cores)]
            worker = context.Process(target=_pillow_worker, args=(theirs, share, i, core))
            worker.start()
            self.connections.append(ours)
            self.workers.append(worker)

    def run(self) -> float:
        """Processes the batch; returns the CPU seconds of all workers."""
        for connection in self.connections:
            connection.send(True)
        return sum(connection.recv() for connection in self.connections)

    def close(self) -> None:
        for connection in self.connections:
            connection.send(False)
        for worker in self.workers:
            worker.join()


# ---- the comparison


def machine() -> dict[str, str | int]:
    """The machine on which the figures were measured."""
    import jax

    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "load average when started": f"{os.getloadavg()[0]:.1f}",
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }


def compare(size: int, repeats: int, cores: list[int], batch: int = 0) -> dict[str, float]:
    """Medians of interleaved repeats at one image size; a batch of 0 is the usual one."""
    import jax

    from augmax_jax import augment

    batch = batch or BATCH[size]
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    waves = np.stack([128 + 100 * np.sin(x / (5 + c) + y / (9 - c)) for c in range(3)], -1)
    noise = rng.normal(0, 20, (batch, size, size, 3))
    images = np.clip(waves + noise, 0, 255).astype(np.uint8)  # neither flat nor only noise

    @jax.jit
    def ours(key, images):
        return augment.sample_chains(key, images, width=TUPLES * WIDTH, severity=SEVERITY)

    on_device = jax.device_put(images)
    compiled = ours.lower(jax.random.key(0), on_device).compile()
    memory = compiled.memory_analysis()
    if memory is None:
        raise RuntimeError("this backend does not report how much memory a program needs")
    pool = PillowPool(images, cores)
    try:
        seconds: dict[str, list[float]] = {"ours": [], "pillow": []}
        cpu: dict[str, list[float]] = {"ours": [], "pillow": []}
        for repeat in range(repeats + 1):
            cpu_start, start = time.process_time(), time.perf_counter()
            compiled(jax.random.key(repeat), on_device).block_until_ready()
            middle, cpu_middle = time.perf_counter(), time.process_time()
            pillow_cpu = pool.run()
            end = time.perf_counter()
            if repeat:  # the first warms up both
                seconds["ours"].append(middle - start)
                seconds["pillow"].append(end - middle)
                cpu["ours"].append(cpu_middle - cpu_start)
                cpu["pillow"].append(pillow_cpu)
    finally:
        pool.close()
    ours_ms, pillow_ms = (1e3 * statistics.median(s) / batch for s in seconds.values())
    pairs = sorted(p / o for o, p in zip(seconds["ours"], seconds["pillow"], strict=True))
    return {
        "ratio": round(pillow_ms / ours_ms, 2),
        "ratio_lowest": round(pairs[0], 2),
        "ratio_highest": round(pairs[-1], 2),
        # CPU time, which other programs on the same cores disturb less.
        "ratio_of_cpu_time": round(
            statistics.median(cpu["pillow"]) / statistics.median(cpu["ours"]), 2
        ),
        "ours_ms_per_sample": round(ours_ms, 4),
        "pillow_ms_per_sample": round(pillow_ms, 4),
        "peak_memory_over_output": round(
            (memory.temp_size_in_bytes + memory.output_size_in_bytes) / memory.output_size_in_bytes,
            2,
        ),
    }


def main() -> None:
    from augmax_jax.runtime import files

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(BATCH), choices=list(BATCH))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2, help="cores for either side")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.processes]
    os.sched_setaffinity(0, cores)  # before JAX starts its threads

    report = {"machine": machine(), "processes": len(cores), "repeats": options.repeats}
    report["sizes"] = {}
    for size in options.sizes:
        result = compare(size, options.repeats, cores)
        report["sizes"][str(size)] = result
        print(
            f"{size}x{size}: {result['ratio']:.2f}x Pillow on {len(cores)} cores "
            f"({result['ratio_lowest']:.2f} to {result['ratio_highest']:.2f}; "
            f"{result['ratio_of_cpu_time']:.2f}x in CPU time); "
            f"{result['ours_ms_per_sample']:.3f} ms against {result['pillow_ms_per_sample']:.3f} "
            f"ms a sample; peak memory {result['peak_memory_over_output']:.2f} of the output",
            flush=True,
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(options.out, report)


if __name__ == "__main__":
    main()
