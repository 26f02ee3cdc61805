"""What ImageNet AugMax would take on accelerators, from figures that this machine can give.

    python -m benchmarks.plan [--config imagenet_r18] [--shares 32 16]

The command compiles the step of a published setting for eight virtual devices and runs nothing of
it: XLA says what it allocates, how many operations its parts have, and what the devices sum. It
also decodes and crops JPEG files of the size of ImageNet's, and counts the CPU time. `expect` makes
of these and of published peaks what a step would take; docs/scaling.md has the assumptions.
"""

import argparse
import dataclasses
import importlib
import io
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import collectives

RESULTS = Path(__file__).parent / "results"
DEVICES = 8
IMAGES, CLASSES = 1_281_167, 1000  # ImageNet's training set
PHOTO, QUALITY = (500, 375), 98  # pixels, and the JPEG quality that gives about 110 kB
UTILISATIONS = (0.1, 0.2, 0.4)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """Published figures of accelerators that work on one run.

    Attributes:
        name: as in the tables.
        devices: how many JAX sees.
        peak: operations per second of one, in what convolutions of float32 arrays use by default:
            TF32 on GPUs, one pass of bfloat16 on TPUs; dense.
        link: bytes per second that one can send while it receives as many.
        memory: bytes of one.
        cores: that decode, of all hosts together: not hyperthreads, and at most 32 of a process
            (`augmax_jax.data.decode_pool.WORKERS`); one process for each GPU, or for each TPU host.
    """

    name: str
    devices: int
    peak: float
    link: float
    memory: float
    cores: int


