"""The training step, phase by phase and whole, against PyTorch doing the same work.

    python -m benchmarks.step [--model wrn40_2] [--batch 64] [--steps 5] [--repeats 5]
    python -m benchmarks.step --device cuda --dtype bfloat16 --batch 256 --steps 10 --cores 16

Both run on the same cores in processes of their own, in turns; ratios are of median times,
ours over PyTorch's, so below 1 is faster. Phases: "augment" (the six chains of each sample;
PyTorch's in Pillow worker processes), "maximise" (`steps` full steps), "update" (three forwards,
one backward, SGD). Then our whole step by method, with early stopping of single samples, with
and without compaction, on a network trained for `--train` steps on scikit-learn's digits.

"Share of peak" is how many of the operations that the network's plain forward pass counts, times
passes, are done a second, over those that a large matrix product does on the same device.
"""

import argparse
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.augment import PillowPool, machine
from benchmarks.interleave import CLOSE, WORKERS, Prepared, Program, Tasks, measure

RESULTS = Path(__file__).parent / "results"
CLASSES = 10
SIDE = 4096  # of the matrices whose product gives a device's peak


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

    host_memory.keep_freed_memory()  # whatever it gains, both have it
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
    import jax
    import jax.numpy as jnp
    import optax

    from augmax_jax import adversary, augment, methods
    from augmax_jax.models.cpu import convolution
    from augmax_jax.objectives import objective
    from augmax_jax.runtime import compiler, host_memory, parallel
    from augmax_jax.training.run import Run
    from augmax_jax.training.step import create_state, forward, make_train_step
    from benchmarks.runs import make_run

    host_memory.keep_freed_memory()  # as the command does
    compiler.enable_compilation_cache(cache or None)
    devices = parallel.local_devices(1)
    options = compiler.jit_options(devices[0].platform)

    images, labels = digits(1797)

    def batch_number(i):
        rows = np.random.default_rng((1, i)).permutation(len(images))[:batch]
        return parallel.shard({"image": images[rows], "label": labels[rows]}, devices)

    def step_of(run: Run):
        step = make_train_step(run)
        return parallel.pmap(step, devices, donate=(0,), compiler_options=options)

    settings = {
        "augmax, sample, compact": {"early_stop": "sample", "compact": True},
        "augmax, sample": {"early_stop": "sample", "compact": False},
        "augmax, fixed": {"early_stop": "none"},
        "augmix": {"method": "augmix"},
        "normal": {"method": "normal"},
    }
    kinds = {
        name: make_run(model, batch, dtype=dtype, steps=steps, **s) for name, s in settings.items()
    }
    run = kinds["augmax, sample, compact"]
    state = create_state(run.model, run.optimizer, jax.random.key(0), (32, 32, 3))
    holder = {"state": parallel.replicate(state, devices)}
    taken: list[float] = []
    train_step = step_of(run) if train or whole else None
    for i in range(train):
        holder["state"], metrics = train_step(holder["state"], batch_number(i))
        taken.append(float(np.asarray(metrics["ascent_steps"])[0]))

    # The network as it is now, for the phases; uint8 views of one batch of real images.
    state = jax.device_put(parallel.first(holder["state"]))
    batch_images, batch_labels = jnp.asarray(images[:batch]), jnp.asarray(labels[:batch])

    @jax.jit
    def start(key):
        keys = jax.random.split(key, 3)
        chains = augment.sample_chains(keys[0], batch_images, width=3, severity=3)
        return (
            augment.augmix(keys[1], batch_images),
            chains,
            *adversary.random_start(keys[2], batch, 3),
        )

    def compiled(function, *arguments):
        return jax.jit(function, compiler_options=options).lower(*arguments).compile()

    mixed, chains, m, p = start(jax.random.key(0))

    def attack(state, chains, m, p, **settings):
        def logits(x):
            return run.model.apply(state.variables, x, route="augmented")

        return adversary.augmax(
            logits, batch_images, chains, batch_labels, m, p, steps=steps, **settings
        )

    attacks = {
        "maximise": {"early_stop": "none"},
        "maximise, sample": {"early_stop": "sample"},
        "maximise, sample, compact": {"early_stop": "sample", "compact": True},
    }
    arguments = (state, chains, m, p)
    programs = {
        name: compiled(lambda *a, s=settings: attack(*a, **s), *arguments)
        for name, settings in attacks.items()
    }

    def update(state, adversarial, mixed):
        views = [
            methods.View("augmax", adversarial, "augmented", 0.0, True),
            methods.View("augmix", mixed, "clean", 0.0, True),
            methods.View("clean", methods.to_float(batch_images), "clean", 1.0, True),
        ]

        def loss(params):
            logits, statistics = forward(run.model, params, state.statistics, views, joint=False)
            value, _ = objective(
                logits,
                batch_labels,
                weights=[0.0, 0.0, 1.0],
                consistent=[True] * 3,
                consistency_weight=10.0,
            )
            return value, statistics

        gradient, statistics = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = run.optimizer.update(gradient, state.opt_state, state.params)
        return optax.apply_updates(state.params, updates), statistics, opt_state

    updating = compiled(update, state, mixed, mixed)

    def plain_forward(state, x):
        return run.model.apply(state.variables, x, route="clean")

    with convolution.implementation("plain"):
        flops = jax.jit(plain_forward).lower(state, mixed).compile().cost_analysis()["flops"]
    square = jnp.ones((SIDE, SIDE), dtype)
    product = compiled(jnp.matmul, square, square)

    def multiply():
        jax.block_until_ready(product(square, square))
        return {"flops": 2 * SIDE**3, "flops of a forward pass": flops}

    def attack_task(name):
        def task():
            result = jax.block_until_ready(programs[name](*arguments))
            return np.bincount(np.asarray(result.steps), minlength=steps + 1).tolist()

        return task

    tasks = {
        "augment": lambda: jax.block_until_ready(start(jax.random.key(1))) and None,
        **{name: attack_task(name) for name in attacks},
        "update": lambda: jax.block_until_ready(updating(state, mixed, mixed)) and None,
        "matrix product": multiply,
    }
    if whole:

        def step_task(name):
            step = train_step if kinds[name] is run else step_of(kinds[name])
            following, seen = itertools.count(train), []

            def prepare():
                # A copy, so that every method works on the same network, and the same batches.
                own = parallel.replicate(state, devices)
                return jax.block_until_ready((own, batch_number(next(following))))

            def task(arguments):
                _, metrics = step(*arguments)
                taken = jax.block_until_ready(metrics).get("ascent_steps")
                if taken is not None:
                    seen.append(round(float(np.asarray(taken)[0]), 2))
                return {"mean_steps_with_warm_up": list(seen)} if seen else None

            return Prepared(prepare, task)

        tasks |= {f"step: {name}": step_task(name) for name in kinds}
    if taken:
        tasks["training"] = lambda: {"mean_steps_while_training": [round(t, 2) for t in taken]}
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
    passes = {"maximise": 2 * steps, "update": 9}  # a gradient by everything costs two more
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
        help="of our convolutions and activations",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        choices=["cpu", "cuda"],
        help="of PyTorch, cuda with bfloat16 and channels last; ours is JAX's default device",
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
