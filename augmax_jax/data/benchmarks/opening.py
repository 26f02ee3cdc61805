"""Opens a robustness set by name or path."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from augmax_jax.corruptions import BENCHMARK
from augmax_jax.data.benchmarks import folder_sets, npy_sets, tfds_sets, wnids
from augmax_jax.data.benchmarks.benchmark import Benchmark, Request
from augmax_jax.data.settings import BAD_IMAGES
from augmax_jax.runtime.errors import check_name
from augmax_jax.runtime.paths import expand


@dataclasses.dataclass(frozen=True)
class Published:
    """Facts of a set that is published as files; docs/data.md lists where.

    Attributes:
        folder: name of the folder to which its archive extracts.
        layout: "npy" or "folder".
        num_classes: number of its classes.
        images: images per corruption and severity; 0 if the number is not fixed.
        where: the record that has it for download.
        constants: the benchmark whose severities it has.
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
# A name without a version means the version that the AugMax paper measures.
CIFAR10_1 = {"cifar10_1": "v4", "cifar10_1_v4": "v4", "cifar10_1_v6": "v6"}
# The benchmarks whose severities the corrupted sets of tfds have.
TFDS_CORRUPTIONS = {"cifar10_corrupted": "cifar", "imagenet2012_corrupted": "imagenet"}
# Versions of ImageNet-V2, and the folders of their archives, newer name first.
IMAGENET_V2 = {
    "matched-frequency": (
        "imagenetv2-matched-frequency-format-val",
        "imagenetv2-matched-frequency",
    ),
    "threshold-0.7": ("imagenetv2-threshold0.7-format-val", "imagenetv2-threshold0.7"),
    "topimages": ("imagenetv2-top-images-format-val", "imagenetv2-top-images"),
}
USUAL_V2 = "matched-frequency"
SUBSETS = {"imagenet_a": "imagenet-a", "imagenet_r": "imagenet-r"}
IMAGENET_CLASSES = wnids.COUNT
SUBSET_CLASSES = 200  # number of classes of ImageNet-A and -R

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
    """The benchmark whose severities a corrupted set has: "cifar", "tiny_imagenet" or "imagenet".

    Args:
        name: as in `open_benchmark`; at most the settings file of a generated set is read.

    Returns:
        The benchmark; empty for a set without corruptions and for a folder without settings.

    Raises:
        ValueError: the settings file of a generated set is damaged.
    """
    if name in CORRUPTIONS:
        return CORRUPTIONS[name].constants
    if name in NAMES:
        return TFDS_CORRUPTIONS.get(name, "")
    return str(npy_sets.read_stamp(expand(name)).get("benchmark", ""))


