"""Training steps of our methods: the first one, the following ones, memory, share of the peak."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.models.cpu import convolution
from augmax_jax.report import runs as reading
from augmax_jax.runtime import compiler, parallel
from benchmarks.corruptions import make_images
from benchmarks.runs import CLASSES, Parts, make_parts

FIXED, EARLY, COMPACTED = "fixed", "early stop", "compacted"
CHUNKS = (16, 32, 64, 128)
STEPS = (5, 10)


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network, and the batches that it is timed on.

    Attributes:
        name: a name of `augmax_jax.models.MODELS`.
        side: of the images, in pixels.
        batch: images in a step.
        options: of the network.
    """

    name: str
    side: int
    batch: int
    options: Mapping[str, int] = dataclasses.field(default_factory=dict)


NETWORKS = (Network("wrn40_2", 32, 256), Network("resnet18_imagenet", 224, 256))
TOY = (Network("wrn40_2", 8, 16, {"depth": 10, "widen_factor": 1}),)


def kinds(steps: tuple[int, ...] = STEPS) -> dict[str, dict[str, Any]]:
    """The steps to time: name -> arguments of `benchmarks.runs.make_parts`."""
    found: dict[str, dict[str, Any]] = {
        "normal": {"method": "normal"},
        "augmix": {"method": "augmix"},
    }
    for n in steps:
        found |= {
            f"augmax n={n} {COMPACTED}": {"steps": n, "early_stop": "sample"},
            f"augmax n={n} {EARLY}": {"steps": n, "early_stop": "sample", "compact": False},
            f"augmax n={n} {FIXED}": {"steps": n, "early_stop": "none", "compact": False},
        }
    return found


def chunk_kinds(batch: int, steps: tuple[int, ...] = STEPS) -> dict[str, dict[str, Any]]:
    """Compacted steps with chunks of a given size, as `kinds`; those that fit a batch."""
    return {
        f"augmax n={n} {COMPACTED} by {chunk}": {
            "steps": n,
            "early_stop": "sample",
            "chunk": chunk,
        }
        for n in steps
        for chunk in CHUNKS
        if chunk <= batch
    }


