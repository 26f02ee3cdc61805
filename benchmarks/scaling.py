"""What it costs that devices, or processes, share a training step; against the least it could.

    python -m benchmarks.scaling [--devices 1 2 4 8] [--processes 1 2 4]

Virtual devices and processes of one machine share its cores, so the time of a step says nothing
about scaling: each further device adds work. So every device gets a small share of its own (two
images of 32 pixels; the gradient has the size of ImageNet's ResNet-18), and the step runs in two
forms that take turns: as it is, and the same program without its all-reduces. Their difference is
what sharing costs: the sums, and waiting for each other. A third program sums one array of the
least bytes over the same devices, which is the least time on this machine. Processes have one
device each, and talk over gloo and the loopback address.

Bytes are those of the all-reduces of the compiled program. The method is `normal`: no ascent has
an all-reduce, so AugMax's step has the same ones, of a few more metrics and of two sets of running
statistics (`tests/benchmarks/test_scaling.py`, `benchmarks.plan`).
"""

import argparse
import contextlib
import functools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from augmax_jax import config as configs
from augmax_jax.models import ROUTES, statistics_collection
from augmax_jax.models.cpu import convolution
from augmax_jax.runtime import compiler, files, hosts, joining, parallel
from augmax_jax.training.step import make_train_step
from benchmarks import collectives
from benchmarks.augment import machine
from benchmarks.runs import make_parts

RESULTS = Path(__file__).parent / "results" / "scaling.json"
MODEL, CLASSES, SIDE = "resnet18_imagenet", 1000, 32
SHARE = 2  # images of a device: the last layer of ResNet-18 has one pixel each
NORMS = {"own": False, "synchronised": True}
WITH, WITHOUT, LEAST = "with all-reduces", "without", "one array of the least bytes"
# The routes of a method's forward passes in training.
PASSES = {"normal": ("clean",), "augmax": ("augmented", "clean", "clean")}
# Metrics that a step computes after it has summed the others.
AFTERWARDS = {"learning_rate", "gradient_norm", "parameter_norm"}
TIMEOUT = 3600


@contextlib.contextmanager
def no_all_reduce() -> Iterator[None]:
    """Functions that are traced in here take a mean over devices to be each device's own value."""
    jax.clear_caches()  # layers of equal shapes are traced once, maybe before
    with mock.patch.object(jax.lax, "pmean", lambda tree, axis_name: tree):
        yield
    jax.clear_caches()


class SharedStep:
    """A training step of all devices of all processes, each of which has `SHARE` images.

    Args:
        synchronised: whether batch norm takes the statistics of the whole batch.
        method: name of the training method, of `PASSES`.
        model: name of the network.
        settings: of the run, by name, that differ from the defaults.
    """

    def __init__(
        self,
        *,
        synchronised: bool,
        method: str = "normal",
        model: str = MODEL,
        settings: Mapping[str, Any] | None = None,
    ):
        self.devices = parallel.all_devices()
        self._parts = make_parts(
            model,
            SHARE * len(self.devices),
            method=method,
            settings={"sync_batch_norm": synchronised, **(settings or {})},
            devices=self.devices,
            classes=CLASSES,
        )
        key = jax.random.key(0)
        self._state = jax.eval_shape(lambda key: self._parts.initial_state(key, SIDE), key)

    def arguments(self) -> tuple[Any, Any]:
        """A state and a batch, on the devices."""
        state = self._parts.initial_state(jax.random.key(0), SIDE)
        rng = np.random.default_rng(0)
        own = SHARE * len(parallel.own(self.devices))
        batch = {
            "image": rng.integers(0, 256, (own, SIDE, SIDE, 3), dtype=np.uint8),
            "label": rng.integers(0, CLASSES, own, dtype=np.int32),
        }
        return parallel.replicate(state, self.devices), parallel.shard(batch, self.devices)

    def compile(self, *arguments: Any) -> Any:
        """The step, compiled for its arguments."""
        parts = self._parts
        step = make_train_step(
            parts.config, parts.model, parts.method, parts.optimizer, parts.schedule, SHARE
        )
        # Quick to compile: the time of the computation is subtracted.
        options = compiler.jit_options(self.devices[0].platform, once=True)
        with convolution.implementation("plain"):
            lowered = parallel.pmap(step, self.devices).lower(*arguments)
            return lowered.compile(compiler_options=options)

    def counted(self, compiled: Any) -> dict[str, Any]:
        """What the compiled step sums over the devices, and the least that it must sum."""
        config = self._parts.config
        passes = PASSES[config.method]
        # Running statistics that several passes update are averaged once.
        counted = passes if config.sync_batch_norm else tuple(set(passes))
        # A norm's own parameters of a route without a pass have no gradient.
        without = tuple(f"{route}_" for route in set(ROUTES) - set(passes))
        least = collectives.least_bytes(
            sum(
                x.size
                for path, x in jax.tree.leaves_with_path(self._state.params)
                if not path[-1].key.startswith(without)
            ),
            channels=[
                sum(x.size for x in jax.tree.leaves(self._state.statistics[name])) // 2
                for name in (statistics_collection(config.model.norm, r) for r in counted)
            ],
            metrics=len(set(compiled.out_info[1]) - AFTERWARDS),
            synchronised=config.sync_batch_norm,
        )
        found = collectives.all_reduces(compiled.as_text())
        return {
            "all_reduces": len(found),
            "in_loops": sum(not each.entry for each in found),
            "arrays": sum(each.arrays for each in found),
            "bytes": sum(each.bytes for each in found),
            "least_bytes": {**least, "sum": sum(least.values())},
        }


