"""Writes a DeepAugment copy of a dataset (Hendrycks et al. 2021, "The many faces of robustness").

Images of one run share damaged weights (see `plan`). They go through one compiled program in
batches of a fixed size; the last batch is filled up. The program draws the damage to activations
for each image. Images that are not square would need a program for every shape, so the longer side
is rounded to a multiple of `grid`: a few dozen shapes cover ImageNet.
"""

import functools
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from augmax_jax.data.extra import MANIFEST, SKIPPED, skipped
from augmax_jax.data.images import BadImageError
from augmax_jax.data.named_images import NamedImages, open_images
from augmax_jax.data.order import check_seed
from augmax_jax.data.settings import TEST_FRACTION
from augmax_jax.deepaugment import layers, networks, plan
from augmax_jax.runtime import compiler, files, paths
from augmax_jax.runtime.checks import check_count
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.progress import Announced, Count

FORMATS = {"jpeg": (".jpg", ".jpeg"), "png": (".png",)}
QUALITY = 75  # quality of the published copies, Pillow's default
SMALL = 128  # copies of images up to this side keep the originals' size
MIN_WORKING_SIZE = 16
MAX_ASPECT = 4  # ratio of the sides; the middle of longer images is used
_MAX_BATCH = 8  # a run has 20 images on average, and its last batch is filled up
_LARGEST_ACTIVATION = 2**29  # bytes
_REVISION = 1  # raise when the same settings give other pixels

Source = str | os.PathLike[str] | Mapping[str, Any]


class Sizes(NamedTuple):
    """Shorter sides of the network's input and of the files (0: the network's output), and grid."""

    working: int
    written: int
    grid: int


