"""Time from starting Python to the end of the first training step, cold and with a cache.

    python -m benchmarks.first_step [--model wrn40_2] [--batch 64]

Every run is a new process: import, initialisation, tracing and compiling the step, and its
first execution, in the order of training. A second run uses the compiled programs of the first.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def child(model: str, batch: int, cache: str, started: float) -> None:
    """Prints the seconds of every part as JSON."""
    marks = {"start": started}

    import jax
    import numpy as np

    from augmax_jax.runtime import compiler, files, host_memory, parallel
    from benchmarks.runs import make_parts

    marks["import"] = time.time()
    host_memory.keep_freed_memory()
    compiler.enable_compilation_cache(cache)
    parts = make_parts(model, batch)
    devices = parts.devices
    key, step = jax.random.key(0), parts.step()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, batch, dtype=np.int32)
    # As in training: the step is traced while the state is made.
    like = jax.eval_shape(lambda key: parts.initial_state(key, 32), key)
    own = parallel.abstract((like, {"image": images, "label": labels}), devices)
    ahead = compiler.traced_ahead(step, *own)
    state = parallel.replicate(jax.block_until_ready(parts.initial_state(key, 32)), devices)
    data = parallel.shard({"image": images, "label": labels}, devices)
    marks["initialise"] = time.time()
    state, _ = jax.block_until_ready(ahead(state, data))
    marks["compile and first step"] = time.time()
    names = list(marks)
    seconds = {b: round(marks[b] - marks[a], 2) for a, b in itertools.pairwise(names)}
    seconds["total"] = round(marks["compile and first step"] - started, 2)
    seconds["cpu seconds"] = round(time.process_time(), 2)
    jax.block_until_ready(step(state, data))
    seconds["second step"] = round(time.time() - marks["compile and first step"], 2)
    print(files.dumps(seconds))


def main() -> None:
    from augmax_jax.runtime import files

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="wrn40_2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)  # cache, start time
    options = parser.parse_args()
    if options.child:
        cache, started = options.child
        child(options.model, options.batch, cache, float(started))
        return
    from benchmarks.augment import machine

    report: dict = {"machine": machine(), "model": options.model, "batch": options.batch}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "with the cache"):
            command = [sys.executable, "-m", "benchmarks.first_step", "--model", options.model]
            command += ["--batch", str(options.batch), "--child", cache, str(time.time())]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            report[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, report[name], flush=True)
    path = options.out or RESULTS / f"first_step_{options.model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, report)


if __name__ == "__main__":
    main()
