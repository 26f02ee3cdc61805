"""Times PyTorch's phases of a training step, for `experiments.accelerator`.

    python -m benchmarks.torch_steps '{"name": "wrn40_2", "side": 32, ...}'

It is a program of its own: two frameworks in one process would fight for the device's memory. It
prints one line of JSON.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.corruptions import make_images
from benchmarks.torch_peer import Peer

CLASSES = 10


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Median seconds of the phases.

    Args:
        asked: "name", "side", "batch" and "options" of the network; "mixed_precision",
            "compiled"; "steps", a list of numbers of ascent steps; and "repeats".

    Returns:
        "seconds" of "normal" (a step of standard training), "update" (of an AugMax step) and
        "maximise N" for each number of steps; device, version and the most MiB allocated.
    """
    cuda = torch.cuda.is_available()
    images = make_images(asked["batch"], asked["side"])
    peer = Peer(
        asked["name"],
        CLASSES,
        images,
        np.stack([images, images[:, ::-1], images[:, :, ::-1]], 1),
        np.arange(len(images)) % CLASSES,
        steps=max(asked["steps"]),
        threads=len(os.sched_getaffinity(0)),
        device="cuda" if cuda else "cpu",
        mixed_precision=asked["mixed_precision"],
        compiled=asked["compiled"],
        options=asked["options"],
    )
    found: dict[str, float] = {}
    for n in asked["steps"]:
        peer.steps = n
        found[f"maximise {n}"] = median(peer.maximise, asked["repeats"])
    found["update"] = median(peer.update, asked["repeats"])
    found["normal"] = median(peer.normal, asked["repeats"])
    return {
        "seconds": found,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "memory_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if cuda else None,
    }


def median(task: Callable[[], None], repeats: int) -> float:
    """Median seconds of a task that waits for the device; the first two times do not count."""
    seconds = []
    for repeat in range(repeats + 2):  # PyTorch compiles and chooses algorithms first
        begin = time.perf_counter()
        task()
        if repeat > 1:
            seconds.append(time.perf_counter() - begin)
    return round(statistics.median(seconds), 6)


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1])), allow_nan=False))