def batches(network: Network, count: int) -> list[dict[str, np.ndarray]]:
    """Batches of a problem that a network learns in a few steps: classes of brightness."""
    images = make_images(count * network.batch, network.side)
    level = images.mean((1, 2, 3)).argsort().argsort()
    labels = (level * CLASSES // len(images)).astype(np.int32)
    order = np.random.default_rng(0).permutation(len(images)).reshape(count, -1)
    return [{"image": images[rows], "label": labels[rows]} for rows in order]


class Bench:
    """Times the steps of a network at a dtype.

    All kinds start from one network, which has been trained for some steps of standard training,
    and see the same batches.

    Args:
        network: the network.
        dtype: "float32" or "bfloat16".
        train: steps of standard training before anything is timed.
        repeats: steps that are timed.
        settings: of the training, by name, that differ from the defaults.
    """

    def __init__(
        self,
        network: Network,
        dtype: str,
        *,
        train: int,
        repeats: int,
        settings: Mapping[str, Any],
    ) -> None:
        self._network, self._dtype, self._train, self._repeats = network, dtype, train, repeats
        options = {f"model.options.{name}": value for name, value in network.options.items()}
        self._settings = {**settings, **options}

    def _parts(self, **arguments: Any) -> Parts:
        network = self._network
        return make_parts(
            network.name, network.batch, dtype=self._dtype, settings=self._settings, **arguments
        )

    @functools.cached_property
    def _batches(self) -> list[Any]:
        """A few batches on the device, in turns."""
        devices = parallel.local_devices(1)
        return [parallel.shard(batch, devices) for batch in batches(self._network, 4)]

    @functools.cached_property
    def _trained(self) -> Any:
        """The state after the training, on the host."""
        parts = self._parts(method="normal")
        state = parallel.replicate(
            parts.initial_state(jax.random.key(0), self._network.side), parts.devices
        )
        step = parts.step()
        for i in range(self._train):
            state, _ = step(state, self._batches[i % len(self._batches)])
        return parallel.first(state)

    def measure(self, **arguments: Any) -> dict[str, Any]:
        """Times a kind of step.

        Args:
            **arguments: of `benchmarks.runs.make_parts`.

        Returns:
            Seconds of tracing, compiling and the first run; median and least seconds of a step;
            images/s; memory in MiB; forward passes of the network that a step is worth.
        """
        parts = self._parts(**arguments)
        options = compiler.jit_options(parts.devices[0].platform)
        state = parallel.replicate(self._trained, parts.devices)
        marks = [time.perf_counter()]
        step: Any = parts.step()
        lowered = step.lower(state, self._batches[0])
        marks.append(time.perf_counter())
        compiled = lowered.compile(compiler_options=options)
        marks.append(time.perf_counter())
        state, metrics = jax.block_until_ready(compiled(state, self._batches[0]))
        marks.append(time.perf_counter())
        seconds, shares = [], []
        for i in range(self._repeats):
            begin = time.perf_counter()
            state, metrics = compiled(state, self._batches[i % len(self._batches)])
            jax.block_until_ready((state, metrics))
            seconds.append(time.perf_counter() - begin)
            shares.append({k: float(v) for k, v in parallel.first(metrics).items()})
        median = statistics.median(seconds)
        found = {
            "trace_seconds": round(marks[1] - marks[0], 3),
            "compile_seconds": round(marks[2] - marks[1], 3),
            "first_run_seconds": round(marks[3] - marks[2], 3),
            "first_step_seconds": round(marks[3] - marks[0], 3),
            "seconds": round(median, 6),
            "least_seconds": round(min(seconds), 6),
            "images_per_second": round(self._network.batch / median, 1),
            "memory_mib": _memory(compiled, parts.devices[0]),
            "forward_passes": self._passes(parts, shares),
            "accuracy": round(shares[-1]["accuracy_clean"], 3),
        }
        if "ascent_steps" in shares[-1]:
            found["ascent_steps"] = round(statistics.fmean(s["ascent_steps"] for s in shares), 3)
        return found

    def forward_flops(self) -> dict[str, float | None]:
        """ "forward": operations of the network's pass over a batch, as XLA counts them."""
        parts = self._parts(method="normal")
        network = self._network
        state = jax.eval_shape(
            lambda key: parts.initial_state(key, network.side), jax.random.key(0)
        )
        images = jax.ShapeDtypeStruct((network.batch, network.side, network.side, 3), jnp.float32)

        def forward(state, images):
            return parts.model.apply(state.variables, images, route="clean", train=False)

        with convolution.implementation("plain"):
            costs = jax.jit(forward).lower(state, images).cost_analysis()
        return {"forward": float(costs["flops"]) if costs and "flops" in costs else None}

    @staticmethod
    def _passes(parts: Parts, metrics: list[dict[str, float]]) -> float:
        """Forward passes of the batch that a step is worth; a whole gradient costs two more.

        An ascent step costs two: its gradient is of m and p alone, through one backward pass.
        """
        if parts.config.method == "normal":
            return 3.0
        if parts.config.method == "augmix":
            return 9.0
        most = parts.config.adversary.steps
        if parts.config.adversary.early_stop == "none" or not parts.config.compaction.enabled:
            return 9.0 + 2 * most
        shares = reading.ascent_shares([m for m in metrics if "ascent_steps/0" in m])
        return round(9.0 + 2 * most * reading.ascent_work(shares), 3)


def _memory(compiled: Any, device: jax.Device) -> dict[str, float | None]:
    """MiB of a program as XLA plans it, and the most that the device has held so far."""
    planned = compiled.memory_analysis()
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "temporary": round(planned.temp_size_in_bytes / 2**20, 1) if planned else None,
        "arguments": round(planned.argument_size_in_bytes / 2**20, 1) if planned else None,
        "device_peak_so_far": round(peak / 2**20, 1) if peak else None,
    }
