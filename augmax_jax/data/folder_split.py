"""The images of a listing, decoded by a pool of threads: all at once, or batch by batch."""

import dataclasses
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.config import DataConfig
from augmax_jax.data.folder import Listing
from augmax_jax.data.images import BadImageError, fit, random_resized_crop, read
from augmax_jax.data.order import CROP, generator
from augmax_jax.data.split import Batch, IndexedSplit, Place
from augmax_jax.runtime.errors import NAMED, shorten

_WORKERS = min(32, 2 * (os.cpu_count() or 1))
_CHUNK = 64  # files per task: decoding a small image takes less time than handing it over
_LOOKAHEAD = 3  # batches decoded ahead of the trainer

log = logging.getLogger(__name__)


def read_images(
    paths: Sequence[str] | np.ndarray, size: int, *, resize: int | None = None
) -> "Decoded":
    """Decodes files in a thread pool into one array; unreadable files are left out.

    Args:
        paths: image files.
        size: side of the images to make; see `images.fit`.
        resize: length given to the shorter side before the centre crop.
    """
    images = np.empty((len(paths), size, size, 3), np.uint8)
    good = np.ones(len(paths), bool)

    def work(start: int) -> list[str]:
        errors = []
        for i in range(start, min(start + _CHUNK, len(paths))):
            try:
                images[i] = fit(read(paths[i]), size, resize=resize)
            except BadImageError as error:
                good[i] = False
                errors.append(str(error))
        return errors

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = pool.map(work, range(0, len(paths), _CHUNK))
        errors = [error for part in found for error in part]
    return Decoded(images if good.all() else images[good], good, tuple(errors))


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
    """Images that could be read, which files those were, and what was wrong with the rest."""

    images: np.ndarray
    good: np.ndarray
    errors: tuple[str, ...]


def read_split(listing: Listing, config: DataConfig, place: Place) -> ArraySplit:
    """Reads a whole listing into memory; errors as in `read_files`."""
    return ArraySplit(*read_files(listing, config), **place)


def read_files(listing: Listing, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """The images of a whole listing, uint8 `[N, S, S, 3]`, and their labels.

    Raises:
        BadImageError: files are unreadable and `config.bad_images` is "refuse".
        ValueError: nothing readable is left of a class.
    """
    decoded = read_images(listing.paths, config.image_size, resize=config.resize)
    report_bad(decoded.errors, len(listing), config)
    labels = listing.labels[decoded.good]
    gone = np.setdiff1d(listing.labels, labels)
    if len(gone):
        names = [listing.class_names[i] for i in gone]
        raise ValueError(f"no readable image is left of {shorten(names)}")
    return decoded.images, labels


def report_bad(errors: Sequence[str], total: int, config: DataConfig) -> None:
    """Refuses unreadable images or names them in the log, as `config.bad_images` says."""
    if not errors:
        return
    if config.bad_images == "refuse":
        shown = "\n  ".join(errors[:NAMED])
        more = f"\n  and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
        raise BadImageError(
            f"{len(errors)} of {total} images cannot be used (data.bad_images='skip' leaves them "
            f"out):\n  {shown}{more}"
        )
    for error in errors:
        log.warning("skipping %s", error)
    log.warning("skipped %d of %d images", len(errors), total)


class FolderSplit(IndexedSplit):
    """A split decoded on the fly by a pool of threads.

    The order is that of `ArraySplit`, exact at any step and on any number of hosts, and each
    host decodes its own share only. A training image that cannot be read is replaced by
    the next readable one in file order if bad images are skipped; an evaluation image by
    padding. Each is named in the log once.
    """

    def __init__(
        self,
        listing: Listing,
        config: DataConfig,
        *,
        train: bool,
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        super().__init__(
            listing.labels, seed=seed, process_index=process_index, process_count=process_count
        )
        self.paths = listing.paths
        self.config = config
        self.augments = train and config.random_resized_crop
        self._bad: set[int] = set()
        self._naming = threading.Lock()

    def _decode(self, row: int, position: int) -> np.ndarray:
        image = read(self.paths[row])
        if self.augments:
            rng = generator(self.seed, CROP, position)
            return random_resized_crop(image, self.config.image_size, rng)
        return fit(image, self.config.image_size, resize=self.config.resize)

    def _skip(self, row: int, error: BadImageError) -> None:
        with self._naming:  # two threads may meet the same image
            if row in self._bad:
                return
            report_bad([str(error)], len(self), self.config)
            self._bad.add(row)

    def _decode_or_next(self, row: int, position: int) -> tuple[np.ndarray, int]:
        """The image of a row or of the next readable one, and its row."""
        for candidate in range(row, row + len(self)):
            candidate %= len(self)
            try:
                return self._decode(candidate, position), candidate
            except BadImageError as error:
                self._skip(candidate, error)
        raise ValueError("none of the images can be read")

    def _train_part(self, rows: np.ndarray, positions: np.ndarray) -> Batch:
        parts = [self._decode_or_next(*pair) for pair in zip(rows, positions, strict=True)]
        chosen = np.array([row for _, row in parts])
        return {"image": np.stack([image for image, _ in parts]), "label": self.labels[chosen]}

    def _eval_part(self, rows: np.ndarray) -> Batch:
        size = self.config.image_size
        images = np.zeros((len(rows), size, size, 3), np.uint8)
        labels = np.zeros(len(rows), np.int32)
        mask = np.zeros(len(rows), bool)
        for i, row in enumerate(rows):
            if row >= len(self):
                continue
            try:
                images[i] = self._decode(int(row), 0)
            except BadImageError as error:
                self._skip(int(row), error)
                continue
            labels[i], mask[i] = self.labels[row], True
        return {"image": images, "label": labels, "mask": mask}

    def examples(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        part = self._eval_part(rows)
        return part["image"], part["label"]

    def train_batches(self, batch_size: int, start_step: int = 0) -> Iterator[Batch]:
        self.per_host(batch_size)

        def submit(pool: ThreadPoolExecutor) -> Iterator[list[Future[Batch]]]:
            step = start_step
            while True:
                positions = self.host_positions(step, batch_size)
                rows = self.order.indices(positions)
                yield [
                    pool.submit(self._train_part, rows[part], positions[part])
                    for part in _parts(len(rows))
                ]
                step += 1

        return _ahead(submit)

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        steps = self.eval_steps(batch_size)

        def submit(pool: ThreadPoolExecutor) -> Iterator[list[Future[Batch]]]:
            for step in steps:
                rows = self.host_positions(step, batch_size)
                yield [pool.submit(self._eval_part, rows[part]) for part in _parts(len(rows))]

        return _ahead(submit)


def _parts(count: int) -> list[slice]:
    """Cuts a batch into tasks."""
    size = max(1, min(_CHUNK, count // _WORKERS))
    return [slice(start, start + size) for start in range(0, count, size)]


def _ahead(
    submit: Callable[[ThreadPoolExecutor], Iterator[list[Future[Batch]]]],
) -> Iterator[Batch]:
    """Yields batches in order while the pool works on the next ones."""
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="decode")
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
    parts = [future.result() for future in futures]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
