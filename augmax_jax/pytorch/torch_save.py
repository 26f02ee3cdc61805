"""The two formats of `torch.save`, read without PyTorch and without running code in the file.

A `.pth` file is a pickle, and unpickling usually calls any function that the file names. Here the
unpickler knows only two functions, "this tensor" and "a dictionary", and both return descriptions.
Every other name becomes a placeholder that does nothing; nothing is ever imported.
Arrays are read afterwards, from the descriptions, with every bound checked.
"""

import io
import math
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

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


def _load_pickle(file: Any, storages: dict[str, _Storage]) -> Any:
    """Unpickles descriptions, and adds the storages that they refer to to `storages`."""

    # The classes are local, because a hostile file can set attributes of every class it can name.
    class Placeholder:
        def __init__(self, *args: Any) -> None:
            pass

        def __setstate__(self, state: Any) -> None:
            pass

        def __setitem__(self, name: Any, value: Any) -> None:
            pass

        def append(self, item: Any) -> None:
            pass

        extend = add = append

    class Dictionary(dict):
        def __setstate__(self, state: Any) -> None:
            pass

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module == "torch" and name in _STORAGES:
                return _STORAGES[name]
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return self.tensor
            if (module, name) == ("torch._utils", "_rebuild_parameter"):
                return self.parameter
            if (module, name) == ("collections", "OrderedDict"):
                return Dictionary
            return Placeholder

        def persistent_load(self, identity: Any) -> Any:
            if identity[0] == "module":  # a class of a whole pickled model, with its source
                return Placeholder
            kind, dtype, name, _, size, *view = identity
            if kind != "storage" or dtype not in _STORAGES.values() or any(view):
                raise ValueError(f"unknown storage {identity!r}")
            storage = _Storage(str(name), dtype, int(size))
            return storages.setdefault(storage.key, storage)

        def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
            return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))

        def parameter(self, data: Any, *rest: Any) -> Any:
            return data

    return Unpickler(file, encoding="utf-8").load()


def read_zip(archive: zipfile.ZipFile) -> tuple[Any, Load]:
    """Reads the format of PyTorch 1.6 and later.

    Args:
        archive: must stay open until the arrays are read.

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

    return tree, lambda tensors: _arrays(tensors, load)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, which torch.save never does")
    return archive.read(name)  # checks the CRC


def read_legacy(file: io.BufferedReader) -> tuple[Any, Load]:
    """Reads the format before PyTorch 1.6: pickles, then storages in the order of a list of keys.

    The argument is an open file; result and errors are those of `read_zip`.
    """
    storages: dict[str, _Storage] = {}
    if _load_pickle(file, {}) != _LEGACY_MAGIC:
        raise NotAStateDict(
            "this is a pickle that torch.save did not write, or a damaged file; load it where it "
            "was made and write its state_dict with torch.save"
        )
    end = os.fstat(file.fileno()).st_size
    _load_pickle(file, {})  # version of the protocol
    big = _load_pickle(file, {}).get("little_endian") is False
    tree = _load_pickle(file, storages)
    places = {}
    for name in _load_pickle(file, {}):
        size = int.from_bytes(_read_exactly(file, 8), "big" if big else "little")
        if size != storages[name].size:
            raise ValueError(f"storage {name} has {size} elements, not {storages[name].size}")
        places[name] = file.tell()
        following = places[name] + size * _dtype(storages[name], big).itemsize
        if following > end:  # checked before the memory is allocated
            raise ValueError("the file ends too early")
        file.seek(following)

    def load(storage: _Storage) -> np.ndarray:
        dtype = _dtype(storage, big)
        file.seek(places[storage.key])
        return np.frombuffer(_read_exactly(file, storage.size * dtype.itemsize), dtype)

    return tree, lambda tensors: _arrays(tensors, load)


def _read_exactly(file: io.BufferedReader, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("the file ends too early")
    return data


def _dtype(storage: _Storage, big: bool) -> np.dtype:
    if storage.dtype == "bfloat16":
        if big:
            raise ValueError("bfloat16 of a big-endian machine is not supported")
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(storage.dtype).newbyteorder(">" if big else "<")


def _arrays(tensors: Mapping[str, Tensor], load: Callable[[_Storage], np.ndarray]) -> StateDict:
    """Reads the storages of some tensors, each once, and takes the tensors from them."""
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
