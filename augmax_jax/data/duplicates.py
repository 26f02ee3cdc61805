"""Finds images that are in the training and in the test split of a folder."""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from augmax_jax.data.folder import Listing

MOST = 200_000  # files; a search of larger sets would take too long
_CHUNK = 256  # files per task

log = logging.getLogger(__name__)


def warn(train: Listing, test: Listing) -> int:
    """Counts the test files whose bytes are those of a training file, and says so in the log.

    Only files whose sizes occur in both splits are read. Sets of more than `MOST` files are not
    searched.

    Returns:
        The number of such test files.
    """
    if len(train) + len(test) > MOST:
        log.info("more than %d files: not searched for copies in training and test split", MOST)
        return 0
    train_sizes, test_sizes = _map(_size, train.paths), _map(_size, test.paths)
    common = set(train_sizes) & set(test_sizes) - {0, None}
    first, second = (
        [path for path, size in zip(listing.paths, sizes, strict=True) if size in common]
        for listing, sizes in ((train, train_sizes), (test, test_sizes))
    )
    digests = dict(zip(first, _map(_digest, first), strict=True))
    known = {digest: path for path, digest in digests.items() if digest}
    found = zip(second, _map(_digest, second), strict=True)
    copies = [(path, known[digest]) for path, digest in found if digest in known]
    if copies:
        log.warning(
            "%d of %d test images are in the training split too, byte for byte, such as %r and %r: "
            "the test accuracy is too high, because the network remembers them",
            len(copies),
            len(test),
            *copies[0],
        )
    return len(copies)


def _map(function: Callable[[str], Any], paths: Sequence[str] | np.ndarray) -> list[Any]:
    """The results of a function for many files, in threads, because a network drive has latency."""
    starts = range(0, len(paths), _CHUNK)
    with ThreadPoolExecutor() as pool:
        parts = pool.map(lambda start: [function(p) for p in paths[start : start + _CHUNK]], starts)
        return [result for part in parts for result in part]


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None  # a broken link; reading it raises the error


def _digest(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
