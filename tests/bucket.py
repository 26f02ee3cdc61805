"""A stand-in for a bucket of Google Cloud Storage: `gs://` names without a network.

Objects are files below a folder of the disk, which etils' paths (`epath`) and orbax reach by their
names in the bucket alone. As in a bucket nothing is renamed, nothing is added to an object, a
folder is there while an object is in it, and an object appears when its writer is closed. Python's
own calls raise an error if they are given a name in the bucket, as if it were a local path.
"""

import contextlib
import io
import os
import sys
import threading
from pathlib import Path

from etils.epath import backend, gpath, stat_utils
from orbax.checkpoint._src.path import gcs_utils

from augmax_jax.runtime import lock, paths

_watched: list["Bucket"] = []


class Refused(Exception):
    """What a client of a bucket raises, no OSError."""


Refused.__module__ = "gcsfs.retry"

# Raises an error from code that says to be the client's.
_CLIENT = {"__name__": "gcsfs.core"}
exec("def refused(error):\n    raise error", _CLIENT)
refused = _CLIENT["refused"]


class Bucket(backend.Backend):
    """The objects below a folder.

    Args:
        root: the folder.

    Attributes:
        refuse: called with "read" or "write" and the name of each object; may raise an error.
        misused: calls of Python's own that were given a name in the bucket.
    """

    def __init__(self, root):
        self.root, self.refuse, self.misused = root, lambda kind, name: None, []

    def on_disk(self, name):
        """The file of an object, whose name begins with gs://."""
        name = os.fspath(name)
        assert name.startswith("gs://"), name
        return self.root / name.removeprefix("gs://").strip("/")

    def names(self, folder):
        """The names of all objects below a folder, from there on."""
        place = self.on_disk(folder)
        return sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file())

    def open(self, path, mode):
        file, text = self.on_disk(path), "b" not in mode
        if mode.strip("bt") == "r":
            self.refuse("read", os.fspath(path))
            return file.open("r" if text else "rb", encoding="utf-8" if text else None)
        assert mode.strip("bt") == "w", f"a bucket cannot add to {path}"
        writing = _Writing(lambda contents: self.put(path, contents))
        return io.TextIOWrapper(writing, "utf-8") if text else writing

    def put(self, path, contents):
        self.refuse("write", os.fspath(path))
        file = self.on_disk(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        # Whole from the start, for the threads that read it.
        partial = self.root.parent / f"{self.root.name}-{threading.get_ident()}"
        partial.write_bytes(contents)
        partial.replace(file)

    def exists(self, path):
        self.refuse("read", os.fspath(path))
        return self.on_disk(path).is_file() or self.isdir(path)

    def isdir(self, path):
        self.refuse("read", os.fspath(path))
        return any(p.is_file() for p in self.on_disk(path).rglob("*"))

    def listdir(self, path):
        if not self.isdir(path):
            raise FileNotFoundError(path)
        place = Path(os.fspath(path).removeprefix("gs://"))
        found = (self.root / place).iterdir()
        return [p.name for p in found if p.is_file() or self.isdir(f"gs://{place / p.name}")]

    def glob(self, path):
        pattern = os.fspath(path).removeprefix("gs://")
        found = (f"gs://{p.relative_to(self.root)}" for p in self.root.glob(pattern))
        return [name for name in found if self.exists(name)]

    def walk(self, top, *, top_down=True, on_error=None):
        raise AssertionError("not the same in all versions of etils")

    def makedirs(self, path, *, exist_ok=False, mode=None):
        if not exist_ok and self.exists(path):
            raise FileExistsError(path)

    mkdir = makedirs

    def rmtree(self, path):
        if not self.isdir(path):
            raise FileNotFoundError(path)
        for name in self.names(path):
            self.remove(f"{os.fspath(path)}/{name}")

    def remove(self, path):
        self.refuse("write", os.fspath(path))
        self.on_disk(path).unlink()

    def rename(self, path, dst):
        raise AssertionError(f"a bucket cannot rename {path}")

    replace = rename

    def copy(self, path, dst, overwrite=False):
        raise AssertionError(f"{path} need not be copied")

    def stat(self, path):
        if self.isdir(path):
            return stat_utils.StatResult(is_directory=True, length=0, mtime=0)
        found = self.on_disk(path).stat()
        return stat_utils.StatResult(
            is_directory=False, length=found.st_size, mtime=int(found.st_mtime)
        )


class _Writing(io.BytesIO):
    """An object being written: it is there when this is closed."""

    def __init__(self, put):
        super().__init__()
        self.put = put

    def close(self):
        if not self.closed:
            contents = self.getvalue()
            super().close()
            self.put(contents)


def _look(event, arguments):
    if not _watched or not arguments:
        return
    if event == "open" or event.partition(".")[0] in ("os", "glob", "shutil", "pathlib"):
        named = [os.fspath(a) for a in arguments[:2] if isinstance(a, str | os.PathLike)]
        if any(name.startswith("gs:") or "/gs:/" in name for name in named):
            _watched[-1].misused.append((event, named))
            raise AssertionError(f"{event} was called with {named}")


sys.addaudithook(_look)


@contextlib.contextmanager
def stand_in(root, monkeypatch):
    """Puts the stand-in in the place of `gs://`, and sees that nothing else took such a name.

    Args:
        root: a folder that is there, for the objects.
        monkeypatch: pytest's.

    Yields:
        The `Bucket`.
    """
    bucket = Bucket(root)

    def in_tensorstore(path):
        return {"driver": "file", "path": f"{bucket.on_disk(path)}/"}

    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", bucket)
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(gcs_utils, "get_kvstore_for_gcs", in_tensorstore)
    monkeypatch.setattr(gcs_utils, "is_hierarchical_namespace_enabled", lambda path: False)
    monkeypatch.setattr(paths, "check_client", lambda: None)
    monkeypatch.setattr(lock, "_SETTLED", 0.0)
    _watched.append(bucket)
    try:
        yield bucket
    finally:
        _watched.remove(bucket)
    assert bucket.misused == []
