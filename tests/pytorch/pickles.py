"""Files of torch.save made by hand, without PyTorch: sound ones and hostile ones."""

import io
import pickle
import zipfile

import numpy as np


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Storage:
    """Pickles as a reference to a storage."""

    def __init__(self, dtype="FloatStorage", key="0", size=4):
        self.identity = ("storage", Global("torch", dtype), key, "cpu", size)


class Global:
    """Pickles as a name to be imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __reduce__(self):
        raise AssertionError("written by the pickler below")


class Pickler(pickle._Pickler):
    """Writes names that this process does not have."""

    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        else:
            super().save(value, save_persistent_id)

    def save_reduce(self, func, args, *rest, **named):
        if isinstance(func, Global):
            self.save(func)
            self.save(args)
            self.write(pickle.REDUCE)
            return
        super().save_reduce(func, args, *rest, **named)


def tensor(offset=0, shape=(4,), strides=(1,), **storage):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, Storage(**storage), offset, shape, strides, False, {})


def write(path, value, storage=bytes(16), compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(value)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/data/0", storage)
    return path


def save(path, tree):
    """Writes nested dictionaries of float32 arrays, and of anything else, as torch.save does."""
    chunks = []

    def convert(value):
        if isinstance(value, dict):
            return {name: convert(inner) for name, inner in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        offset = sum(chunk.size for chunk in chunks)
        chunks.append(value.astype(np.float32).ravel())
        strides = tuple(s // value.itemsize for s in np.ascontiguousarray(value).strides)
        return offset, value.shape, strides if value.ndim else ()

    def describe(value, size):
        if isinstance(value, dict):
            return {name: describe(inner, size) for name, inner in value.items()}
        if isinstance(value, tuple):
            return tensor(*value, size=size)
        return value

    converted = convert(tree)
    data = np.concatenate([np.zeros(0, np.float32), *chunks])
    return write(path, describe(converted, data.size), data.tobytes())


def write_legacy(path, value, storage=bytes(16), count=4):
    """Writes one storage in the format before PyTorch 1.6."""
    parts = []
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value, ["0"]):
        buffer = io.BytesIO()
        Pickler(buffer, 2).dump(part)
        parts.append(buffer.getvalue())
    path.write_bytes(b"".join(parts) + count.to_bytes(8, "little") + storage)
    return path
