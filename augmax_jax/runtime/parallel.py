"""Devices: the mapped function, replication, sharding, reading back. No other module maps one.

The devices of a run may belong to several processes. Every process then calls the same functions
in the same order and gives its own share of each array. The arrays on the devices are those of all
processes; a process can read its own part of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"
_SPLIT = PartitionSpec(AXIS)


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


def all_devices(count: int = 0) -> list[jax.Device]:
    """The devices of all processes, those of one process side by side, in the processes' order.

    Args:
        count: number of devices to use, the same number of each process; 0: all.

    Raises:
        ValueError: there are fewer than `count`, or the processes cannot have equally many.
    """
    processes = jax.process_count()
    if processes == 1:
        return local_devices(count)
    each = [jax.local_devices(process) for process in range(processes)]
    found = [len(devices) for devices in each]
    if len(set(found)) > 1:
        raise ValueError(
            f"the processes have different numbers of devices, {found}: start each with as many "
            "as the others (JAX_LOCAL_DEVICE_IDS=0,1,... chooses)"
        )
    if count % processes or count > sum(found):
        raise ValueError(
            f"num_devices is {count}, but the {processes} processes have {found[0]} "
            f"{each[0][0].platform} device(s) each: use a multiple of {processes} up to "
            f"{sum(found)}, or 0 for all"
        )
    return [device for devices in each for device in devices[: count // processes or None]]


def own(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """Those of the devices that belong to this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


def per_device(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Puts slice i of every leaf's leading axis on this process's device i.

    Args:
        tree: host arrays `[D, ...]`.
        devices: those of all processes, D of them this one's.

    Returns:
        Arrays on the devices, whose leading axis counts the devices of all processes.
    """
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), _SPLIT)
    mine = own(devices)
    if len(mine) == len(devices):
        return jax.device_put(tree, sharding)

    def put(x: Any) -> jax.Array:
        x = np.asarray(x)
        parts = [jax.device_put(x[i : i + 1], device) for i, device in enumerate(mine)]
        shape = (len(devices), *x.shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, parts)

    return jax.tree.map(put, tree)


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Copies every leaf to every device.

    Args:
        tree: arrays or numbers `[...]`, the same in every process.
        devices: D devices.

    Returns:
        Arrays `[D, ...]`, a copy on each device.
    """
    count = len(own(devices))
    stacked = jax.tree.map(lambda x: np.broadcast_to(x, (count, *np.shape(x))), tree)
    return per_device(stacked, devices)


def abstract(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """What a mapped function can be traced with before its arrays exist.

    Args:
        tree: arrays, or shapes and dtypes, of one device's share, `[...]`.
        devices: D devices, of all processes.

    Returns:
        Shapes `[D, ...]`, dtypes and placement of the arrays that `replicate`, `shard` and
        `per_device` make.
    """
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), _SPLIT)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(devices), *x.shape), x.dtype, sharding=sharding), tree
    )


def shard(batch: Any, devices: Sequence[jax.Device]) -> Any:
    """Splits this process's share of a batch over its devices.

    Args:
        batch: tree of host arrays `[B, ...]`.
        devices: those of all processes, D of them this one's.

    Returns:
        Arrays whose leading axis counts the devices of all processes, `[.., B/D, ...]`, a slice on
        each device.

    Raises:
        ValueError: this process's devices do not divide B.
    """
    count = len(own(devices))

    def split(x):
        if len(x) % count:
            raise ValueError(f"a batch of {len(x)} cannot be split over {count} devices")
        return np.asarray(x).reshape(count, -1, *x.shape[1:])

    return per_device(jax.tree.map(split, batch), devices)


def first(tree: Any) -> Any:
    """Reads this process's first copy of every leaf to the host, as NumPy arrays.

    Slicing a mapped result with `[0]` starts a computation; this only copies a shard.

    Args:
        tree: arrays `[D, ...]` as `per_device` lays them out.

    Returns:
        NumPy arrays `[...]`.
    """
    return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], tree)


def gather(x: jax.Array) -> np.ndarray:
    """Reads this process's part of an array `[D, B/D, ...]` back, as `[B, ...]`."""
    shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data)[0] for shard in shards])


def all_processes(tree: Any) -> Any:
    """Concatenates the NumPy arrays `[n, ...]` of P processes to `[P n, ...]`, on all of them."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def sum_of_processes(x: np.ndarray) -> np.ndarray:
    """Adds up the NumPy arrays of all processes, of one shape and dtype, on all of them."""
    if jax.process_count() == 1:
        return x
    devices = [jax.local_devices(process)[0] for process in range(jax.process_count())]
    total = pmap(lambda own: jax.lax.psum(own, AXIS), devices)
    return first(total(per_device(x[None], devices)))


def pmap(
    function: Callable,
    devices: Sequence[jax.Device],
    *,
    donate: tuple[int, ...] = (),
    compiler_options: dict[str, Any] | None = None,
) -> Callable:
    """Maps a function over devices, which may belong to several processes, and compiles it.

    Inside the function, collectives over the axis "devices" work. With one process this is
    `jax.pmap`, compiled by `jax.jit`, which takes the compiler's options. Inside `jax.jit` pmap
    never leaves a process, so several processes need `jax.shard_map`.

    Args:
        function: takes and returns one device's share.
        devices: D devices to run on; every array argument has shape `[D, ...]`.
        donate: indices of arguments whose memory the result may reuse.
        compiler_options: as `jax.jit` takes them.
    """

    def of_one_device(*arguments):
        result = function(*jax.tree.map(lambda x: jax.lax.squeeze(x, [0]), arguments))
        return jax.tree.map(lambda x: jnp.expand_dims(x, 0), result)

    if len(own(devices)) == len(devices):
        mapped = jax.pmap(function, axis_name=AXIS, devices=list(devices), donate_argnums=donate)
    else:
        mapped = jax.shard_map(
            of_one_device,
            mesh=Mesh(np.array(devices), (AXIS,)),
            in_specs=_SPLIT,
            out_specs=_SPLIT,
            check_vma=False,
        )
    return jax.jit(mapped, donate_argnums=donate, compiler_options=compiler_options or None)
