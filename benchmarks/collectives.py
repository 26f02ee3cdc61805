"""What a compiled program sends between devices, and the least that a training step must send."""

import re
from collections.abc import Iterable
from typing import NamedTuple

BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2,
    "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
# A name, a shape or a tuple of shapes, and the operation; `all-reduce-done` sends nothing.
_OPERATION = re.compile(r"^\s*(?:ROOT )?%?[\w.-]+ = (?P<type>.*?) (?P<name>[a-z][a-z-]*)\(")
_SHAPE = re.compile(r"\b(?P<dtype>[a-z]+\d*)\[(?P<dims>[\d,]*)\]")
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?[\w.-]+ \(.*\{$")
_OTHERS = ("all-gather", "all-to-all", "collective-permute", "reduce-scatter")


class AllReduce(NamedTuple):
    """An all-reduce of a program.

    Attributes:
        arrays: how many arrays it sums.
        bytes: of those arrays, on one device.
        entry: whether it is in the entry computation, where it runs once; otherwise it is in
            the body of a loop or branch, which may run more often.
    """

    arrays: int
    bytes: int
    entry: bool


def all_reduces(hlo: str) -> list[AllReduce]:
    """The all-reduces of a compiled program, in the order of its text.

    Args:
        hlo: the text of the program (`compiled.as_text()`).

    Raises:
        ValueError: the program has another collective, whose bytes would be missing, or an
            all-reduce of a dtype that is not in `BYTES`.
    """
    found, entry = [], False
    for line in hlo.splitlines():
        if computation := _COMPUTATION.match(line):
            entry = computation["entry"] is not None
            continue
        operation = _OPERATION.match(line)
        if operation is None:
            continue
        name = operation["name"]
        if name.removesuffix("-start") in _OTHERS:
            raise ValueError(f"the program has {name}, whose bytes are not counted: {line.strip()}")
        if name not in ("all-reduce", "all-reduce-start"):
            continue
        sizes = [_bytes(shape, line) for shape in _SHAPE.finditer(operation["type"])]
        found.append(AllReduce(len(sizes), sum(sizes), entry))
    return found


def _bytes(shape: re.Match, line: str) -> int:
    if shape["dtype"] not in BYTES:
        raise ValueError(f"all-reduce of unknown dtype {shape['dtype']!r}: {line.strip()[:200]}")
    size = BYTES[shape["dtype"]]
    for dim in filter(None, shape["dims"].split(",")):
        size *= int(dim)
    return size


def least_bytes(
    gradient: int, *, channels: Iterable[int], metrics: int, synchronised: bool
) -> dict[str, int]:
    """The bytes of float32 arrays that the devices must sum in a step.

    Args:
        gradient: number of parameters.
        channels: for each time that a batch norm normalises a batch in training, its channels.
        metrics: number of metrics, one float each.
        synchronised: whether batch norm takes the statistics of the whole batch. It then sums
            mean and variance in the forward pass, and their gradients in the backward pass, and
            all devices have the same running statistics. Otherwise the running statistics are
            averaged after the step; a collection that several passes update counts once.

    Returns:
        Bytes of "gradient", "norm" and "metrics".
    """
    moments = 2 * sum(channels)
    return {
        "gradient": 4 * gradient,
        "norm": 4 * moments * (2 if synchronised else 1),
        "metrics": 4 * metrics,
    }


def ring_bytes(size: int, devices: int) -> float:
    """The least that a device sends (and receives) to sum `size` bytes over devices evenly.

    Each byte must be sent once to be added up, and its sum once to be known everywhere; a
    device has to do neither for the 1/n that it adds up itself (Patarasuk and Yuan, "Bandwidth
    optimal all-reduce algorithms for clusters of workstations", 2009). A ring sends as much.

    Raises:
        ValueError: there is no device.
    """
    if devices < 1:
        raise ValueError(f"devices must be at least 1, got {devices}")
    return 2 * (devices - 1) / devices * size
