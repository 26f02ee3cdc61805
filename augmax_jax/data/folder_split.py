"""The images of a folder's split, decoded by threads, in memory or batch by batch."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.decode_pool import WORKERS, ahead, decode_all, parts, report_bad
from augmax_jax.data.folder import Listing, quoted
from augmax_jax.data.images import BadImageError, read
from augmax_jax.data.order import CROP, generator
from augmax_jax.data.settings import DataConfig
from augmax_jax.data.split import Batch, HostShare, IndexedSplit
from augmax_jax.data.square import fit, random_resized_crop


def read_split(listing: Listing, config: DataConfig, host: HostShare) -> ArraySplit:
    """Reads a whole listing into memory; the errors are those of `read_files`."""
    return ArraySplit(*read_files(listing, config), **host)


def read_files(listing: Listing, config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """The images of a whole listing, uint8 `[N, S, S, 3]`, and their labels, int32 `[N]`.

    Raises:
        BadImageError: files are unreadable and `config.bad_images` is "refuse".
        ValueError: a class has no readable image.
    """
    images = np.empty((len(listing), config.image_size, config.image_size, 3), np.uint8)
    with ThreadPoolExecutor(WORKERS) as pool:
        good, errors = decode_all(pool, listing.paths, read, images, resize=config.resize)
    report_bad(errors, len(listing), config.bad_images)
    labels = listing.labels[good]
    gone = np.setdiff1d(listing.labels, labels)
    if len(gone):
        names = [listing.class_names[i] for i in gone]
        raise ValueError(f"no readable image is left of {quoted(names)}")
    return images if good.all() else images[good], labels


class FolderSplit(IndexedSplit):
    """A split decoded on the fly by a pool of threads.

    The order is that of `ArraySplit`, exact at any step and for any number of hosts, and each
    host decodes its own share only. If bad images are skipped, a training image that cannot be
    read is replaced by the next readable one in file order, and an evaluation image by
    padding. The log names each once.
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
        with self._naming:  # two threads may find the same bad image
            if row in self._bad:
                return
            report_bad([str(error)], len(self), self.config.bad_images)
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
        found = [self._decode_or_next(*pair) for pair in zip(rows, positions, strict=True)]
        chosen = np.array([row for _, row in found])
        return {"image": np.stack([image for image, _ in found]), "label": self.labels[chosen]}

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
        return {"image": images, "label": labels, "mask": mask, "index": rows.astype(np.int32)}

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
                    for part in parts(len(rows))
                ]
                step += 1

        return ahead(submit)

    def eval_batches(self, batch_size: int) -> Iterator[Batch]:
        steps = self.eval_steps(batch_size)

        def submit(pool: ThreadPoolExecutor) -> Iterator[list[Future[Batch]]]:
            for step in steps:
                rows = self.host_positions(step, batch_size)
                yield [pool.submit(self._eval_part, rows[part]) for part in parts(len(rows))]

        return ahead(submit)
