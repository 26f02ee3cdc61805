"""Files that are complete or not there, and folders that belong to one set of settings."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from augmax_jax.runtime import paths


def write_atomically(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> None:
    """Lets `write` write beside the final name, then renames: a file that is there is complete.

    Two processes may write the same file at a time; the last one stays.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON through a temporary file, so that a reader never sees half of it.

    Raises:
        OSError: the directory is not writable or the disk is full.
    """
    text = json.dumps(value, indent=2) + "\n"
    try:
        write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror}): free space there or choose "
            "another --workdir"
        ) from error


def read_json(path: Path) -> Any:
    """Reads a JSON file; None where there is none.

    Raises:
        ValueError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it or restore it") from error


def make_folder(path: Path, name: str) -> None:
    """Makes a folder to write to, with those above it; `name` is what the user calls it.

    Raises:
        OSError: a file is in the way, or it may not be written; one line that names it.
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

    What a broken run left there is removed first.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write(partial)
    os.replace(partial, path)


def identity(dataset: str | os.PathLike[str]) -> str:
    """A dataset's name, or the full path if it is a folder, however that is written."""
    name = os.fspath(dataset)
    if paths.is_remote(name):
        return name
    path = paths.expand(name)
    return os.path.abspath(path) if path.is_dir() else name


def check_settings(path: Path, settings: Mapping[str, Any], what: str) -> None:
    """Leaves the settings in a JSON file, or compares with those that are there.

    Args:
        path: the file.
        settings: values that JSON keeps.
        what: what the folder holds, for the message.

    Raises:
        ValueError: the file is there with other settings; all differences are named.
    """
    if not path.exists():
        text = json.dumps(settings, indent=2)
        write_atomically(path, lambda partial: partial.write_text(text))
        return
    before = read_json(path)
    if not isinstance(before, dict):
        raise ValueError(f"{path} is damaged (it holds no settings); remove it or restore it")
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