# Sources are in docs/scaling.md.
HARDWARE = (
    Hardware("8 x A100 80 GB", 8, 156e12, 300e9, 80e9, 128),
    Hardware("8 x H100 80 GB", 8, 494e12, 450e9, 80e9, 112),
    Hardware("TPU v4-32", 16, 275e12, 134e9, 32 * 2**30, 128),
)


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a step would take, in seconds if not said otherwise.

    Attributes:
        compute: network passes.
        all_reduce: sums over the devices, at the full speed of the links.
        input: decoding and cropping of the batch on all cores.
        step: the devices' work or the input's, whichever is longer; sums wait for the passes.
        epoch: all steps of an epoch.
        bound: what the step waits for: "compute", "all-reduce" or "input".
        cores: cores that decode as fast as the devices work.
    """

    compute: float
    all_reduce: float
    input: float
    step: float
    epoch: float
    bound: str
    cores: float


def expect(
    hardware: Hardware,
    *,
    flops: float,
    bytes_summed: int,
    images_per_core: float,
    utilisation: float,
    batch: int = 256,
    images: int = IMAGES,
) -> Expected:
    """What a step of a batch would take on some hardware.

    Args:
        hardware: the devices.
        flops: operations of one image in a step.
        bytes_summed: of the arrays that a step sums over the devices.
        images_per_core: images that one core decodes and crops in a second.
        utilisation: share of the peak that the network's passes reach.
        batch: images of all devices together.
        images: of an epoch; the last batch is filled up.

    Raises:
        ValueError: the devices do not divide the batch, or `utilisation` is not in (0, 1].
    """
    if batch % hardware.devices:
        raise ValueError(f"batch {batch} cannot be divided by {hardware.devices} devices")
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation must be in (0, 1], got {utilisation}")
    compute = flops * batch / hardware.devices / (utilisation * hardware.peak)
    all_reduce = collectives.ring_bytes(bytes_summed, hardware.devices) / hardware.link
    reading = batch / (images_per_core * hardware.cores)
    step = max(compute + all_reduce, reading)
    times = {"compute": compute, "all-reduce": all_reduce, "input": reading}
    if reading < step:
        del times["input"]
    return Expected(
        compute,
        all_reduce,
        reading,
        step,
        step * math.ceil(images / batch),
        max(times, key=lambda name: times[name]),
        batch / images_per_core / (compute + all_reduce),
    )


def flops_per_image(passes: Mapping[str, float], steps: int) -> float:
    """Operations of one image in an AugMax step in which no sample stops early.

    Args:
        passes: operations of "ascent", one step of the ascent, and of "view", the forward and
            backward pass of one view in training.
        steps: of the ascent.
    """
    return steps * passes["ascent"] + 3 * passes["view"]


def count_passes(parts: Any, side: int, images: int = 4) -> dict[str, float]:
    """Operations of the network's passes over one image, by XLA's cost analysis.

    Returns:
        "forward", "ascent" (a forward pass in eval mode and the gradient of the image) and "view"
        (forward and backward pass in training mode).
    """
    import jax
    import jax.numpy as jnp

    from augmax_jax.models import statistics_collection
    from augmax_jax.models.cpu import convolution

    key = jax.random.key(0)
    state = jax.eval_shape(lambda key: parts.initial_state(key, side), key)
    x = jax.ShapeDtypeStruct((images, side, side, 3), jnp.float32)
    mutable = [statistics_collection(parts.config.model.norm, "augmented")]

    def forward(x, state):
        return parts.model.apply(state.variables, x, route="augmented")

    def of_parameters(params, state, x):
        variables = {"params": params, **state.statistics}
        logits, new = parts.model.apply(
            variables, x, route="augmented", train=True, mutable=mutable
        )
        return logits.sum(), new

    def count(function, *arguments):
        with convolution.implementation("plain"):
            costs = jax.jit(function).lower(*arguments).compile().cost_analysis()
        if costs is None:
            raise RuntimeError("this backend does not report how many operations a program has")
        return costs["flops"] / images

    return {
        "forward": count(forward, x, state),
        "ascent": count(jax.grad(lambda x, state: forward(x, state).sum()), x, state),
        "view": count(jax.grad(of_parameters, has_aux=True), state.params, state, x),
    }


def compiled_step(parts: Any, side: int) -> dict[str, Any]:
    """Memory of a device, and what the devices sum, in a compiled step."""
    import jax
    import jax.numpy as jnp

    from augmax_jax.models.cpu import convolution

    count = len(parts.devices)
    share = parts.config.batch_size // count
    state = jax.eval_shape(lambda key: parts.initial_state(key, side), jax.random.key(0))
    batch = {
        "image": jax.ShapeDtypeStruct((share, side, side, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((share,), jnp.int32),
    }
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), (state, batch)
    )
    with convolution.implementation("plain"):  # as accelerators compute them
        lowered = parts.step().lower(*arguments)
        # It is not run, so its machine code need not be good.
        compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": "0"})
    memory = compiled.memory_analysis()
    if memory is None:
        raise RuntimeError("this backend does not report how much memory a program needs")
    sums = collectives.all_reduces(compiled.as_text())
    return {
        "share": share,
        "activations_mb": round(memory.temp_size_in_bytes / 2**20, 1),
        "state_mb": round(memory.argument_size_in_bytes / 2**20, 1),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "all_reduces": len(sums),
        "in_loops": sum(not each.entry for each in sums),
        "bytes_summed": sum(each.bytes for each in sums),
    }


def decoding(count: int = 48) -> dict[str, float]:
    """CPU time of decoding and cropping photographs of ImageNet's usual size, as training does."""
    import numpy as np
    from PIL import Image

    from augmax_jax.data.images import decode
    from augmax_jax.data.square import random_resized_crop
    from benchmarks.corruptions import make_images

    files = []
    for pixels in make_images(count, PHOTO[0]):
        out = io.BytesIO()
        Image.fromarray(pixels[: PHOTO[1]]).save(out, "JPEG", quality=QUALITY)
        files.append(out.getvalue())
    rng = np.random.default_rng(0)
    seconds = []
    for i, contents in enumerate(files):
        begin = time.thread_time()
        random_resized_crop(decode(contents, f"image {i}"), 224, rng)
        seconds.append(time.thread_time() - begin)
    half = seconds[count // 2 :]  # the first ones warm up
    return {
        "images_per_core": round(len(half) / sum(half), 1),
        "kilobytes": round(sum(map(len, files)) / count / 1000, 1),
    }


def main() -> None:
    import jax

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="imagenet_r18", help="name of a file in configs/")
    parser.add_argument("--shares", type=int, nargs="+", default=[32, 16])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", DEVICES)

    from augmax_jax.runtime import files, parallel
    from benchmarks.augment import machine
    from benchmarks.runs import parts_of

    config = importlib.import_module(f"configs.{options.config}").get_config()
    side = config.data.image_size
    report: dict[str, Any] = {
        "machine": machine(),
        "config": options.config,
        "steps_of_the_ascent": config.adversary.steps,
        "input": decoding(),
        "compiled": [],
    }
    print(report["input"], flush=True)
    path = options.out or RESULTS / f"plan_{options.config}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report["flops_of_an_image"] = count_passes(
        parts_of(config, parallel.local_devices(1), CLASSES), side
    )
    print(report["flops_of_an_image"], flush=True)
    for share in options.shares:
        config.batch_size = share * DEVICES
        parts = parts_of(config, parallel.all_devices(), CLASSES)
        report["compiled"].append(compiled_step(parts, side))
        print(report["compiled"][-1], flush=True)
        files.write_json(path, report)


if __name__ == "__main__":
    main()