def take_turns(programs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of programs that all processes run, by turns; of the process that took longest."""
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats + 1):  # the first one warms up
        for name, program in programs.items():
            hosts.barrier()
            begin = time.perf_counter()
            jax.block_until_ready(program())
            seconds = max(hosts.everyone(time.perf_counter() - begin))
            if repeat:
                taken[name].append(seconds)
    return taken


def summary(taken: Mapping[str, list[float]]) -> dict[str, Any]:
    """Medians in ms; the overhead is that of differences within a turn, with their quartiles."""
    differences = [a - b for a, b in zip(taken[WITH], taken[WITHOUT], strict=True)]
    low, middle, high = statistics.quantiles(differences, n=4)
    return {
        "ms": {name: round(1000 * statistics.median(each), 2) for name, each in taken.items()},
        "overhead_ms": round(1000 * middle, 2),
        "overhead_quartiles_ms": [round(1000 * low, 2), round(1000 * high, 2)],
    }


def measure(model: str, repeats: int) -> dict[str, Any]:
    """Measures over all devices of all processes, each of which must call it."""
    report = {}
    for norm, synchronised in NORMS.items():
        step = SharedStep(model=model, synchronised=synchronised)
        arguments = step.arguments()
        joined = step.compile(*arguments)
        counted = step.counted(joined)
        with no_all_reduce():
            alone = step.compile(*arguments)
        if collectives.all_reduces(alone.as_text()):
            raise RuntimeError("the program without all-reduces has some: what does it sum?")
        zeros = np.zeros(counted["least_bytes"]["sum"] // 4, np.float32)
        total = parallel.pmap(lambda x: jax.lax.psum(x, parallel.AXIS), step.devices)
        programs = {
            WITH: functools.partial(joined, *arguments),
            WITHOUT: functools.partial(alone, *arguments),
            LEAST: functools.partial(total, parallel.replicate(zeros, step.devices)),
        }
        report[norm] = {**counted, **summary(take_turns(programs, repeats))}
    return report


def child(process: int, processes: int, port: int, model: str, repeats: int) -> None:
    """Joins the other processes, measures, and prints the report as JSON in the first of them."""
    place = configs.defaults().distributed
    if processes > 1:
        place.coordinator, place.processes, place.process = f"127.0.0.1:{port}", processes, process
    with joining.session(place):
        report = measure(model, repeats)
        if hosts.is_writer():
            print(files.dumps(report))


def run(devices: int, processes: int, model: str, repeats: int) -> dict[str, Any]:
    """Measures in processes of their own.

    Args:
        devices: of all processes.
        processes: a divisor of it.
        model: name of the network.
        repeats: turns.

    Raises:
        RuntimeError: a process failed.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    count = f"--xla_force_host_platform_device_count={devices // processes}"
    # No cluster of the environment, and no second place to set the number of devices.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMPI", "JAX_"))}
    flags = f"{os.environ.get('XLA_FLAGS', '')} {count}"
    environment = {**kept, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "benchmarks.scaling", "--model", model]
    command += ["--repeats", str(repeats), "--child"]
    started = [
        subprocess.Popen(
            [*command, str(process), str(processes), str(port)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for process in range(processes)
    ]
    try:
        said = [process.communicate(timeout=TIMEOUT)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    statuses = [process.returncode for process in started]
    if any(statuses):
        raise RuntimeError(f"the processes exited with {statuses}; see what they said above")
    return json.loads(said[0].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--devices", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error("--repeats must be at least 2")
    if options.child:
        child(*options.child, options.model, options.repeats)
        return
    report: dict[str, Any] = {
        "machine": machine(),
        "network": {"model": options.model, "side": SIDE, "images_of_a_device": SHARE},
        "repeats": options.repeats,
        "devices": {},
        "processes": {},
    }
    kinds = [("devices", n, 1) for n in options.devices]
    kinds += [("processes", n, n) for n in options.processes]
    for kind, count, processes in kinds:
        report[kind][str(count)] = run(count, processes, options.model, options.repeats)
        print(kind, count, report[kind][str(count)], flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(options.out, report)


if __name__ == "__main__":
    main()
