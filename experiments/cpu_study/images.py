"""The images of the study: which train, CIFAR-10-C made anew from the test images, and its fifth.

Everything here follows from the folder of images and the size: no draw depends on a run. The
digests of all of it are committed beside the results.
"""

import dataclasses
import fnmatch
import functools
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from augmax_jax.corruption_sets import Source
from augmax_jax.corruption_sets import writer as benchmark_writer
from augmax_jax.corruptions import BENCHMARK
from augmax_jax.runtime import files

logger = logging.getLogger(__name__)

FACTS = "images.json"
ALSO = "images-{}.json"  # the same images as another processor rounds them
SETS = "images*.json"
TABLE = "labels.csv"
FULL = "cifar10_c"
FIFTH = "cifar10_c_fifth"
DATA = "AUGMAX_CIFAR10"  # environment variable with the folder of images


@dataclasses.dataclass(frozen=True)
class Size:
    """How many images take part.

    Attributes:
        train: training images of each class, evenly spaced over the names of its files.
        every: of the test images of each class, each one of so many is in the fifth.
        side: of the images, in pixels.
        seed: of the corruptions.
    """

    train: int = 1100
    every: int = 5
    side: int = 32
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the images of a study lie.

    Attributes:
        data: folder with `train/<class>/` and `test/<class>/`.
        workdir: the folder of the study.
    """

    data: Path
    workdir: Path

    @property
    def table(self) -> Path:
        """The table of the images that take part."""
        return self.workdir / TABLE

    @property
    def full(self) -> Path:
        """The corrupted images, all of them."""
        return self.workdir / FULL

    @property
    def fifth(self) -> Path:
        """The corrupted images that every run is measured on."""
        return self.workdir / FIFTH


def prepare(place: Place, size: Size, *, progress: bool = True) -> dict[str, Any]:
    """Makes what is missing of the study's images.

    Args:
        place: where they lie.
        size: how many there are.
        progress: whether to draw a bar.

    Returns:
        The facts that identify the images, as in `images.json`; the same on every machine whose
        arithmetic gives the same pixels.

    Raises:
        FileNotFoundError: the folder of images is not there or has another layout.
        ValueError: it has too few images, or the folder of the study holds other ones.
    """
    place.workdir.mkdir(parents=True, exist_ok=True)
    kept = files.read_json(place.workdir / FACTS)
    settings = dataclasses.asdict(size)
    if kept is not None:
        if kept["size"] != settings:
            raise ValueError(
                f"{place.workdir} holds images of another size ({kept['size']}): use another "
                "--workdir"
            )
        if place.table.is_file() and all(
            (place.fifth / f"{name}.npy").is_file() for name in (*BENCHMARK, "labels")
        ):
            return kept
    names = _choose(place.data, size)
    lines = ["file,label,split"]
    for split, by_class in names.items():
        lines += [f"{split}/{c}/{n},{c},{split}" for c, ns in by_class.items() for n in ns]
    text = "\n".join(lines) + "\n"
    files.write_text(place.table, text)
    source = Source(str(place.data), "test", benchmark="cifar", image_size=size.side)
    with jax.enable_x64(False):  # in float64 the pixels would differ
        benchmark_writer.generate(
            source, place.full, layout="npy", seed=size.seed, progress=progress
        )
    _take_fifth(place, size)
    facts = {
        "size": settings,
        "classes": list(names["train"]),
        "images": {s: sum(map(len, by.values())) for s, by in names.items()},
        "table": _digest([text.encode()]),
        "files": {
            split: _digest(
                (place.data / split / c / n).read_bytes() for c, ns in by.items() for n in ns
            )
            for split, by in names.items()
        },
        "corruptions": {
            folder.name: {
                name: _digest([np.load(folder / f"{name}.npy").tobytes()])
                for name in ("labels", *BENCHMARK)
            }
            for folder in (place.full, place.fifth)
        },
    }
    files.write_json(place.workdir / FACTS, facts)
    return facts


def identity(facts: dict[str, Any]) -> str:
    """One digest of all facts, which a run's JSON carries."""
    return _digest([files.dumps(facts).encode()])


