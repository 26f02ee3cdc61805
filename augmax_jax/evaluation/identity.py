"""Digests that tell one evaluated set, or one network, from another.

A stored result is valid only for the set that it was computed on. Reading a whole set to recognise
it would take as long as evaluating it. So the identity of a set has its location, the number and
size of its examples, a digest of their labels, and a digest of the pixels of a few images from the
first to the last, as the network gets them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from augmax_jax.corruptions import textures
from augmax_jax.data import Split

SAMPLED = 8  # images of a split whose pixels are digested


def of_split(split: Split) -> dict[str, Any]:
    """The identity of a split's content; a few of its images are decoded.

    Args:
        split: a split that has `examples`.

    Returns:
        "count", "size" (height and width), and the digests "labels" and "images". If labels are
        not known without reading the set, only those of the sampled images are digested.
    """
    rows = np.unique(np.linspace(0, len(split) - 1, SAMPLED).round().astype(int))
    images, labels = split.examples(rows)
    return {
        "count": len(split),
        "size": list(images.shape[1:3]),
        "labels": digest(np.asarray(labels if split.labels is None else split.labels, np.int32)),
        "images": digest(images),
    }


def of_frost() -> str:
    """A digest of the pictures that the corruption "frost" uses.

    Raises:
        ValueError: the pictures are not installed.
    """
    pictures = sorted(path for path in textures.folder().iterdir() if path.is_file())
    return _hexadecimal(*(part for p in pictures for part in (p.name.encode(), p.read_bytes())))


def digest(tree: Any) -> str:
    """A digest of a tree of host arrays, such as a network's variables, with shapes and dtypes."""
    parts: list[bytes] = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)  # also makes an array of a string
        head = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
        parts += [head.encode(), array.tobytes()]
    return _hexadecimal(*parts)


def combined(parts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The identity of a whole set from those of its parts.

    Args:
        parts: corruption -> severity -> identity, as `of_split` gives it.

    Returns:
        An identity of that form, with the "count" of all parts; empty if there are no parts.
    """
    every = [part for by_severity in parts.values() for part in by_severity.values()]
    if not any(every):
        return {}

    def together(name: str) -> str:
        values = {c: {s: part[name] for s, part in by.items()} for c, by in parts.items()}
        return _hexadecimal(json.dumps(values, sort_keys=True, allow_nan=False).encode())

    return {
        "count": sum(part["count"] for part in every),
        "size": every[0]["size"],
        "labels": together("labels"),
        "images": together("images"),
    }


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Says in words what differs between two identities."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name}: {before.get(name)} -> {now.get(name)}" for name in names)


def _hexadecimal(*parts: bytes) -> str:
    check = hashlib.sha256()
    for part in parts:
        check.update(len(part).to_bytes(8, "big"))
        check.update(part)
    return check.hexdigest()[:16]