def describe(name: str) -> str:
    """What a set is and where it comes from, in a line.

    Raises:
        ValueError: it is none of `NAMES`.
    """
    check_name("benchmark", name, NAMES)
    if name in CORRUPTIONS:
        facts = CORRUPTIONS[name]
        return f"{facts.folder}, {facts.num_classes} classes; {facts.where}"
    if name in TFDS_CORRUPTIONS:
        return "prepared by TensorFlow Datasets"
    if name in CIFAR10_1:
        return f"CIFAR-10.1 {CIFAR10_1[name]}; its files, or TensorFlow Datasets"
    version = name.partition("/")[2] or USUAL_V2
    folder = SUBSETS.get(name) or IMAGENET_V2[version][0]
    return f"{folder}; its archive, or TensorFlow Datasets"


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
            ImageNet-V2, -A and -R are read from files if they are found, else from tfds. A model
            may have only some classes of ImageNet's sets; it is evaluated on these.
        class_names: the model's classes, in the order of its logits.
        image_size: side of the images that the model takes.
        root: folder that holds the published folder (`CIFAR-10-C`, ...), or that folder itself.
        data_dir: folder of prepared tfds data; empty: tfds's default.
        bad_images: "refuse" unreadable images, or "skip" them and name them in the log.
        process_index: number of this host, from 0.
        process_count: number of hosts.

    Returns:
        The benchmark.

    Raises:
        FileNotFoundError: the set or a part of it is missing; the message says where the
            function looked.
        ValueError: the name is unknown; or classes, shapes, labels or counts are not those of
            the set or of the model.
    """
    check_name("bad_images", bad_images, BAD_IMAGES)
    request = Request(
        class_names=tuple(class_names),
        image_size=image_size,
        bad_images=bad_images,
        data_dir=data_dir,
        host={"seed": 0, "process_index": process_index, "process_count": process_count},
    )
    benchmark = _open(name, expand(root), request)
    return dataclasses.replace(benchmark, constants=constants_of(name))


def _open(name: str, root: Path, request: Request) -> Benchmark:
    if name in CORRUPTIONS:
        return _open_published(name, CORRUPTIONS[name], root, request)
    if name in TFDS_CORRUPTIONS:
        return tfds_sets.open_corruptions(name, request, partly=name.startswith("imagenet"))
    if name in CIFAR10_1:
        version = CIFAR10_1[name]
        folder = _find(root, "CIFAR-10.1", f"cifar10.1_{version}_data.npy")
        if folder:
            return npy_sets.open_cifar10_1(version, folder, request)
        dataset = f"cifar10_1/{version}"
        return tfds_sets.open_shift(name, dataset, request, num_classes=10, natural=False)
    if name in SUBSETS:
        return _open_natural(
            name, name, (SUBSETS[name],), root, request, num_classes=SUBSET_CLASSES
        )
    if name in NAMES:
        dataset = name if "/" in name else f"{name}/{USUAL_V2}"
        folders = IMAGENET_V2[dataset.partition("/")[2]]
        return _open_natural(dataset, dataset, folders, root, request, num_classes=IMAGENET_CLASSES)
    folder = expand(name)
    if not folder.is_dir():
        if os.sep in name or name.startswith((".", "~", "$")):
            raise FileNotFoundError(f"there is no folder {str(folder)!r}")
        check_name("benchmark", name, NAMES)
    label = folder.resolve().name
    if (folder / "labels.npy").is_file():
        return npy_sets.open_corruptions(label, folder, request)
    return folder_sets.open_corruptions(label, folder, request)


def _open_natural(
    name: str,
    dataset: str,
    folders: Sequence[str],
    root: Path,
    request: Request,
    *,
    num_classes: int,
) -> Benchmark:
    """A set of new photographs, from its archive's folder if that exists, else from tfds."""
    found = next((f for f in (_find(root, folder) for folder in folders) if f), None)
    if found:
        return folder_sets.open_shift(name, found, request, num_classes=num_classes)
    try:
        return tfds_sets.open_shift(name, dataset, request, num_classes=num_classes, natural=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}. Or extract the set's own archive, so that there is "
            f"{str(root / folders[0])!r} (config.evaluate.data_dir is the folder above it)"
        ) from error


def _open_published(name: str, facts: Published, root: Path, request: Request) -> Benchmark:
    npy = facts.layout == "npy"
    folder = _find(root, facts.folder, "labels.npy" if npy else "")
    if folder is None and not npy and set(BENCHMARK) & set(folder_sets.find_corruptions(root)):
        folder = root
    if folder is None:
        layout = "<corruption>.npy and labels.npy" if npy else "<corruption>/<severity>/<class>/*"
        raise FileNotFoundError(
            f"{name!r} is not there: {str(root / facts.folder)!r} should hold {layout} as "
            f"published ({facts.where})"
        )
    if npy:
        return npy_sets.open_corruptions(
            name, folder, request, num_classes=facts.num_classes, rows=facts.images
        )
    return folder_sets.open_corruptions(
        name,
        folder,
        request,
        num_classes=facts.num_classes,
        images=facts.images,
        partly=name.startswith("imagenet"),
    )


def _find(root: Path, folder: str, marker: str = "") -> Path | None:
    """The published folder below a root; or the root itself, if it has that name or the marker."""
    if (root / folder).is_dir():
        return root / folder
    if root.is_dir() and (root.name == folder or (marker and (root / marker).exists())):
        return root
    return None
