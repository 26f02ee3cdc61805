"""One entrance: `open_benchmark` finds a robustness set by name or path."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from augmax_jax.data.benchmarks import arrays, folders, records
from augmax_jax.data.benchmarks.benchmark import Benchmark, Request
from augmax_jax.runtime.errors import check_name


@dataclasses.dataclass(frozen=True)
class Published:
    """Facts of a set that is published as files.

    Attributes:
        folder: what its archive extracts to.
        layout: "npy" or "folder".
        num_classes: how many it has.
        images: per corruption and severity; 0 if that is not fixed.
        where: how to get it.
        constants: whose severities it has.
    """

    folder: str
    layout: str
    num_classes: int
    images: int
    where: str
    constants: str


CORRUPTIONS = {
    "cifar10_c": Published("CIFAR-10-C", "npy", 10, 10_000, "Zenodo record 2535967", "cifar"),
    "cifar100_c": Published("CIFAR-100-C", "npy", 100, 10_000, "Zenodo record 3555552", "cifar"),
    "tiny_imagenet_c": Published(
        "Tiny-ImageNet-C", "folder", 200, 0, "Zenodo record 2536630", "tiny_imagenet"
    ),
    "imagenet_c": Published(
        "ImageNet-C", "folder", 1000, 50_000, "Zenodo record 2235448", "imagenet"
    ),
}
# Without a version: the one that the AugMax paper measures.
CIFAR10_1 = {"cifar10_1": "v4", "cifar10_1_v4": "v4", "cifar10_1_v6": "v6"}
# Whose severities the corrupted sets of tfds have.
TFDS_CORRUPTIONS = {"cifar10_corrupted": "cifar", "imagenet2012_corrupted": "imagenet"}
IMAGENET_V2 = ("matched-frequency", "threshold-0.7", "topimages")
SUBSETS = {"imagenet_a": "imagenet-a", "imagenet_r": "imagenet-r"}
IMAGENET_CLASSES = 1000
SUBSET_CLASSES = 200  # of ImageNet-A and -R

NAMES = (
    *CORRUPTIONS,
    *TFDS_CORRUPTIONS,
    *CIFAR10_1,
    "imagenet_v2",
    *(f"imagenet_v2/{kind}" for kind in IMAGENET_V2),
    *SUBSETS,
)
"""Names that `open_benchmark` knows; it also takes the path of a generated set."""


def constants_of(name: str) -> str:
    """Whose severities a corrupted set has: "cifar", "tiny_imagenet" or "imagenet".

    Args:
        name: as of `open_benchmark`; nothing but a generated set's stamp is read.

    Returns:
        Empty for a set without corruptions, and for a folder that does not say.

    Raises:
        ValueError: the stamp of a generated set is damaged.
    """
    if name in CORRUPTIONS:
        return CORRUPTIONS[name].constants
    if name in NAMES:
        return TFDS_CORRUPTIONS.get(name, "")
    return str(arrays.read_stamp(Path(name).expanduser()).get("benchmark", ""))


def open_benchmark(
    name: str,
    *,
    class_names: Sequence[str],
    image_size: int,
    root: str | os.PathLike[str] = "",
    data_dir: str = "",
    bad_images: str = "refuse",
    process_index: int = 0,
    process_count: int = 1,
) -> Benchmark:
    """Opens a published robustness set, or one in the same layout.

    Nothing is downloaded. What can be checked without decoding images is checked now.

    Args:
        name: one of `NAMES`, or the path of a folder with `<corruption>.npy` and
            `labels.npy`, or with `<corruption>/<severity>/<class>/*`. CIFAR-10.1 and
            ImageNet-A and -R are read from files if those are found, else from tfds.
        class_names: the model's classes, in the order of its logits.
        image_size: side of the images that the model takes.
        root: folder that holds the published folder (`CIFAR-10-C`, ...), or that folder.
        data_dir: where tfds data was prepared; empty: tfds's default.
        bad_images: "refuse" unreadable images, or "skip" and name them in the log.
        process_index: this host.
        process_count: number of hosts.

    Returns:
        The benchmark.

    Raises:
        FileNotFoundError: it is not there, or parts are missing; the message says where it
            was looked for.
        ValueError: an unknown name; or classes, shapes, labels or counts are not those of
            the set or of the model.
    """
    check_name("bad_images", bad_images, ("refuse", "skip"))
    request = Request(
        class_names=tuple(class_names),
        image_size=image_size,
        bad_images=bad_images,
        data_dir=os.path.expanduser(data_dir),
        place={"seed": 0, "process_index": process_index, "process_count": process_count},
    )
    benchmark = _open(name, Path(root).expanduser(), request)
    return dataclasses.replace(benchmark, constants=constants_of(name))


def _open(name: str, root: Path, request: Request) -> Benchmark:
    if name in CORRUPTIONS:
        return _open_published(name, CORRUPTIONS[name], root, request)
    if name in TFDS_CORRUPTIONS:
        return records.open_corruptions(name, request)
    if name in CIFAR10_1:
        version = CIFAR10_1[name]
        folder = _find(root, "CIFAR-10.1", f"cifar10.1_{version}_data.npy")
        if folder:
            return arrays.open_cifar10_1(version, folder, request)
        dataset = f"cifar10_1/{version}"
        return records.open_shift(name, dataset, request, num_classes=10, natural=False)
    if name in SUBSETS:
        folder = _find(root, SUBSETS[name])
        if folder:
            return folders.open_shift(name, folder, request, num_classes=SUBSET_CLASSES)
        return records.open_shift(name, name, request, num_classes=SUBSET_CLASSES, natural=True)
    if name in NAMES:
        dataset = name if "/" in name else f"{name}/{IMAGENET_V2[0]}"
        return records.open_shift(
            dataset, dataset, request, num_classes=IMAGENET_CLASSES, natural=True
        )
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if os.sep in name or name.startswith((".", "~")):
            raise FileNotFoundError(f"there is no folder {str(folder)!r}")
        check_name("benchmark", name, NAMES)
    label = folder.resolve().name
    if (folder / "labels.npy").is_file():
        return arrays.open_corruptions(label, folder, request)
    return folders.open_corruptions(label, folder, request)


def _open_published(name: str, facts: Published, root: Path, request: Request) -> Benchmark:
    marker = "labels.npy" if facts.layout == "npy" else "brightness"
    folder = _find(root, facts.folder, marker)
    if folder is None:
        layout = (
            "<corruption>.npy and labels.npy"
            if facts.layout == "npy"
            else "<corruption>/<severity>/<class>/*"
        )
        raise FileNotFoundError(
            f"{name!r} is not there: {str(root / facts.folder)!r} should hold {layout} as "
            f"published ({facts.where})"
        )
    if facts.layout == "npy":
        return arrays.open_corruptions(
            name, folder, request, num_classes=facts.num_classes, rows=facts.images
        )
    return folders.open_corruptions(
        name, folder, request, num_classes=facts.num_classes, images=facts.images
    )


def _find(root: Path, folder: str, marker: str = "") -> Path | None:
    """The published folder below a root; or the root itself, if it has that name or the marker."""
    if (root / folder).is_dir():
        return root / folder
    if root.is_dir() and (root.name == folder or (marker and (root / marker).exists())):
        return root
    return None