def keep(facts: dict[str, Any], folder: Path, also: str = "") -> None:
    """Writes the facts beside the results, or compares them with those that are there.

    Another processor may round a pixel otherwise, which is no fault of the images. If the user
    says so by a name, the set counts as the same from then on.

    Args:
        facts: from `prepare`.
        folder: of the results.
        also: the name under which other facts than those of `images.json` are kept.

    Raises:
        ValueError: `also` is given, and more than corrupted pixels differs, or the name is taken.
    """
    known = list(read(folder).values())
    first = folder / FACTS
    if not known:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(first, facts)
        return
    if facts in known:
        return
    differing = _rounded(facts, files.read_json(first) or {})
    if not also:
        logger.warning(
            "the images are not those of %s: results of this machine do not belong into one table "
            "with the ones that lie there%s",
            first,
            f"; if this processor only rounds {', '.join(differing)} otherwise, say so by "
            "`prepare --also NAME`"
            if differing
            else "",
        )
        return
    if not differing:
        raise ValueError(f"the images differ from those of {first} in more than corrupted pixels")
    path = folder / ALSO.format(also)
    if path.exists():
        raise ValueError(f"{path} has other images: give this set another name")
    files.write_json(path, facts)


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The facts of all sets of images that count as the same in a folder of results, by stem."""
    paths = sorted(folder.glob(SETS), key=lambda path: path.stem)
    return {path.stem: files.read_json(path) for path in paths}


def same(digest: str, folder: Path) -> set[str]:
    """The digests of the sets that count as the same as this one in a folder of results."""
    known = set(rounded(read(folder)))
    return known if digest in known else {digest}


def rounded(results: Mapping[str, Any]) -> dict[str, list[str]]:
    """Digest -> the corruptions that are rounded otherwise than in `images.json`.

    Args:
        results: the files of a folder of results, by stem.
    """
    first = results.get(Path(FACTS).stem)
    sets = [facts for stem, facts in results.items() if fnmatch.fnmatch(stem + ".json", SETS)]
    return {identity(facts): _rounded(facts, first) for facts in sets if first is not None}


def _rounded(facts: Mapping[str, Any], first: Mapping[str, Any]) -> list[str]:
    """The corruptions whose pixels differ, if nothing else differs between two sets of images."""
    ours, theirs = facts.get("corruptions", {}), first.get("corruptions", {})
    rest = [{k: v for k, v in f.items() if k != "corruptions"} for f in (facts, first)]
    if rest[0] != rest[1] or ours.keys() != theirs.keys():
        return []
    found = {n for folder in ours for n in BENCHMARK if ours[folder][n] != theirs[folder][n]}
    labels = all(ours[folder]["labels"] == theirs[folder]["labels"] for folder in ours)
    return [name for name in BENCHMARK if name in found] if labels else []


def _choose(data: Path, size: Size) -> dict[str, dict[str, list[str]]]:
    """Split -> class -> the names of the images that take part, in order."""
    for split in ("train", "test"):
        if not (data / split).is_dir():
            raise FileNotFoundError(
                f"there is no folder {str(data / split)!r}: --data (or {DATA}) names a folder "
                "with train/<class>/ and test/<class>/, the images of CIFAR-10"
            )
    classes = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    found: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for split, by_class in found.items():
        for name in classes:
            folder = data / split / name
            there = sorted(os.listdir(folder)) if folder.is_dir() else []
            wanted = size.train if split == "train" else size.every
            if len(there) < wanted:
                raise ValueError(
                    f"{str(folder)!r} has {len(there)} images, and the study needs {wanted}"
                )
            if split == "train":
                there = [there[i * len(there) // wanted] for i in range(wanted)]
            by_class[name] = there
    return found


def _take_fifth(place: Place, size: Size) -> None:
    """Copies the rows of the fifth out of the full set."""
    severities = files.read_json(place.full / benchmark_writer.STAMP)["severities"]
    labels = np.load(place.full / "labels.npy").reshape(len(severities), -1)[0]
    rows = np.sort(
        np.concatenate([np.flatnonzero(labels == c)[:: size.every] for c in np.unique(labels)])
    )
    place.fifth.mkdir(exist_ok=True)
    stamp = files.read_json(place.full / benchmark_writer.STAMP)
    stamp |= {"images": len(rows), "every": size.every}
    files.write_json(place.fifth / benchmark_writer.STAMP, stamp)
    for name in ("labels", *BENCHMARK):
        full = np.load(place.full / f"{name}.npy", mmap_mode="r")
        blocks = full.reshape(len(severities), len(labels), *full.shape[1:])
        part = np.ascontiguousarray(blocks[:, rows]).reshape(-1, *full.shape[1:])
        files.write_atomically(place.fifth / f"{name}.npy", functools.partial(_save, array=part))


def _save(path: Path, *, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _digest(parts: Iterable[bytes]) -> str:
    check = hashlib.sha256()
    for part in parts:
        check.update(len(part).to_bytes(8, "big"))
        check.update(part)
    return check.hexdigest()
