"""Reads files of strangers: in bounded memory, without running what they hold, with clear errors.

A file says how large its contents are. Here such a claim is compared with the size of the file
before memory is taken: what is read may take `SLACK` bytes and `EXPANSION` times the file's size,
which compressed zeros need, and no more. docs/security.md says which file is read how.
"""

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from augmax_jax.runtime import storage
from augmax_jax.runtime.paths import RunPath, is_remote

SLACK = 64 * 2**20
EXPANSION = 100
JSON_BYTES = 256 * 2**20
JSON_DEPTH = 64  # of brackets within brackets
_HEADER_BYTES = 2**16  # NumPy writes and reads headers of at most 10,000 characters
_KINDS = "biufcSUV"  # no objects, which would be pickles; V is what NumPy calls bfloat16


class Damaged(ValueError):
    """A file is not what it should be; the message says why."""


def allowed(stored: int) -> int:
    """The most bytes that the contents of `stored` bytes may take."""
    return SLACK + EXPANSION * stored


def check_declared(declared: int, stored: int, what: str) -> None:
    """Raises Damaged if contents would take more bytes than the stored ones can hold."""
    if declared > allowed(stored):
        raise Damaged(
            f"{what} would take {declared:,} bytes, and the file has {stored:,}: it is damaged, or "
            "made to exhaust the memory"
        )


class Bounded(io.BufferedReader):
    """A file opened for reading, which never takes memory for more bytes than are left in it.

    An object in a bucket is fetched whole, into as much memory as it has bytes.
    """

    def __init__(self, path: str | RunPath) -> None:
        if not isinstance(path, str) and is_remote(path):
            contents = path.read_bytes()
            super().__init__(io.BytesIO(contents))
            self.size = len(contents)
            return
        super().__init__(io.FileIO(os.fspath(path)))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self.size - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def open_zip(file: Bounded) -> zipfile.ZipFile:
    """An archive, whose members are in it and not larger than they can be.

    Members are read one by one into memory and never written, so their names lead nowhere.

    Raises:
        Damaged: members overlap or would take too much memory, or are stored in another form than
            NumPy and PyTorch write.
        zipfile.BadZipFile: it is no archive.
    """
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    if sum(member.compress_size for member in members) > file.size:
        raise Damaged("its members overlap")
    check_declared(sum(member.file_size for member in members), file.size, "its members")
    for member in members:
        stored, packed = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
        if member.compress_type not in (stored, packed) or member.flag_bits & 1:
            raise Damaged(f"member {member.filename[:80]!r} is encrypted or compressed otherwise")
        if member.compress_type == stored and member.compress_size != member.file_size:
            raise Damaged(f"member {member.filename[:80]!r} has two sizes")
    return archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a member of `open_zip`, whose check sum is verified.

    Raises:
        Damaged: the archive says other things of the member than are true.
        Exception: any of zlib's and zipfile's, for other damage.
    """
    size = archive.getinfo(name).file_size
    parts, left = [], size
    try:
        with archive.open(name) as member:
            # Not read(): that decompresses up to 2 GB before it looks at the size.
            while left and (part := member.read(left)):
                parts.append(part)
                left -= len(part)
    except zipfile.BadZipFile as error:  # it may quote thousands of damaged bytes as a name
        raise Damaged(str(error)[:200]) from error
    if left:
        raise Damaged(f"member {name[:80]!r} ends too early")
    return b"".join(parts)


def read_npz(file: Bounded) -> dict[str, np.ndarray]:
    """The arrays of an npz file, read-only, by name.

    Raises:
        Damaged: a member is no array, or its header says another size than it has.
        Exception: any of zipfile's, for other damage.
    """
    arrays = {}
    with open_zip(file) as archive:
        for name in archive.namelist():
            contents = read_member(archive, name)
            shape, order, dtype, start = _npy_header(contents[:_HEADER_BYTES], name)
            size = math.prod(shape) * dtype.itemsize
            if size != len(contents) - start:
                raise Damaged(f"{name[:80]!r} holds {len(contents) - start} bytes, not {size}")
            flat = np.frombuffer(contents, dtype, offset=start) if size else np.empty(0, dtype)
            arrays[name.removesuffix(".npy")] = flat.reshape(shape, order=order)
    return arrays


def map_npy(path: Path) -> np.ndarray:
    """Memory-maps an npy file, read-only.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or shorter than its header says.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    try:
        with Bounded(path) as file:
            start = file.read(_HEADER_BYTES)
            if start.startswith(b"PK"):
                raise Damaged("it holds several arrays (npz), not one")
            shape, order, dtype, offset = _npy_header(start, path.name)
            size = math.prod(shape) * dtype.itemsize
            if size > file.size - offset:
                raise Damaged(f"it should hold {size:,} bytes and has {file.size - offset:,}")
        if not size:
            return np.empty(shape, dtype, order=order)
        return np.memmap(path, dtype, "r", offset, shape, order)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged or no NumPy file: {error}") from error


def _npy_header(start: bytes, name: str) -> tuple[tuple[int, ...], Any, np.dtype, int]:
    """Shape, order, dtype and where the values begin."""
    file = io.BytesIO(start)
    readers = {(1, 0): np.lib.format.read_array_header_1_0}
    readers[2, 0] = np.lib.format.read_array_header_2_0
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"format {version} is not read")
        shape, fortran, dtype = readers[version](file)
    except Exception as error:  # NumPy evaluates the header as a literal, which may raise anything
        reason = str(error).split("\n", 1)[0][:120]
        raise Damaged(f"{name[:80]!r} has no header of an array ({reason})") from error
    if dtype.kind not in _KINDS or dtype.names or dtype.subdtype or not dtype.itemsize:
        raise Damaged(f"{name[:80]!r} holds {str(dtype)[:80]}: only plain numbers are read")
    sound = all(type(length) is int and 0 <= length < 2**62 for length in shape)
    if not sound or len(shape) > 32:
        raise Damaged(f"{name[:80]!r} has a shape that no array can have")
    return shape, "F" if fortran else "C", dtype, file.tell()


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        Damaged: it is no JSON, too long, or nested too deeply.
    """
    if len(text) > JSON_BYTES:
        raise Damaged(f"it has {len(text):,} characters, more than {JSON_BYTES:,}")
    try:
        value = json.loads(text)
    except RecursionError:
        raise Damaged(f"it nests brackets more than {JSON_DEPTH} deep") from None
    except ValueError as error:
        raise Damaged(str(error)[:200]) from error
    level = [value]
    for _ in range(JSON_DEPTH):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise Damaged(f"it nests brackets more than {JSON_DEPTH} deep")


def read_json(path: RunPath) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: it cannot be read.
        Damaged: it is no JSON in UTF-8, too long, or nested too deeply.
    """
    if is_remote(path):
        _check_length(storage.size(path))  # before it is fetched
    with Bounded(path) as file:
        _check_length(file.size)
        try:
            text = file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise Damaged(f"it is not UTF-8 (byte {error.start})") from None
    return parse_json(text)


def _check_length(size: int) -> None:
    if size > JSON_BYTES:
        raise Damaged(f"it has {size:,} bytes, more than {JSON_BYTES:,}")
