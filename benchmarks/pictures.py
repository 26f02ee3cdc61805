"""A folder of textured JPEG pictures with ImageNet's sizes, to try the input pipeline on.

    python -m benchmarks.pictures FOLDER                  # 5,000 to train on, 500 to test on
    python -m benchmarks.pictures FOLDER --source PHOTOS  # made from the photographs of a folder

A picture is a sum of noises of all scales, as photographs are, with stripes whose angle, width and
colour are its class's. With `--source`, a photograph of the class takes the place of the coarse
noise: it is enlarged, and the fine noise gives back the detail that it then lacks. Sizes vary as
ImageNet's do (most 500x375 or 375x500) and files take as many bytes per pixel, because the time of
decoding depends on both. The same arguments make the same pictures.
"""

import argparse
import concurrent.futures
import dataclasses
import os
from pathlib import Path

import numpy as np
from PIL import Image

COMMON = 375, 500  # the sides of more than half of ImageNet's pictures
_OTHER = 160, 640  # the least and the greatest side of the others
_GREY = 0.02  # share of pictures in one channel
_QUALITY = 80, 96  # of JPEG; 0.6 bytes per pixel on average, as in ImageNet
_STRENGTH = 0.25  # of the noise of each scale
_COARSE, _FINE = (128, 64, 32, 16), (8, 4, 2, 1)  # pixels per value of the noises


@dataclasses.dataclass(frozen=True)
class Task:
    """One picture: its file, what decides its content, and the photograph it is made from."""

    path: Path
    seed: tuple[int, ...]
    label: int
    classes: int
    source: Path | None = None


def choose_size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of a picture."""
    if rng.random() < 0.6:
        short, long = COMMON
        return (long, short) if rng.random() < 0.75 else (short, long)
    width, height = (int(side) for side in rng.integers(*_OTHER, 2, endpoint=True))
    return width, height


def noise(rng: np.random.Generator, width: int, height: int, cells: tuple[int, ...]) -> np.ndarray:
    """Noises of several scales, equally strong as in photographs; float32 `[height, width, 3]`."""
    total = np.zeros((height, width, 3), np.float32)
    for cell in cells:
        shape = -(-height // cell) + 1, -(-width // cell) + 1, 3
        values = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        wide = values.resize((width, height), Image.Resampling.BICUBIC)
        total += _STRENGTH * (np.asarray(wide, np.float32) - 127.5)
    return total


def stripes(width: int, height: int, label: int, classes: int) -> np.ndarray:
    """Coloured stripes that tell the classes apart; float32 `[height, width, 3]`."""
    turn = np.pi * label / classes
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) / (4 + label % 7))
    colour = 25 * (1 + np.cos(2 * turn + np.array([0, 2, 4], np.float32)))
    return wave[..., None] * colour.astype(np.float32)


def draw(rng: np.random.Generator, task: Task) -> Image.Image:
    """The picture of a task."""
    width, height = choose_size(rng)
    if task.source:
        with Image.open(task.source) as photograph:
            wide = photograph.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        values = np.asarray(wide, np.float32)
    else:
        values = 127.5 + noise(rng, width, height, _COARSE)
        values += stripes(width, height, task.label, task.classes)
    values = values + noise(rng, width, height, _FINE)
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    return image.convert("L") if rng.random() < _GREY else image


def write(task: Task) -> int:
    """Draws a picture and writes it; returns the bytes of its file."""
    rng = np.random.default_rng(task.seed)
    image = draw(rng, task)
    image.save(task.path, "JPEG", quality=int(rng.integers(*_QUALITY, endpoint=True)))
    return task.path.stat().st_size


def photographs(source: Path) -> dict[str, list[Path]]:
    """The photographs of a folder by class.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it has no class folders, or one without images.
    """
    from augmax_jax.data.folder import list_classes, list_split

    train = source / "train"
    listing = list_split(source, "train") if train.is_dir() else list_classes(source)
    found: dict[str, list[Path]] = {name: [] for name in listing.class_names}
    for path, label in zip(listing.paths, listing.labels, strict=True):
        found[listing.class_names[label]].append(Path(path))
    return found


def plan(
    folder: Path, counts: dict[str, int], *, classes: int, seed: int, source: Path | None = None
) -> list[Task]:
    """The pictures of a folder, class by class in turn.

    Args:
        folder: where they go, `<folder>/<split>/<class>/*.JPEG`.
        counts: pictures of each split.
        classes: number of classes; with `source`, at most that many of its classes are used.
        seed: decides what the pictures show, with their places in the folder.
        source: a folder of photographs by class, or None.

    Raises:
        ValueError: a split has fewer pictures than there are classes.
    """
    photos = photographs(source) if source else {}
    names = list(photos)[:classes] or [f"class{label:03d}" for label in range(classes)]
    tasks = []
    for number, (split, count) in enumerate(counts.items()):
        if count < len(names):
            raise ValueError(
                f"{split} must have a picture of each of {len(names)} classes, got {count}"
            )
        for place in range(count):
            turn, label = divmod(place, len(names))
            own = photos.get(names[label], [])
            tasks.append(
                Task(
                    path=folder / split / names[label] / f"{turn:05d}.JPEG",
                    seed=(seed, number, place),
                    label=label,
                    classes=len(names),
                    source=own[turn % len(own)] if own else None,
                )
            )
    return tasks


def make(tasks: list[Task], *, processes: int) -> int:
    """Writes the pictures that are not there yet; returns the bytes of those written."""
    missing = [task for task in tasks if not task.path.exists()]
    for folder in {task.path.parent for task in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        return sum(map(write, missing))
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        return sum(pool.map(write, missing, chunksize=16))


def main(arguments: list[str] | None = None) -> None:
    """Makes a folder of pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=5000, help="pictures to train on")
    parser.add_argument("--val", type=int, default=500, help="pictures to test on")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", type=Path, help="folder of photographs by class")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args(arguments)
    counts = {"train": options.train, "val": options.val}
    shared = {"classes": options.classes, "seed": options.seed, "source": options.source}
    tasks = plan(options.folder, counts, **shared)
    written = make(tasks, processes=options.processes)
    print(f"{len(tasks):,} pictures in {options.folder}; {written / 1e6:,.0f} MB written now")


if __name__ == "__main__":
    main()
