"""The two formats of `torch.save`, read without PyTorch and without running code in the file.

A `.pth` file is a pickle, and unpickling calls any function that the file names. Here the pickle
is read as a description (`pickled`), in which "this tensor" and "a dictionary" are known, and any
other call becomes a placeholder. Arrays are read afterwards, with every bound checked.
"""

import io
import math
import mmap
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from augmax_jax.pytorch.pickled import Name, Unknown, describe
from augmax_jax.runtime import untrusted

_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_MOST_AXES = 32
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
StateDict = dict[str, np.ndarray]
Load = Callable[[Mapping[str, "Tensor"]], StateDict]


class NotAStateDict(Exception):
    """The file was read, but it does not hold the state_dict that was asked for."""


class _Storage(NamedTuple):
    """A flat array in the file."""

    key: str
    dtype: str
    size: int  # number of elements


class Tensor(NamedTuple):
    """The position of a tensor in the file.

    Attributes:
        storage: the flat array that holds its elements.
        offset: position of its first element in the storage.
        shape: its shape.
        strides: its strides, in elements.
    """

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _load_pickle(stream: Any, storages: dict[str, _Storage]) -> Any:
    """What a pickle describes; adds the storages that it refers to to `storages`."""

    def persistent(identity: Any) -> Any:
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            return Unknown()  # such as a class of a whole pickled model, with its source
        _, kind, name, _, size, *view = identity
        dtype = _STORAGES.get(kind.name) if isinstance(kind, Name) else None
        if dtype is None or not isinstance(name, str | int) or not _is_whole(size) or any(view):
            raise ValueError("it refers to a storage of an unknown kind")
        storage = _Storage(str(name), dtype, size)
        return storages.setdefault(storage.key, storage)

    return describe(stream, _call, persistent)


def _call(function: Name, arguments: tuple[Any, ...]) -> Any:
    """What stands for a call in a pickle: a tensor, a dictionary, or a placeholder."""
    if function == ("torch._utils", "_rebuild_tensor_v2"):
        storage, offset, shape, strides = arguments[:4]
        numbers = (offset, *shape, *strides)
        sound = isinstance(storage, _Storage) and len(shape) == len(strides) <= _MOST_AXES
        if not sound or not all(map(_is_whole, numbers)):
            raise ValueError("a tensor is described wrongly")
        return Tensor(storage, offset, tuple(shape), tuple(strides))
    if function == ("torch._utils", "_rebuild_parameter"):
        return arguments[0]
    if function == ("collections", "OrderedDict"):
        return {}
    return Unknown()


def _is_whole(value: Any) -> bool:
    return type(value) is int


def read_zip(archive: zipfile.ZipFile, size: int) -> tuple[Any, Load]:
    """Reads the format of PyTorch 1.6 and later.

    Args:
        archive: from `untrusted.open_zip`; must stay open until the arrays are read.
        size: bytes of the file.

    Returns:
        The saved object, with a `Tensor` for each tensor; and a function that reads the arrays.

    Raises:
        NotAStateDict: the archive is of another kind.
        Exception: any error, if the file is damaged.
    """
    names = archive.namelist()
    roots = [n.removesuffix("data.pkl") for n in names if re.fullmatch(r"[^/]+/data\.pkl", n)]
    if len(roots) != 1:
        raise NotAStateDict("the archive is not one of torch.save")
    root = roots[0]
    if root + "constants.pkl" in names:
        raise NotAStateDict("this is a TorchScript archive; save its state_dict() instead")
    big = root + "byteorder" in names and _read_member(archive, root + "byteorder") == b"big"
    tree = _load_pickle(io.BytesIO(_read_member(archive, root + "data.pkl")), {})

    def load(storage: _Storage) -> np.ndarray:
        data = _read_member(archive, f"{root}data/{storage.key}")
        return np.frombuffer(data, _dtype(storage, big))

    return tree, lambda tensors: _arrays(tensors, load, size)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, which torch.save never does")
    return untrusted.read_member(archive, name)


def read_legacy(file: untrusted.Bounded) -> tuple[Any, Load]:
    """Reads the format before PyTorch 1.6: pickles, then storages in the order of a list of keys.

    The argument is an open file; result and errors are those of `read_zip`.
    """
    storages: dict[str, _Storage] = {}
    # Mapped, so that a read never takes memory for more than the file has.
    contents = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if _load_pickle(contents, {}) != _LEGACY_MAGIC:
        raise NotAStateDict(
            "this is a pickle that torch.save did not write, or a damaged file; load it where it "
            "was made and write its state_dict with torch.save"
        )
    _load_pickle(contents, {})  # version of the protocol
    big = _load_pickle(contents, {}).get("little_endian") is False
    tree = _load_pickle(contents, storages)
    places = {}
    for name in _load_pickle(contents, {}):
        length = contents.read(8)
        if len(length) < 8:
            raise ValueError("the file ends too early")
        count = int.from_bytes(length, "big" if big else "little")
        if count != storages[name].size:
            raise ValueError(f"storage {name} has {count} elements, not {storages[name].size}")
        places[name] = contents.tell()
        following = places[name] + count * _dtype(storages[name], big).itemsize
        if following > len(contents):
            raise ValueError("the file ends too early")
        contents.seek(following)

    def load(storage: _Storage) -> np.ndarray:
        return np.frombuffer(
            contents, _dtype(storage, big), count=storage.size, offset=places[storage.key]
        )

    return tree, lambda tensors: _arrays(tensors, load, len(contents))


def _dtype(storage: _Storage, big: bool) -> np.dtype:
    if storage.dtype == "bfloat16":
        if big:
            raise ValueError("bfloat16 of a big-endian machine is not supported")
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(storage.dtype).newbyteorder(">" if big else "<")


def _arrays(
    tensors: Mapping[str, Tensor], load: Callable[[_Storage], np.ndarray], size: int
) -> StateDict:
    """Reads the storages of some tensors, each once, and takes the tensors from them.

    Args:
        tensors: the descriptions by name.
        load: reads a storage.
        size: bytes of the file; many tensors may share a storage, and each becomes an array.
    """
    total = sum(math.prod(t.shape) * _dtype(t.storage, False).itemsize for t in tensors.values())
    untrusted.check_declared(total, size, "its tensors")
    loaded: dict[str, np.ndarray] = {}
    result = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if storage.key not in loaded:
            loaded[storage.key] = load(storage)
            if loaded[storage.key].size != storage.size:
                raise ValueError(f"storage of {name!r} has the wrong size")
        data = loaded[storage.key]
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        outside = min((offset, *shape, *strides)) < 0 or (0 not in shape and last >= data.size)
        if outside or math.prod(shape) > data.size:  # strides of zero could make it huge
            raise ValueError(f"tensor {name!r} reaches outside its storage")
        view = np.lib.stride_tricks.as_strided(
            data[offset:], shape, [s * data.itemsize for s in strides]
        )
        result[name] = view.astype(data.dtype.newbyteorder("="))
    return result
