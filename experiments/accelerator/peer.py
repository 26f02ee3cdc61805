"""PyTorch's steps, in a process of their own: two frameworks in one would fight for memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.accelerator.steps import STEPS, Network

ROOT = Path(__file__).parent.parent.parent


def is_there() -> bool:
    """Whether PyTorch can be imported, in a process of its own."""
    command = [sys.executable, "-c", "import torch"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def measure(
    network: Network, dtype: str, *, compiled: bool, repeats: int, seconds: float
) -> dict[str, Any]:
    """Times PyTorch's phases of a step.

    Args:
        network: the network.
        dtype: "bfloat16" is automatic mixed precision.
        compiled: whether `torch.compile` compiles the network.
        repeats: times of each phase.
        seconds: after which the process is stopped.

    Returns:
        What `benchmarks.torch_steps` gives: median seconds of "normal" (a step of standard
        training), "maximise n" and "update" (of an AugMax step without augmentation), the device,
        and the most MiB allocated.

    Raises:
        RuntimeError: PyTorch failed; the message has the end of its output.
        subprocess.TimeoutExpired: it took too long.
    """
    asked = {
        "name": network.name,
        "side": network.side,
        "batch": network.batch,
        "options": dict(network.options),
        "mixed_precision": dtype == "bfloat16",
        "compiled": compiled,
        "steps": list(STEPS),
        "repeats": repeats,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.torch_steps", json.dumps(asked, allow_nan=False)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    if done.returncode:
        raise RuntimeError(f"PyTorch: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])
