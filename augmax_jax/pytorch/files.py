"""Reads the arrays of a PyTorch file without PyTorch, and without running code in the file."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
import safetensors

from augmax_jax.pytorch.torch_save import (
    NotAStateDict,
    StateDict,
    Tensor,
    read_legacy,
    read_zip,
)
from augmax_jax.runtime import paths, untrusted
from augmax_jax.runtime.errors import shorten

logger = logging.getLogger(__name__)

# Our own table, because the safetensors package's NumPy reader has no bfloat16.
_SAFETENSORS: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16), "I64": np.dtype("<i8"), "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
# Keys under which training scripts keep the model; the first that exists is used.
_USUAL_KEYS = ("state_dict", "model", "model_state_dict", "net")
_NESTING = 3  # depth to which dictionaries in the file are searched

_Load = Callable[[dict[str, Any]], StateDict]  # descriptions of tensors -> arrays
_Result = TypeVar("_Result")


def read_state_dict(path: str | Path, *, key: str | None = None) -> StateDict:
    """Reads the state_dict in a file.

    Args:
        path: a file of `torch.save` (the zip format of PyTorch 1.6 and later, or the older one),
            a `.safetensors` file, or an `.npz` file. It may hold a state_dict, or dictionaries
            with a state_dict in one of them.
        key: the key of the state_dict, with dots between nested keys ("state.model"); "" for
            the outermost dictionary. None: the first of `state_dict`, `model`,
            `model_state_dict` and `net`, else the outermost dictionary, else the only key that
            holds a state_dict.

    Returns:
        Name -> array, in the file's order and dtypes. Entries that are no tensors are left out,
        and the log names them.

    Raises:
        OSError: the file does not exist, is a directory, or cannot be read.
        ValueError: the file is damaged or of another kind, or holds no state_dict or several.
    """

    def use(tree: Any, load: _Load) -> StateDict:
        found = _select(tree, key)
        tensors = {name: value for name, value in found.items() if _is_tensor(value)}
        others = [str(name) for name in found if name not in tensors]
        if others:
            logger.info("ignored, because they are no tensors: %s", names_text(others))
        return load(tensors)

    return _read(path, use)


def state_dict_shapes(path: str | Path) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes in each dictionary of tensors in a file, without reading the arrays.

    Args:
        path: as for `read_state_dict`.

    Returns:
        Key, as for `read_state_dict` ("" is the outermost dictionary) -> name -> shape.

    Raises:
        OSError: the file does not exist, is a directory, or cannot be read.
        ValueError: the file is damaged or of another kind, or holds no state_dict.
    """

    def use(tree: Any, load: _Load) -> dict[str, dict[str, tuple[int, ...]]]:
        return {
            key: {name: tuple(v.shape) for name, v in found.items() if _is_tensor(v)}
            for key, found in _dictionaries(tree).items()
        }

    return _read(path, use)


def names_text(names: Sequence[str]) -> str:
    """The first 8 of some names, and how many more there are: refusals of files stay short."""
    return shorten(names, 8)


def _read(path: str | Path, use: Callable[[Any, _Load], _Result]) -> _Result:
    """Calls `use` with a file's content, which has descriptions for tensors, and their reader."""
    path = paths.expand(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name the checkpoint file in it")
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    try:
        file = untrusted.Bounded(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror})") from error
    with file:
        start = file.read(512)
        file.seek(0)
        _check_start(path, start)
        try:
            if path.suffix == ".npz":
                return use(untrusted.read_npz(file), dict)
            if path.suffix == ".safetensors" or start[8:9] == b"{":
                return use(_read_safetensors(file), dict)
            if start.startswith(b"PK"):
                with untrusted.open_zip(file) as archive:
                    return use(*read_zip(archive, file.size))
            return use(*read_legacy(file))
        except NotAStateDict as error:
            raise ValueError(f"{path}: {error}") from None
        except Exception as error:  # a damaged file may raise any error
            reason = str(error).split("\n", 1)[0][:200]
            raise ValueError(
                f"{path} is not a PyTorch checkpoint, safetensors or npz file, or is damaged "
                f"({type(error).__name__}: {reason})"
            ) from error


