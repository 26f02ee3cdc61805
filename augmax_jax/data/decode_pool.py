"""Threads that decode images: a whole set at once, or batches ahead of who needs them."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from augmax_jax.data.images import BadImageError
from augmax_jax.data.split import Batch
from augmax_jax.data.square import fit

WORKERS = min(32, 2 * (os.cpu_count() or 1))
CHUNK = 64  # images per task: decoding one small image takes less time than starting a task
_LOOKAHEAD = 3  # batches decoded ahead of the trainer
_NAMED = 20  # unreadable images that an error lists

log = logging.getLogger(__name__)


def decode_all(
    pool: ThreadPoolExecutor,
    sources: Sequence[Any] | np.ndarray,
    read: Callable[[Any], Image.Image],
    out: np.ndarray,
    *,
    resize: int,
) -> tuple[np.ndarray, list[str]]:
    """Decodes images into an array.

    Args:
        pool: the threads.
        sources: N arguments of `read`.
        read: decodes one image.
        out: uint8 `[N, S, S, 3]`, changed in place; rows of unreadable images do not change.
        resize: length given to the shorter side before the centre crop; see `square.fit`.

    Returns:
        Whether each image could be read, bool `[N]`; and an error message for each other one.
    """
    good = np.ones(len(sources), bool)
    size = out.shape[1]

    def work(start: int) -> list[str]:
        errors = []
        for i in range(start, min(start + CHUNK, len(sources))):
            try:
                out[i] = fit(read(sources[i]), size, resize=resize)
            except BadImageError as error:
                good[i] = False
                errors.append(str(error))
        return errors

    found = pool.map(work, range(0, len(sources), CHUNK))
    return good, [error for part in found for error in part]


def report_bad(errors: Sequence[str], total: int, bad_images: str) -> None:
    """Refuses unreadable images or names them in the log.

    Args:
        errors: a message for each unreadable image, with its name.
        total: number of images, with the unreadable ones.
        bad_images: "refuse" or "skip".

    Raises:
        BadImageError: there are unreadable images and `bad_images` is "refuse".
    """
    if not errors:
        return
    if bad_images == "refuse":
        shown = "\n  ".join(errors[:_NAMED])
        more = f"\n  and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
        raise BadImageError(
            f"{len(errors)} of {total} images cannot be used (config.data.bad_images='skip' leaves "
            f"them out):\n  {shown}{more}"
        )
    for error in errors:
        log.warning("skipping %s", error)
    log.warning("skipped %d of %d images", len(errors), total)


def parts(count: int) -> list[slice]:
    """Cuts a batch into tasks."""
    size = max(1, min(CHUNK, count // WORKERS))
    return [slice(start, start + size) for start in range(0, count, size)]


def ahead(
    submit: Callable[[ThreadPoolExecutor], Iterator[list[Future[Batch]]]],
) -> Iterator[Batch]:
    """Yields batches in order while the pool works on the next ones.

    Args:
        submit: takes the pool and yields, for each batch, the tasks that make its parts.
    """
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="decode")
    try:
        waiting: deque[list[Future[Batch]]] = deque()
        for futures in submit(pool):
            waiting.append(futures)
            if len(waiting) >= _LOOKAHEAD:
                yield _join(waiting.popleft())
        while waiting:
            yield _join(waiting.popleft())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _join(futures: list[Future[Batch]]) -> Batch:
    done = [future.result() for future in futures]
    return {name: np.concatenate([part[name] for part in done]) for name in done[0]} if done else {}