def distort(
    network: str,
    weights: Source,
    dataset: str,
    out: str | os.PathLike[str],
    *,
    split: str = "train",
    size: int | None = None,
    working_size: int = 0,
    grid: int = 0,
    limit: int = 0,
    image_format: str = "jpeg",
    quality: int = QUALITY,
    seed: int = 0,
    batch_size: int = 0,
    data_dir: str = "",
    bad_images: str = "refuse",
    labels: str = "",
    test_fraction: float = TEST_FRACTION,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Path:
    """Distorts every image of a split and writes `out/<split>/<class>/<name of the original>`.

    Run it again to go on after an interruption: every file is complete, and its content does not
    depend on where the work stopped. `deepaugment.json`, beside the class folders, holds the
    settings; other settings are refused.

    Args:
        network: "edsr" or "cae".
        weights: a file of PyTorch (the published one), safetensors or npz (ours); or its tensors
            by name.
        dataset: "digits", a tfds name, or a folder of images (docs/data.md).
        out: folder to write; made if it is missing.
        split: name of the split.
        size: shorter side of the written images; 0: that of the network's output, as published;
            None: the originals' if they have at most 128 pixels, else 0.
        working_size: shorter side of the network's input, at least 16; 0: as published (128 for
            EDSR, 512 for the CAE), or half of `size` for EDSR and twice `size` for the CAE if
            that is less.
        grid: the longer side of the network's input is a multiple of it; 0: a sixteenth of the
            shorter side.
        limit: number of images to distort; 0: all.
        image_format: "jpeg" or "png".
        quality: of JPEG files, 1 to 100.
        seed: everything random is a function of it.
        batch_size: images at a time; 0: up to 8, as fits the memory.
        data_dir: where tfds data was prepared; empty: tfds's default.
        bad_images: "refuse" originals that cannot be read, when the work comes to them (what is
            written by then stays, and the same call with "skip" goes on), or "skip" them: they get
            no copy, and `deepaugment.skipped.*.json` names them.
        labels: a folder's table of labels, as `config.data.labels`.
        test_fraction: share that is held out of a folder without a test split, as
            `config.data.test_fraction`; "train" is the rest.
        shard: (i, n) does the i-th of n parts of the work. Parts may run at the same time, on
            several machines, into the same folder.
        progress: whether to show it.

    Returns:
        The folder `out/<split>`.

    Raises:
        FileNotFoundError: the dataset or the file of weights is not there.
        ValueError: an argument is not as described, the weights do not fit the network, two
            originals have the same name, or `out` holds a copy made with other settings.
        BadImageError: an original cannot be read, and such images are refused.
        OSError: `out` cannot be written.
    """
    entry = networks.get(network)
    _check(limit, quality, image_format, shard, batch_size)
    check_seed(seed)
    tensors = weights if isinstance(weights, Mapping) else layers.read_file(weights)
    pristine = entry.check(tensors)
    images = open_images(
        dataset,
        split,
        data_dir=data_dir,
        size=size or 0,
        bad_images=bad_images,
        labels=labels,
        test_fraction=test_fraction,
    )
    sizes = _sizes(entry, images, size, working_size, grid)
    targets = _paths(images, image_format)
    folder = paths.expand(out) / split
    files.make_folder(folder, "out")
    settings = {
        "network": network,
        "weights": layers.digest(pristine),
        "dataset": files.identity(dataset),
        "split": split,
        "originals": len(images),
        "images": min(limit or len(images), len(images)),
        "limit": limit,
        **{f"{name}_size": value for name, value in sizes._asdict().items() if name != "grid"},
        "grid": sizes.grid,
        "format": image_format,
        "quality": quality if image_format == "jpeg" else None,
        "seed": seed,
        "revision": _REVISION,
    }
    if labels:
        settings["labels"] = labels
    if images.held_out:
        settings["held_out"] = images.held_out
    _check_folder(folder, settings)

    work = plan.make(
        jax.random.key(seed),
        len(images),
        network=sorted(networks.NETWORKS).index(network),
        limit=limit,
        shuffle=images.shuffled,
    )
    runs = work.runs[shard[0] :: shard[1]]
    names = images.names
    without = skipped(folder) if bad_images == "skip" else set()
    there = _existing(folder) | {targets[i] for i, name in enumerate(names) if name in without}
    open_runs = [run for run in runs if any(targets[i] not in there for i in run.indices)]
    total = sum(len(run.indices) for run in runs)
    job = _Job(
        entry, pristine, sizes, work, _program(network), batch_size or _batch_size(entry, sizes)
    )
    bad: set[str] = set()
    counting = Count(total, "distorting", unit="images", show=progress)
    with ThreadPoolExecutor() as pool, counting as count:
        count.skip(total - sum(len(run.indices) for run in open_runs))
        for run, originals in _ahead(pool, images, open_runs):
            bad |= {names[i] for i, o in zip(run.indices, originals, strict=True) if o is None}
            saved: list[Any] = []
            for copies in _distort_run(pool, job, run, originals):
                for index, pixels in copies:
                    path = folder / targets[index]
                    saved.append(
                        pool.submit(_save, path, pixels, sizes.written, image_format, quality)
                    )
                count.update(len(copies))
            for future in saved:
                future.result()
    if bad:
        own = folder / SKIPPED.format("{}-of-{}".format(*shard))
        files.write_json(own, sorted(bad | set(files.read_json(own) or ())))
    return folder


class _Job(NamedTuple):
    """What the distortion of every run needs.

    Attributes:
        entry: the network.
        pristine: its weights, undamaged.
        sizes: sizes of the images.
        work: the plan, which has the keys.
        forward: the compiled forward pass.
        rows: images at a time.
    """

    entry: networks.Entry
    pristine: Any
    sizes: Sizes
    work: plan.Plan
    forward: Any
    rows: int


def _distort_run(
    pool: ThreadPoolExecutor, job: _Job, run: plan.Run, originals: Sequence[Image.Image | None]
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Distorts the images of one run, which share damaged weights.

    Args:
        pool: scales the images.
        job: network, weights and sizes.
        run: the run.
        originals: its images; None for one that cannot be read.

    Yields:
        For each batch, the index and the copy, uint8 `[H, W, 3]`, of each of its images.
    """
    readable = [i for i, original in enumerate(originals) if original is not None]
    if not readable:
        return
    params = layers.to_params(
        job.entry.layers, job.entry.damage(job.work.run_key(run), job.pristine)
    )
    found = [originals[i] for i in readable]
    scaled = list(pool.map(functools.partial(scale, sizes=job.sizes), found))
    indices = run.indices[readable]
    keys = job.work.image_keys(indices)
    for batch in _batches(scaled, job.rows):
        # The batch is filled up, so that there is one program per shape.
        filled = np.resize(batch, job.rows)
        stack = np.stack([scaled[i] for i in filled])
        result = np.asarray(job.forward(params, keys[filled], stack))
        yield [(int(indices[i]), pixels) for i, pixels in zip(batch, result, strict=False)]


@functools.cache
def _program(network: str) -> Any:
    """The compiled forward pass, kept for the next call."""
    options = compiler.jit_options(jax.default_backend())
    forward = jax.jit(networks.get(network).forward, compiler_options=options or None)

    def name(params: Any, keys: jax.Array, images: np.ndarray) -> str:
        count, height, width, _ = images.shape
        return f"{network} for {count} images of {height}x{width}"

    return Announced(forward, name)


def scale(image: Image.Image, sizes: Sizes) -> np.ndarray:
    """Scales an image to the network's input, uint8 `[H, W, 3]`."""
    width, height = image.size
    short, long = sorted((width, height))
    if long > MAX_ASPECT * short:
        margin = (long - MAX_ASPECT * short) // 2
        box = (margin, 0, width - margin, height) if width == long else None
        image = image.crop(box or (0, margin, width, height - margin))
        width, height = image.size
        short, long = sorted((width, height))
    side = sizes.working
    # If the grid is 1 the fraction is cut off, as in torchvision.
    longer = int(side * long / short / sizes.grid + (0.5 if sizes.grid > 1 else 0)) * sizes.grid
    longer = side if long == short else max(longer, side)
    target = (side, longer) if width == short else (longer, side)
    if image.size != target:
        image = image.resize(target, Image.Resampling.BILINEAR)
    return np.asarray(image)


def _save(path: Path, pixels: np.ndarray, size: int, image_format: str, quality: int) -> None:
    image = Image.fromarray(pixels)
    if size and min(image.size) != size:
        target = [round(side * size / min(image.size)) for side in image.size]
        image = image.resize((target[0], target[1]), Image.Resampling.BILINEAR)
    contents = io.BytesIO()
    options = {"quality": quality} if image_format == "jpeg" else {}
    image.save(contents, format=image_format.upper(), **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, lambda partial: partial.write_bytes(contents.getvalue()))


def _ahead(
    pool: ThreadPoolExecutor, images: NamedImages, runs: Sequence[plan.Run]
) -> Iterator[tuple[plan.Run, list[Image.Image | None]]]:
    """Reads a run's images while the run before is distorted."""
    waiting = None
    for run in runs:
        reading = pool.submit(images.read, run.indices.tolist())
        if waiting is not None:
            yield waiting[0], waiting[1].result()
        waiting = (run, reading)
    if waiting is not None:
        yield waiting[0], waiting[1].result()


def _batches(images: Sequence[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Yields indices of images of one shape, at most `rows` at a time."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(i)
    for places in shapes.values():
        for start in range(0, len(places), rows):
            yield np.array(places[start : start + rows])


def _sizes(
    entry: networks.Entry, images: NamedImages, size: int | None, working_size: int, grid: int
) -> Sizes:
    for name, value in (("size", size or 0), ("working_size", working_size), ("grid", grid)):
        check_count(name, value)
    if working_size and working_size < MIN_WORKING_SIZE:
        raise ValueError(f"working_size must be at least {MIN_WORKING_SIZE}, got {working_size}")
    if size is None:
        first = min(first_readable(images).size)
        size = first if first <= SMALL else 0
    if not working_size:
        wanted = int(size * entry.ratio) if size else entry.working_size
        working_size = max(MIN_WORKING_SIZE, min(entry.working_size, wanted))
    return Sizes(working_size, size, grid or max(1, working_size // 16))


def first_readable(images: NamedImages) -> Image.Image:
    """The first image that can be read.

    Raises:
        BadImageError: the first image cannot be read and such images are refused, or no image
            can be read.
    """
    for i in range(len(images)):
        (image,) = images.read([i])
        if image is not None:
            return image
    raise BadImageError(f"none of {len(images)} images can be read")


def _batch_size(entry: networks.Entry, sizes: Sizes) -> int:
    largest = 4 * entry.floats_per_pixel * sizes.working**2
    return int(np.clip(_LARGEST_ACTIVATION // largest, 1, _MAX_BATCH))


def _paths(images: NamedImages, image_format: str) -> list[str]:
    """The file of every copy: the original's name, with the extension of the copy's format."""
    names, endings = images.names, FORMATS[image_format]
    paths = []
    for i, name in enumerate(names):
        suffix = images.suffixes[i] if images.suffixes else ""
        paths.append(name + (suffix if suffix.lower() in endings else endings[0]))
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(
            f"two images are called {twice!r} and differ only in their extensions; rename one"
        )
    return paths


def _existing(folder: Path) -> set[str]:
    """The files below a folder, as paths relative to it."""
    return {
        os.path.relpath(os.path.join(where, name), folder)
        for where, _, names in os.walk(folder)
        for name in names
    }


def _check_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    manifest = folder / MANIFEST
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if foreign and not manifest.exists():
        raise ValueError(
            f"{str(folder)!r} holds {foreign[0]!r} but no {MANIFEST}, so it was not made here; "
            "write to an empty folder"
        )
    files.check_settings(manifest, settings, "a copy made")


def _check(
    limit: int, quality: int, image_format: str, shard: tuple[int, int], batch_size: int
) -> None:
    check_name("image_format", image_format, FORMATS)
    check_count("limit", limit)
    check_count("batch_size", batch_size)
    check_count("quality", quality, low=1, high=100)
    if not isinstance(shard, tuple | list) or not all(isinstance(part, int) for part in shard):
        raise ValueError(f"shard must be (i, n), two whole numbers, got {shard!r}")
    if len(shard) != 2 or not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard must be (i, n) with 0 <= i < n, got {shard}")