def _check_start(path: Path, start: bytes) -> None:
    """Raises ValueError for the kinds of files that are often taken for checkpoints."""
    what = ""
    if not start:
        what = "is empty"
    elif start[257:262] == b"ustar":
        what = "is a tar archive: unpack it, or, if PyTorch before 0.2 wrote it, save it anew"
    elif start.startswith(b"\x1f\x8b"):
        what = "is compressed with gzip: unpack it first"
    elif start.startswith(b"version https://git-lfs"):
        what = "is a pointer of Git LFS: fetch the file itself with 'git lfs pull'"
    elif re.fullmatch(rb"[\t\n\r\x20-\x7e]+", start[:64]) and len(start) >= 16:
        first = start.decode("ascii", "replace").strip().splitlines()[0][:40]
        what = f"is a text file, which begins with {first!r}: was the download complete?"
    if what:
        raise ValueError(f"{path} is not a PyTorch checkpoint: it {what}")


def _read_safetensors(file: untrusted.Bounded) -> StateDict:
    """Reads safetensors; every declared size is checked against the file before it is used."""
    result = {}
    for name, view in safetensors.deserialize(file.read()):
        if view["dtype"] not in _SAFETENSORS:
            raise ValueError(f"{name} has dtype {view['dtype']}, which is not supported")
        data = np.frombuffer(view["data"], _SAFETENSORS[view["dtype"]])
        result[name] = data.reshape(view["shape"])
    return result


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _dictionaries(tree: Any) -> dict[str, dict[str, Any]]:
    """All dictionaries that hold tensors under names, by key.

    Raises:
        NotAStateDict: there is no such dictionary.
    """
    if not isinstance(tree, dict):
        raise NotAStateDict(
            "the file holds no dictionary (a whole pickled model?); save model.state_dict()"
        )
    found: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()  # a dictionary may occur twice, or hold itself

    def visit(node: dict, key: str, depth: int) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if any(isinstance(name, str) and _is_tensor(value) for name, value in node.items()):
            found[key] = {name: value for name, value in node.items() if isinstance(name, str)}
        for name, value in node.items():
            if isinstance(name, str) and isinstance(value, dict) and depth < _NESTING:
                visit(value, f"{key}.{name}" if key else name, depth + 1)

    visit(tree, "", 1)
    if not found:
        raise NotAStateDict(f"no state_dict under any key; the file has {_listing(tree)}")
    return found


def usual_key(keys: Iterable[str]) -> str | None:
    """The first key that training scripts use for the model itself; None if there is none."""
    keys = list(keys)
    return next((usual for usual in _USUAL_KEYS if usual in keys), None)


def _select(tree: Any, key: str | None) -> dict[str, Any]:
    """Finds the state_dict in a file's content."""
    if key is None:
        found = _dictionaries(tree)
        usual = usual_key(found)
        if usual is not None:
            return found[usual]
        # An outer dictionary with the state_dict and a scalar, such as an accuracy, is none itself.
        if "" in found and max(map(_tensors, found.values())) == _tensors(found[""]):
            return found[""]
        keys = [name for name in found if name]
        if len(keys) > 1:
            raise NotAStateDict(f"several state_dicts, choose a key among {names_text(keys)}")
        return found[keys[0]]
    try:
        found = _dictionaries(tree)
    except NotAStateDict:
        if not isinstance(tree, dict):
            raise
        found = {}
    if key in found:
        return found[key]
    if isinstance(tree, dict) and key in tree:
        raise NotAStateDict(f"what is under the key {key!r} is not a state_dict")
    raise NotAStateDict(f"no key {key!r}; the file has {_listing(tree)}")


def _tensors(dictionary: dict[str, Any]) -> int:
    return sum(map(_is_tensor, dictionary.values()))


def _listing(tree: dict) -> str:
    return names_text([repr(name)[:80] for name in tree]) or "nothing"
