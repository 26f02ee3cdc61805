"""Step time of every training method, as a multiple of standard training.

    python -m benchmarks.methods [--model tiny] [--norm bn] [--batch 32] [--repeats 5]

All methods run the whole pmapped step on one device, on the same network, batch and settings
(those of `config.defaults()`). The network is first trained for `--train` steps of standard
training on scikit-learn's digits, because the time of attacks that stop early depends on the
network's accuracy. Methods take turns, and medians are compared, so that other load affects all of
them. ANT trains a generator from scratch once an epoch; one iteration of that is timed separately.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from augmax_jax import methods
from augmax_jax.config import defaults
from augmax_jax.runtime import compiler, files, host_memory, parallel
from augmax_jax.training.batches import device_batches
from augmax_jax.training.run import Run, build
from augmax_jax.training.state import TrainState

RETRAIN_STEPS = 10  # enough to time an iteration


def make_config(method: str, options: argparse.Namespace) -> ConfigDict:
    """The paper's settings, on the digits."""
    config = defaults()
    config.method = method
    config.data.name = "digits"
    config.data.train_transform = "crop"
    config.data.holdout = 0.1
    config.model.name = options.model
    config.model.norm = options.norm
    config.batch_size = options.batch
    config.num_devices = 1
    config.epochs = 1000
    config.optimizer.learning_rate = 0.02
    config.optimizer.schedule = "constant"
    config.ant.retrain_steps = RETRAIN_STEPS
    return config


class Stepper:
    """One method's compiled step.

    Args:
        config: config of the run.
    """

    def __init__(self, config: ConfigDict):
        self.run: Run = build(config)
        self.batches = device_batches(self.run, 0)
        self.step = parallel.pmap(
            self.run.train_step(),
            self.run.devices,
            compiler_options=compiler.jit_options(self.run.devices[0].platform),
        )

    def place(self, trained: TrainState, step: int) -> TrainState:
        """The state of a trained network, with this method's own state and the given step."""
        own = self.run.method.init(jax.random.key(0))
        state = TrainState(
            jnp.int32(step), trained.params, trained.statistics, trained.opt_state, own
        )
        return parallel.replicate(state, self.run.devices)

    def seconds(self, state: TrainState) -> float:
        """The seconds of one step from a state."""
        batch = jax.block_until_ready(next(self.batches))
        start = time.perf_counter()
        jax.block_until_ready(self.step(state, batch))
        return time.perf_counter() - start


def train(options: argparse.Namespace) -> TrainState:
    """A network after some steps of standard training, as host arrays."""
    stepper = Stepper(make_config("normal", options))
    state = parallel.replicate(stepper.run.initial_state(), stepper.run.devices)
    accuracy = []
    for _ in range(options.train):
        state, metrics = stepper.step(state, next(stepper.batches))
        accuracy.append(parallel.first(metrics)["accuracy_clean"])
    if accuracy:
        print(f"network's accuracy after {options.train} steps: {np.mean(accuracy[-10:]):.3f}")
    return parallel.first(state)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Medians of step times, and their multiples of standard training, by method."""
    trained = train(options)
    clocks: dict[str, tuple[Stepper, TrainState]] = {}
    for name in options.methods:
        begin = time.perf_counter()
        stepper = Stepper(make_config(name, options))
        clocks[name] = stepper, stepper.place(trained, 1)
        stepper.seconds(clocks[name][1])
        if name == "ant":
            clocks["ant_first_step"] = stepper, stepper.place(trained, 0)
        print(f"{name}: compiled in {time.perf_counter() - begin:.1f} s", flush=True)
    times: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(options.repeats):
        for name, (stepper, state) in clocks.items():
            times[name].append(stepper.seconds(state))
    base = statistics.median(times["normal"])
    medians = {name: statistics.median(values) for name, values in times.items()}
    result: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "model": options.model,
        "norm": options.norm,
        "batch": options.batch,
        "repeats": options.repeats,
        "trained_steps": options.train,
        "normal_seconds": round(base, 5),
        "multiples": {
            name: round(median / base, 2)
            for name, median in medians.items()
            if name != "ant_first_step"
        },
    }
    if "ant" in medians:
        iteration = (medians["ant_first_step"] - medians["ant"]) / RETRAIN_STEPS
        result["ant_generator_iteration"] = round(iteration / base, 2)
    return result


def main() -> None:
    """Runs the comparison, prints it and writes it to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--norm", default="bn")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--train", type=int, default=80, help="steps before anything is timed")
    parser.add_argument("--methods", nargs="+", default=list(methods.METHODS))
    parser.add_argument("--cache", default="~/.cache/augmax_jax", help="of compiled programs")
    parser.add_argument("--out", default="benchmarks/results/methods.json")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {options.repeats}")
    if "normal" not in options.methods:
        options.methods.insert(0, "normal")
    host_memory.keep_freed_memory()  # the command does so too
    compiler.enable_compilation_cache(options.cache or None)

    result = compare(options)
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(out, result)
    print(f"normal: {1000 * result['normal_seconds']:.1f} ms a step on {result['device']}")
    for name, multiple in result["multiples"].items():
        print(f"{name:12} {multiple:7.2f}")
    if "ant_generator_iteration" in result:
        print(
            f"one iteration of ANT's training from scratch: {result['ant_generator_iteration']:.2f}"
        )


if __name__ == "__main__":
    main()
