"""A folder as an archive in pieces of at most 16 MiB, for places that take no larger files."""

import hashlib
import io
import logging
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augmax_jax.runtime import files

logger = logging.getLogger(__name__)

LIMIT = 16 * 2**20  # bytes of a piece


def pack(folder: Path, out: Path, *, limit: int = LIMIT) -> list[Path]:
    """Writes `<name>.tar.000`, ... and their index `<name>.pieces.json`, then removes the folder.

    Args:
        folder: what to pack.
        out: where to.
        limit: bytes of a piece, at most.

    Returns:
        The pieces. The index is written last, and the folder stays until then.
    """
    for old in out.glob(f"{folder.name}.tar.*"):
        old.unlink()
    writer = _Writer(out / f"{folder.name}.tar", limit)
    # Buffered, so that the pieces are full although an archive is written in small blocks.
    with (
        io.BufferedWriter(writer, 2**20) as buffer,
        tarfile.open(fileobj=buffer, mode="w|") as archive,
    ):
        archive.add(folder, arcname=folder.name)
    files.write_json(_index(folder.name, out), {"pieces": writer.pieces})
    shutil.rmtree(folder)
    return [out / piece["name"] for piece in writer.pieces]


def unpack(name: str, out: Path) -> Path:
    """Makes the folder `out/<name>` from its pieces, unless it is there.

    A folder that is there is newer than the pieces: `pack` removes it at the end.

    Returns:
        The folder; an empty one if there are no pieces.

    Raises:
        ValueError: a piece is missing or damaged.
    """
    folder = out / name
    if folder.is_dir():
        return folder
    index = files.read_json(_index(name, out))
    if index is None:
        folder.mkdir(parents=True)
        return folder
    partial = out / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    source = io.BufferedReader(_Reader(_checked(out, _pieces(index, _index(name, out)))))
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            archive.extractall(partial, filter="data")
        (partial / name).rename(folder)
    except (tarfile.TarError, FileNotFoundError) as error:
        raise ValueError(
            f"the pieces of {name} in {out} are no archive of it ({error}): copy them again"
        ) from error
    shutil.rmtree(partial)
    return folder


def _index(name: str, out: Path) -> Path:
    return out / f"{name}.pieces.json"


def _pieces(index: Any, path: Path) -> list[dict[str, str]]:
    """The pieces that an index names, all of them beside it."""
    pieces = index.get("pieces") if isinstance(index, dict) else None
    if isinstance(pieces, list) and all(
        isinstance(piece, dict)
        and isinstance(piece.get("name"), str)
        and piece["name"].startswith(f"{path.name.removesuffix('.pieces.json')}.tar.")
        and Path(piece["name"]).name == piece["name"]
        for piece in pieces
    ):
        return pieces
    raise ValueError(f"{path} is no index of pieces: copy it again")


def _checked(out: Path, pieces: list[dict[str, Any]]) -> Iterator[bytes]:
    for piece in pieces:
        path = out / piece["name"]
        if not path.is_file():
            raise ValueError(f"{path} is missing: copy all {len(pieces)} pieces into {out}")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != piece.get("sha256"):
            raise ValueError(f"{path} is damaged: copy it again")
        yield content


class _Writer(io.RawIOBase):
    """A file that continues in the next piece when one is full."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit = path, limit
        self._content = bytearray()
        self.pieces: list[dict[str, Any]] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._content += data
        while len(self._content) >= self._limit:
            self._next(self._limit)
        return len(data)

    def close(self) -> None:
        if not self.closed and self._content:
            self._next(len(self._content))
        super().close()

    def _next(self, size: int) -> None:
        name = f"{self._path.name}.{len(self.pieces):03}"
        content = bytes(self._content[:size])
        del self._content[:size]
        files.write_atomically(self._path.with_name(name), lambda p: p.write_bytes(content))
        self.pieces.append({"name": name, "sha256": hashlib.sha256(content).hexdigest()})


class _Reader(io.RawIOBase):
    """A file that reads one piece after the other."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
