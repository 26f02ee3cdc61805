"""The training step, phase by phase and whole, against PyTorch doing the same work.

    python -m benchmarks.step [--model wrn40_2] [--batch 64] [--steps 5] [--repeats 5]
    python -m benchmarks.step --device cuda --dtype bfloat16 --batch 256 --steps 10 --cores 16

Both run on the same cores in processes of their own, in turns. Ratios are of median times, ours
over PyTorch's, so below 1 ours is faster. The phases are "augment" (the six chains of each sample;
PyTorch's run in Pillow worker processes), "maximise" (`steps` full steps) and "update" (three
forward passes, one backward, SGD). Then come our whole steps by method, with early stopping of
single samples, with and without compaction, on a network trained for `--train` steps on
scikit-learn's digits.

"Share of peak" is the rate of operations (those of the network's plain forward pass, times the
number of passes, per second), divided by the rate of a large matrix product on the same device.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.augment import PillowPool, machine
from benchmarks.interleave import CLOSE, WORKERS, Program, Tasks, measure

RESULTS = Path(__file__).parent / "results"
CLASSES = 10


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 `[count, 32, 32, 3]`, and labels; a real problem that needs no download."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.repeat(np.repeat(data.images, 4, 1), 4, 2) * (255 / 16)
    order = np.random.default_rng(0).permutation(len(images))[:count]
    return np.stack([images[order].astype(np.uint8)] * 3, -1), data.target[order].astype(np.int32)


def torch_program(model: str, batch: int, steps: int, device: str) -> Tasks:
    """PyTorch's phases, and its normal step."""
    from augmax_jax.runtime import host_memory
    from benchmarks.torch_peer import Peer

    host_memory.keep_freed_memory()  # for both programs, so that neither has an advantage
    cores = sorted(os.sched_getaffinity(0))
    images, labels = digits(batch)
    chains = np.stack([images, images[:, ::-1], images[:, :, ::-1]], 1)
    peer = Peer(
        model, CLASSES, images, chains, labels, steps=steps, threads=len(cores), device=device
    )
    pool = PillowPool(images, cores)
    return {
        "augment": lambda: {WORKERS: pool.run()},
        "maximise": peer.maximise,
        "update": peer.update,
        "normal": peer.normal,
        CLOSE: pool.close,
    }


def jax_program(
    model: str, batch: int, steps: int, dtype: str, train: int, cache: str, whole: bool
) -> Tasks:
    """Our phases, and the whole step of several methods."""
    from augmax_jax.runtime import compiler, host_memory
    from benchmarks import our_step

    host_memory.keep_freed_memory()  # the command does so too
    compiler.enable_compilation_cache(cache or None)
    images, labels = digits(1797)
    steppers = our_step.Steps(model, images, labels, batch, steps, dtype)
    state = steppers.train(train)
    phases = our_step.Phases(steppers.run, state, images[:batch], labels[:batch], steps)
    platform = steppers.run.devices[0].platform
    tasks: dict[str, Any] = {
        **phases.tasks(),
        "matrix product": our_step.matrix_product(dtype, platform, phases.forward_flops()),
    }
    if whole:
        tasks |= {f"step: {kind}": steppers.task(kind, state, train) for kind in our_step.KINDS}
    if train:
        taken = [round(t, 2) for t in steppers.taken]
        tasks["training"] = lambda: {"mean_steps_while_training": taken}
    return tasks


def summary(results: dict[str, Any], batch: int, steps: int) -> dict[str, Any]:
    """Ratios from medians, ours over PyTorch's, in wall and in CPU time; shares of the peak."""
    found: dict[str, Any] = {}
    for kind in ("seconds", "least_seconds", "cpu_seconds"):

        def value(name, kind=kind):
            return results[name][kind]

        phases = ("augment", "maximise", "update")
        ratios = {p: round(value(f"jax/{p}") / value(f"torch/{p}"), 3) for p in phases}
        total = sum(value(f"torch/{p}") for p in phases)
        ratios["whole, fixed steps"] = round(sum(value(f"jax/{p}") for p in phases) / total, 3)
        for name in ("augmax, sample", "augmax, sample, compact"):
            if f"jax/step: {name}" in results:
                ratios[f"whole, {name}"] = round(value(f"jax/step: {name}") / total, 3)
        found[f"ratio of {kind}"] = ratios
        if "jax/step: normal" in results:
            found[f"multiples of normal, {kind}"] = {
                name.removeprefix("jax/step: "): round(value(name) / value("jax/step: normal"), 2)
                for name in results
                if name.startswith("jax/step: ")
            }
    found["images per second"] = {
        name: round(batch / row["seconds"], 1)
        for name, row in results.items()
        if row["seconds"] and not name.endswith(("training", "matrix product"))
    }
    product = results["jax/matrix product"]
    peak = product["report"]["flops"] / product["seconds"]
    forward = product["report"]["flops of a forward pass"]
    passes = {"maximise": 2 * steps, "update": 9}  # a gradient costs two more each
    found["peak, GFLOP/s"] = round(peak / 1e9, 1)
    found["share of peak"] = {
        f"{side}/{phase}": round(forward * count / results[f"{side}/{phase}"]["seconds"] / peak, 3)
        for phase, count in passes.items()
        for side in ("jax", "torch")
    }
    return found


def main() -> None:
    from augmax_jax.runtime import files

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wrn40_2", choices=["wrn40_2", "resnet18", "resnext29"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="ascent steps, n")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "bfloat16"],
        help="dtype of our convolutions and activations",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="device of PyTorch (cuda: bfloat16, channels last); ours is JAX's default device",
    )
    parser.add_argument("--train", type=int, default=30, help="steps to train before measuring")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--phases-only", action="store_true", help="leave the whole steps out")
    parser.add_argument("--cache", default="", help="directory for compiled programs")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    common = {"model": options.model, "batch": options.batch, "steps": options.steps}
    programs = {
        "jax": Program(
            jax_program,
            cores,
            **common,
            dtype=options.dtype,
            train=options.train,
            cache=options.cache,
            whole=not options.phases_only,
        ),
        "torch": Program(torch_program, cores, **common, device=options.device),
    }
    try:
        results = measure(programs, options.repeats)
    finally:
        for program in programs.values():
            program.close()
    report = {
        "machine": machine(),
        "settings": {k: v for k, v in vars(options).items() if k not in ("out", "cache")},
        "summary": summary(results, options.batch, options.steps),
        "measurements": results,
    }
    print(files.dumps(report["summary"], indent=2))
    path = options.out or RESULTS / f"step_{options.model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, report)


if __name__ == "__main__":
    main()
