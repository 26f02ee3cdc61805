"""PyTorch's steps, in a process of their own: two frameworks in one would fight for memory."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.accelerator import steps

ROOT = Path(__file__).parent.parent.parent


def is_there() -> bool:
    """Whether PyTorch can be imported, in a process of its own."""
    command = [sys.executable, "-c", "import torch"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def measure(
    network: steps.Network, dtype: str, *, compiled: bool, repeats: int, seconds: float
) -> dict[str, Any]:
    """Times PyTorch's phases of a step.

    Args:
        network: the network.
        dtype: "bfloat16" is automatic mixed precision.
        compiled: whether `torch.compile` compiles the network.
        repeats: times of each phase.
        seconds: after which the process is stopped.

    Returns:
        Median seconds of "normal" (a step of standard training), "maximise n" and "update" (of an
        AugMax step without augmentation), the device, and the most MiB allocated.

    Raises:
        RuntimeError: PyTorch failed; the message has the end of its output.
        subprocess.TimeoutExpired: it took too long.
    """
    asked = {
        "name": network.name,
        "side": network.side,
        "batch": network.batch,
        "options": dict(network.options),
        "dtype": dtype,
        "compiled": compiled,
        "repeats": repeats,
    }
    done = subprocess.run(
        [sys.executable, "-m", "experiments.accelerator.peer", json.dumps(asked)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    if done.returncode:
        raise RuntimeError(f"PyTorch: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """The measurement itself, in the process of PyTorch."""
    import os

    import torch

    from benchmarks.torch_peer import Peer

    network = steps.Network(asked["name"], asked["side"], asked["batch"], asked["options"])
    batch = steps.batches(network, 1)[0]
    images = batch["image"]
    import numpy as np

    device = "cuda" if torch.cuda.is_available() else "cpu"
    peer = Peer(
        network.name,
        steps.CLASSES,
        images,
        np.stack([images, images[:, ::-1], images[:, :, ::-1]], 1),
        batch["label"],
        steps=max(steps.STEPS),
        threads=len(os.sched_getaffinity(0)),
        device=device,
        mixed_precision=asked["dtype"] == "bfloat16",
        compiled=asked["compiled"],
        options=network.options,
    )
    found: dict[str, Any] = {}
    for n in steps.STEPS:
        peer.steps = n
        found[f"maximise {n}"] = _median(peer.maximise, asked["repeats"])
    found["update"] = _median(peer.update, asked["repeats"])
    found["normal"] = _median(peer.normal, asked["repeats"])
    cuda = device == "cuda"
    return {
        "seconds": found,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
        "memory_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if cuda else None,
    }


def _median(task: Any, repeats: int) -> float:
    task()  # compiles, chooses algorithms
    task()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - begin)
    return round(statistics.median(seconds), 6)


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("asked", type=json.loads)
    print(json.dumps(run(reader.parse_args().asked)))
