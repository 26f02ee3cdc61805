"""Devices: pmap, replication, sharding, reading back. No other module calls pmap."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"


def local_devices(count: int = 0) -> list[jax.Device]:
    """This process's devices; the first `count` of them unless it is 0.

    Raises:
        ValueError: there are fewer than `count`.
    """
    devices = jax.local_devices()
    if count > len(devices):
        raise ValueError(
            f"num_devices is {count}, but this machine has {len(devices)} "
            f"{devices[0].platform} device(s)"
        )
    return devices[: count or None]


def _sharding(devices: Sequence[jax.Device]) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))


def per_device(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts slice i of every leaf's leading axis on device i.

    Args:
        tree: host arrays `[D, ...]`.
        devices: D devices.

    Returns:
        The same shapes and dtypes, on the devices.
    """
    return jax.device_put(tree, _sharding(devices))


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies every leaf to every device.

    Args:
        tree: arrays or numbers `[...]`.
        devices: D devices.

    Returns:
        Arrays `[D, ...]`, a copy on each device.
    """
    stacked = jax.tree.map(lambda x: np.broadcast_to(x, (len(devices), *np.shape(x))), tree)
    return per_device(stacked, devices)


def shard(batch: Any, devices: Sequence[jax.Device]) -> Any:
    """Splits a batch over devices.

    Args:
        batch: tree of host arrays `[B, ...]`.
        devices: D devices.

    Returns:
        Arrays `[D, B/D, ...]`, a slice on each device.

    Raises:
        ValueError: the devices do not divide B.
    """

    def split(x):
        if len(x) % len(devices):
            raise ValueError(f"a batch of {len(x)} cannot be split over {len(devices)} devices")
        return np.asarray(x).reshape(len(devices), -1, *x.shape[1:])

    return per_device(jax.tree.map(split, batch), devices)


def first(tree: Any) -> Any:
    """Reads device 0's copy of every leaf to the host, as NumPy arrays.

    Slicing a pmapped result with `[0]` starts a computation; this only copies a shard.

    Args:
        tree: arrays `[D, ...]` as `per_device` lays them out.

    Returns:
        NumPy arrays `[...]`.
    """
    return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], tree)


def gather(x: jax.Array) -> np.ndarray:
    """Reads an array `[D, B/D, ...]` of this process's devices back as `[B, ...]`."""
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data)[0] for shard in shards])


def all_processes(tree: Any) -> Any:
    """Concatenates the NumPy arrays `[n, ...]` of P processes to `[P n, ...]`, on all of them."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def pmap(
    function: Callable,
    devices: Sequence[jax.Device],
    *,
    donate: tuple[int, ...] = (),
    compiler_options: dict[str, Any] | None = None,
) -> Callable:
    """`jax.pmap` over the axis "devices", with compiler options, which pmap does not take.

    Args:
        function: takes and returns one device's share.
        devices: D devices to run on; every array argument has shape `[D, ...]`.
        donate: indices of arguments whose memory the result may reuse.
        compiler_options: as `jax.jit` takes them.
    """
    mapped = jax.pmap(function, axis_name=AXIS, devices=list(devices), donate_argnums=donate)
    return jax.jit(mapped, donate_argnums=donate, compiler_options=compiler_options or None)
