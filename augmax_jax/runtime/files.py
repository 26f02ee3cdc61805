"""Writes files atomically, and ties a folder to one set of settings."""

import json
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from augmax_jax.runtime import paths, untrusted
from augmax_jax.runtime.paths import RunPath

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def write_atomically(path: str | RunPath, write: Callable[[Path], Any]) -> None:
    """Lets `write` write beside the final name, then renames: a file with that name is complete.

    Two processes may write the same file at the same time; the last one's file stays. What goes to
    a bucket is written to a temporary folder, and then whole to its object.

    Args:
        path: the file.
        write: takes the path to write to, on the disk; in the same folder if that is there.

    Raises:
        OSError: `write` raised it, or the folder does not exist or cannot be written; it names
            the file.
    """
    if not isinstance(path, str) and paths.is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            partial = Path(folder, path.name)
            write(partial)
            path.write_bytes(partial.read_bytes())
        return
    path = Path(path)
    # Not the final name with an ending: a long name would then exceed the system's limit.
    short = zlib.crc32(os.fsencode(path.name))
    partial = path.with_name(f".{short:08x}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        # A full disk is reported without a name, and nobody knows the name of the partial file.
        error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | RunPath, text: str) -> None:
    """Writes a text in UTF-8, atomically.

    Bytes of a path that are not UTF-8, which Python holds as lone surrogates, are escaped.

    Raises:
        OSError: the folder is not there or cannot be written, or the disk is full.
    """
    contents = text.encode("utf-8", errors="backslashreplace")
    write_atomically(path, lambda partial: partial.write_bytes(contents))


def to_json(value: Any) -> Any:
    """The value as JSON can hold it: nan, inf and -inf, which JSON lacks, become strings.

    Args:
        value: numbers, strings, None, and mappings and sequences of them.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {name: to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, list | tuple) else value


def from_json(value: Any) -> Any:
    """The reverse of `to_json`: the strings "nan", "inf" and "-inf" become floats."""
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {name: from_json(item) for name, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that every reader takes: no bare NaN or Infinity (see `to_json`)."""
    return json.dumps(to_json(value), indent=indent, allow_nan=False)


def write_json(path: str | RunPath, value: Any) -> None:
    """Writes JSON atomically, so that a reader never sees half of it.

    Args:
        path: the file.
        value: numbers, strings, None, and mappings and sequences of them; nan, inf and -inf are
            written as strings.

    Raises:
        OSError: the directory cannot be written or the disk is full; the message says what to do.
    """
    text = dumps(value, indent=2) + "\n"
    if paths.is_remote(path):
        write_text(path, text)  # space is not what may be missing there
        return
    try:
        write_text(path, text)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{os.fspath(path)} could not be written ({error.strerror}): free space there or "
            "choose another directory",
        ) from error


def read_json(path: RunPath, *, numbers: bool = False) -> Any:
    """Reads a JSON file; None where there is none.

    Args:
        path: the file.
        numbers: for a file of measurements, in which "nan", "inf" and "-inf" stand for numbers.

    Raises:
        ValueError: the file is not JSON, or too long or deep for one (`untrusted`).
        OSError: it cannot be read.
    """
    try:
        value = untrusted.read_json(path)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it or restore it") from error
    return from_json(value) if numbers else value


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, without the spaces around them.

    Raises:
        ValueError: the file is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    return [line.strip() for line in lines if line.strip()]


def make_folder(path: Path, name: str) -> None:
    """Makes a folder to write to, with those above it; `name` is what the user calls it.

    Raises:
        OSError: a file has that name, or the folder above cannot be written; the message names it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{name} {str(path)!r} cannot be made ({error.strerror}): give a folder that is there "
            "or can be made"
        ) from error


def write_folder_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` fill a folder beside the final name, then renames it.

    A folder that an interrupted run left beside it is removed first.

    Raises:
        OSError: `write` raised it, or the folder cannot be made.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write(partial)
    os.replace(partial, path)


def identity(dataset: str) -> str:
    """A dataset's name, or the full path if it is a folder."""
    if paths.is_remote(dataset):
        return dataset
    path = paths.expand(dataset)
    return os.path.abspath(path) if path.is_dir() else dataset


def check_settings(path: Path, settings: Mapping[str, Any], what: str) -> None:
    """Writes the settings to a JSON file; compares them if the file exists.

    Args:
        path: the file.
        settings: name -> value; values that JSON can hold.
        what: what the folder holds, for the message.

    Raises:
        ValueError: the file exists with other settings; the message names all differences.
    """
    before = read_json(path)
    if before is None:
        write_json(path, settings)
        return
    if not isinstance(before, dict):
        raise ValueError(f"{path} is damaged (it holds no settings); remove it or restore it")
    settings = to_json(settings)
    changed = [
        f"{name} was {before.get(name)!r}, now {settings.get(name)!r}"
        for name in sorted({*settings, *before})
        if before.get(name) != settings.get(name)
    ]
    if changed:
        raise ValueError(
            f"{str(path.parent)!r} holds {what} with other settings: {'; '.join(changed)}. "
            "Write to another folder."
        )
