"""`model.json`: what a network is, how an image is made ready for it, and where it comes from.

A run keeps the file beside its checkpoints, an import beside its variables.
"""

from collections.abc import Callable, Mapping
from typing import Any

from augmax_jax.runtime import files
from augmax_jax.runtime.paths import RunPath

MODEL = "model.json"
FORMAT = 2
# What a file must say; the network is built from it.
_NEEDED = ("model", "num_classes", "norm", "options", "mean", "std")
# What format 1, that of older imports, does not say. None: not known.
_NEW = {
    "dtype": "float32",
    "image_size": None,
    "test_transform": None,
    "route": "clean",
    "class_names": None,
}
# No network has more; a file may say anything.
_MOST_CLASSES, _LARGEST_OPTION, _LARGEST_IMAGE = 1_000_000, 10_000, 16_383


def _is_whole(value: Any, high: int) -> bool:
    return type(value) is int and 1 <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_options(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_whole(v, _LARGEST_OPTION) for v in value.values())


def _are_channels(value: Any) -> bool:
    return value is None or (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(number, int | float) for number in value)
    )


# What each entry must be.
_FITS: dict[str, Callable[[Any], bool]] = {
    "model": _is_text,
    "num_classes": lambda value: _is_whole(value, _MOST_CLASSES),
    "norm": _is_text,
    "options": _are_options,
    "mean": _are_channels,
    "std": _are_channels,
    "dtype": _is_text,
    "image_size": lambda value: value is None or _is_whole(value, _LARGEST_IMAGE),
    "test_transform": lambda value: value is None or _is_text(value),
    "route": _is_text,
}


def write(directory: RunPath, info: Mapping[str, Any]) -> None:
    """Writes `model.json`, atomically.

    Args:
        directory: that of the run or the import.
        info: `model`, `num_classes`, `norm`, `options`, `mean`, `std` (null: the network's own);
            `dtype`, `image_size`, `test_transform`, `route` and `class_names`, in the order of
            the logits; more is kept.

    Raises:
        OSError: the directory cannot be written.
    """
    files.write_json(directory / MODEL, {**info, "format": FORMAT})


def read(directory: RunPath) -> dict[str, Any] | None:
    """Reads `model.json` of this or an older format.

    Args:
        directory: that of the run or the import.

    Returns:
        What `write` was given, null for what an older file does not say; None without a file.

    Raises:
        ValueError: the file is damaged, or of a later version of this package.
    """
    path = directory / MODEL
    info = files.read_json(path)
    return None if info is None else check(info, str(path))


def check(info: Any, path: str) -> dict[str, Any]:
    """What a `model.json` of this or an older format says, made complete.

    Args:
        info: the contents of the file.
        path: its name in messages.

    Returns:
        What `write` was given, null for what an older file does not say.

    Raises:
        ValueError: the file is damaged, or of a later version of this package.
    """
    if not isinstance(info, dict):
        raise ValueError(f"{path} is damaged (it is no JSON object); remove it or restore it")
    if isinstance(info.get("format"), int) and info["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {info['format']}, and this version of augmax_jax reads up to "
            f"{FORMAT}: use the version that wrote it, or a later one"
        )
    missing = [name for name in _NEEDED if name not in info]
    if missing:
        raise ValueError(
            f"{path} is damaged (it lacks {', '.join(missing)}); remove it or restore it"
        )
    info = {**_NEW, **info}
    if wrong := [name for name, fits in _FITS.items() if not fits(info[name])]:
        raise ValueError(
            f"{path} is damaged ({wrong[0]} is {str(info[wrong[0]])[:80]!r}); remove it or restore "
            "it"
        )
    names = info["class_names"]
    are_names = isinstance(names, list) and all(map(_is_text, names))
    if names is not None and not (are_names and len(names) == info["num_classes"]):
        raise ValueError(
            f"{path} is damaged (class_names must be {info['num_classes']} names); remove it or "
            "restore it"
        )
    return info
