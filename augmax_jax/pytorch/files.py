"""Reads the arrays of a PyTorch file without PyTorch, and without running code in the file.

A `.pth` file is a pickle, and unpickling in general calls whatever the file names. Here the
unpickler knows two functions, "this tensor" and "a dictionary", and both return descriptions.
Every other name becomes an inert placeholder that keeps nothing; nothing is ever imported.
Arrays are read afterwards, from the descriptions, with every bound checked.
"""

import io
import itertools
import json
import math
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from augmax_jax.runtime import paths

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
_SAFETENSORS = {
    "F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Where training scripts keep the model, in the order of preference.
_USUAL_KEYS = ("state_dict", "model", "model_state_dict", "net")

StateDict = dict[str, np.ndarray]


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int  # in elements


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: str | Path, *, key: str | None = None) -> StateDict:
    """Reads the state_dict in a file.

    Args:
        path: a file of `torch.save` (the zip format of PyTorch 1.6 and later, or the older one),
            a `.safetensors` file, or an `.npz` file. It may hold a state_dict, or a dictionary
            with a state_dict under one of its keys.
        key: the key that holds it; None: the file itself, else `state_dict`, `model`,
            `model_state_dict` or `net`, else the only key that holds one.

    Returns:
        Name -> array, in the file's order and dtypes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or of another kind, or holds no state_dict, or several.
    """
    path = paths.expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    try:
        with path.open("rb") as file:
            start = file.read(16)
            file.seek(0)
            if path.suffix == ".npz":
                with np.load(file, allow_pickle=False) as arrays:
                    return dict(arrays)
            if path.suffix == ".safetensors" or start[8:9] == b"{":
                return _read_safetensors(file)
            if start.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    return _read_zip(archive, key)
            return _read_legacy(file, key)
    except _NoStateDict as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(
            f"{path} is not a PyTorch checkpoint, safetensors or npz file, or is damaged "
            f"({type(error).__name__}: {error})"
        ) from error


class _NoStateDict(Exception):
    """The file was read, but what it holds is not what was asked for."""


def _load_pickle(file: Any, storages: dict[str, _Storage]) -> Any:
    """Unpickles descriptions; notes the storages that they refer to."""

    # Classes of this one call: a hostile file can set attributes on what it can name.
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

        def tensor(
            self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
        ) -> _Tensor:
            return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))

        def parameter(self, data: Any, *rest: Any) -> Any:
            return data

    return Unpickler(file, encoding="utf-8").load()


def _read_zip(archive: zipfile.ZipFile, key: str | None) -> StateDict:
    names = archive.namelist()
    roots = [n.removesuffix("data.pkl") for n in names if re.fullmatch(r"[^/]+/data\.pkl", n)]
    if len(roots) != 1:
        raise _NoStateDict("the archive is not one of torch.save")
    root = roots[0]
    if root + "constants.pkl" in names:
        raise _NoStateDict("this is a TorchScript archive; save its state_dict() instead")
    big = root + "byteorder" in names and archive.read(root + "byteorder") == b"big"
    tree = _load_pickle(io.BytesIO(_read_member(archive, root + "data.pkl")), {})
    tensors = _select(tree, key)

    def load(storage: _Storage) -> np.ndarray:
        data = _read_member(archive, f"{root}data/{storage.key}")
        return np.frombuffer(data, _dtype(storage, big))

    return _arrays(tensors, load)


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, which torch.save never does")
    return archive.read(name)  # checks the CRC


def _read_legacy(file: io.BufferedReader, key: str | None) -> StateDict:
    """The format before PyTorch 1.6: pickles, then storages in the order of a list of keys."""
    storages: dict[str, _Storage] = {}
    if _load_pickle(file, {}) != _LEGACY_MAGIC:
        raise ValueError("wrong magic number")
    _load_pickle(file, {})  # version of the protocol
    big = _load_pickle(file, {}).get("little_endian") is False
    tree = _load_pickle(file, storages)
    places = {}
    for name in _load_pickle(file, {}):
        size = int.from_bytes(_read_exactly(file, 8), "big" if big else "little")
        if size != storages[name].size:
            raise ValueError(f"storage {name} has {size} elements, not {storages[name].size}")
        places[name] = file.tell()
        file.seek(size * _dtype(storages[name], big).itemsize, io.SEEK_CUR)

    def load(storage: _Storage) -> np.ndarray:
        dtype = _dtype(storage, big)
        file.seek(places[storage.key])
        return np.frombuffer(_read_exactly(file, storage.size * dtype.itemsize), dtype)

    return _arrays(_select(tree, key), load)


def _read_exactly(file: io.BufferedReader, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("the file ends too early")
    return data


def _read_safetensors(file: io.BufferedReader) -> StateDict:
    size = int.from_bytes(_read_exactly(file, 8), "little")
    header = json.loads(_read_exactly(file, size))
    base = file.tell()
    result = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        file.seek(base + begin)
        data = np.frombuffer(_read_exactly(file, end - begin), _SAFETENSORS[entry["dtype"]])
        result[name] = data.reshape(entry["shape"])
    return result


def _dtype(storage: _Storage, big: bool) -> np.dtype:
    if storage.dtype == "bfloat16":
        if big:
            raise ValueError("bfloat16 of a big-endian machine is not supported")
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(storage.dtype).newbyteorder(">" if big else "<")


def _arrays(tensors: Mapping[str, _Tensor], load: Callable[[_Storage], np.ndarray]) -> StateDict:
    """Reads the storages of some tensors, each once, and cuts the tensors out of them."""
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
        if outside or math.prod(shape) > data.size:  # or would be blown up by strides of zero
            raise ValueError(f"tensor {name!r} reaches outside its storage")
        view = np.lib.stride_tricks.as_strided(
            data[offset:], shape, [s * data.itemsize for s in strides]
        )
        result[name] = view.astype(data.dtype.newbyteorder("="))
    return result


def _select(tree: Any, key: str | None) -> dict[str, _Tensor]:
    """Finds the state_dict in what a file holds."""
    if not isinstance(tree, dict):
        raise _NoStateDict(
            "the file holds no dictionary (a whole pickled model?); save model.state_dict()"
        )
    if key is not None:
        if key not in tree:
            raise _NoStateDict(f"no key {key!r}; the file has {_listing(tree)}")
        if not _is_state_dict(tree[key]):
            raise _NoStateDict(f"what is under the key {key!r} is not a state_dict")
        return dict(tree[key])
    if _is_state_dict(tree):
        return dict(tree)
    found = [name for name, value in tree.items() if _is_state_dict(value)]
    usual = [name for name in _USUAL_KEYS if name in found]
    if not found:
        raise _NoStateDict(f"no state_dict under any key; the file has {_listing(tree)}")
    if not usual and len(found) > 1:
        raise _NoStateDict(f"several state_dicts, choose a key among {', '.join(map(str, found))}")
    return dict(tree[(usual or found)[0]])


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, _Tensor) for k, v in value.items())
    )


def _listing(tree: dict) -> str:
    return ", ".join(map(repr, itertools.islice(tree, 20))) or "nothing"
