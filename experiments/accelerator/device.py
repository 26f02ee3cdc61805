"""The device: what it is, and how fast it multiplies matrices."""

import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from augmax_jax.runtime import compiler

DTYPES = ("float32", "bfloat16")


def facts() -> dict[str, Any]:
    """What identifies the device and the software."""
    first = jax.local_devices()[0]
    return {
        "device": first.device_kind,
        "platform": first.platform,
        "devices": jax.local_device_count(),
        "jax": jax.__version__,
        "cores": len(os.sched_getaffinity(0)),
    }


def check() -> dict[str, Any]:
    """Computes something whose result is known, and says how much memory there is.

    Raises:
        RuntimeError: the device gives a wrong result.
    """
    device = jax.local_devices()[0]
    begin = time.perf_counter()
    x = jax.device_put(jnp.arange(1024, dtype=jnp.float32), device)
    found = float(jax.jit(lambda v: (v * v).sum())(x))
    if abs(found / 357389824.0 - 1) > 1e-5:
        raise RuntimeError(f"the device computes a wrong sum: {found}, not 357389824")
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    return {
        "first_program_seconds": round(time.perf_counter() - begin, 3),
        "memory_gib": round(limit / 2**30, 2) if limit else None,
    }


def peak(dtype: str, side: int, repeats: int = 5) -> dict[str, Any]:
    """Operations per second of a product of two square matrices of a side."""
    platform = jax.local_devices()[0].platform
    key = jax.random.key(0)
    square = jax.random.normal(key, (side, side), jnp.float32).astype(dtype)
    options = compiler.jit_options(platform)
    product = jax.jit(jnp.matmul, compiler_options=options)
    jax.block_until_ready(product(square, square))
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(product(square, square))
        seconds.append(time.perf_counter() - begin)
    flops = 2 * side**3 / statistics.median(seconds)
    return {
        "side": side,
        "flops_per_second": flops,
        "seconds": round(statistics.median(seconds), 6),
    }
