"""What compacting the inner maximisation costs and saves, by how many samples are never fooled.

    python -m benchmarks.compaction [--model wrn40_2] [--batch 64] [--steps 5] [--repeats 5]

It prints the time of the compacted loop over that of the plain loop on the same problem, for
several chunk sizes, as medians of interleaved repeats; and how many values of the results (x*, m,
p, steps) differ. The network has random weights. A share of the labels are the classes that the
network predicts, so that the attack has to work. The other labels are wrong classes, so these
samples stop after one step.
"""

import argparse
import functools
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax import adversary, augment, models
from augmax_jax.adversary import active_set
from augmax_jax.runtime import compiler, files, host_memory
from benchmarks.augment import machine
from benchmarks.step import CLASSES, digits

RESULTS = Path(__file__).parent / "results"


def measure(
    model_name: str, batch: int, steps: int, shares: list[float], chunks: list[int], repeats: int
) -> list[dict[str, Any]]:
    """One row for every share of samples that the network classifies correctly."""
    options = compiler.jit_options(jax.default_backend())
    model = models.create(model_name, CLASSES)
    images = jnp.asarray(digits(batch)[0])
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    chains = augment.sample_chains(jax.random.key(1), images, width=3, severity=3)
    m, p = adversary.random_start(jax.random.key(2), batch, 3)

    def logits(variables, x):
        return model.apply(variables, x, route="augmented")

    def compiled(compact):
        def attack(variables, labels):
            network = functools.partial(logits, variables)
            return adversary.augmax(
                network, images, chains, labels, m, p, steps=steps, compact=compact
            )

        return jax.jit(attack, compiler_options=options)

    programs = {0: compiled(False), **{chunk: compiled(chunk) for chunk in chunks}}
    start = augment.mix(images, chains, m, jax.nn.softmax(p))
    guess = np.asarray(jax.jit(logits, compiler_options=options)(variables, start).argmax(-1))
    rows = []
    for share in shares:
        right = np.arange(batch) < round(share * batch)
        labels = jnp.asarray(np.where(right, guess, (guess + 1) % CLASSES))
        times: dict[int, list[float]] = {chunk: [] for chunk in programs}
        results = {}
        for repeat in range(repeats + 1):  # the first one compiles
            for chunk, program in programs.items():
                began = time.perf_counter()
                results[chunk] = jax.block_until_ready(program(variables, labels))
                if repeat:
                    times[chunk].append(time.perf_counter() - began)
        taken = np.asarray(results[0].steps)
        differing = sum(
            int(jnp.sum(a != b))
            for chunk in chunks
            for a, b in zip(results[0], results[chunk], strict=True)
        )
        medians = {chunk: statistics.median(seconds) for chunk, seconds in times.items()}
        evaluations = np.minimum(taken + 1, steps).sum() / (steps * batch)
        rows.append(
            {
                "samples that take all steps": round(float((taken == steps).mean()), 3),
                "share of evaluations": round(float(evaluations), 3),
                "differing values": differing,
                "plain seconds": round(medians[0], 3),
                "over plain, by chunk": {c: round(medians[c] / medians[0], 3) for c in chunks},
            }
        )
        print(files.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wrn40_2", choices=["wrn40_2", "resnet18", "resnext29"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="ascent steps, n")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--right", type=float, nargs="+", default=[0, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
    parser.add_argument("--chunks", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    for chunk in options.chunks:
        if not active_set.SMALLEST <= chunk <= options.batch:
            parser.error(f"--chunks: {chunk} is not between {active_set.SMALLEST} and --batch")
    host_memory.keep_freed_memory()  # the command does so too
    rows = measure(
        options.model, options.batch, options.steps, options.right, options.chunks, options.repeats
    )
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    report = {"machine": machine(), "settings": settings, "rows": rows}
    path = options.out or RESULTS / f"compaction_{options.model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, report)


if __name__ == "__main__":
    main()
