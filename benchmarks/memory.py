"""Memory that the whole training step needs, by batch size, with and without rematerialisation.

    python -m benchmarks.memory [--model wrn40_2] [--batches 32 64 128] [--side 32]

The step is compiled, not run: XLA knows what it will allocate. "activations" is its temporary
memory, and "state" is the memory of its arguments (parameters, statistics, momentum, batch).
"""

import argparse
from pathlib import Path

from benchmarks.augment import machine

RESULTS = Path(__file__).parent / "results"


def step_memory(model: str, batch: int, side: int, remat: bool) -> dict[str, float]:
    """Megabytes of one AugMax step."""
    import jax
    import jax.numpy as jnp

    from augmax_jax.runtime import compiler
    from benchmarks.runs import make_parts

    parts = make_parts(model, batch, remat=remat)
    state = jax.eval_shape(lambda key: parts.initial_state(key, side), jax.random.key(0))
    images = {
        "image": jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch,), jnp.int32),
    }
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape), leaf.dtype), (state, images)
    )
    # Options are given again, because lowering a pmapped function drops them; a call does not.
    options = compiler.jit_options(parts.devices[0].platform)
    lowered = parts.step().lower(*arguments)
    memory = lowered.compile(compiler_options=options).memory_analysis()
    if memory is None:
        raise RuntimeError("this backend does not report how much memory a program needs")
    return {
        "activations_mb": round(memory.temp_size_in_bytes / 2**20, 1),
        "state_mb": round(memory.argument_size_in_bytes / 2**20, 1),
    }


def main() -> None:
    from augmax_jax.runtime import files

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wrn40_2")
    parser.add_argument("--side", type=int, default=32, help="image size")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = {"machine": machine(), "model": options.model, "side": options.side, "steps": []}
    for batch in options.batches:
        for remat in (False, True):
            found = step_memory(options.model, batch, options.side, remat)
            report["steps"].append({"batch": batch, "remat": remat, **found})
            print(report["steps"][-1], flush=True)
    path = options.out or RESULTS / f"memory_{options.model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, report)


if __name__ == "__main__":
    main()
