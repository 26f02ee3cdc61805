"""ImageNet's classes: WordNet identifiers such as n01440764, and their numbers 0 to 999."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

COUNT = 1000
_WNID = re.compile(r"n\d{8}")


def are_wnids(names: Sequence[str]) -> bool:
    """Whether all names are WordNet identifiers."""
    return all(_WNID.fullmatch(name) for name in names)


def are_numbers(names: Sequence[str], count: int) -> bool:
    """Whether the names are 0 to `count` - 1, in any order."""
    return sorted(names) == sorted(map(str, range(count)))


def of_numbers(names: Sequence[str], class_names: Sequence[str], what: str) -> list[str]:
    """The model's names of classes that a set names by their number in ImageNet.

    The numbers count the 1000 identifiers in ascending order. The classes of a model of 1000
    classes either have these identifiers as names, or are in that order.

    Args:
        names: numbers from 0 to 999, as text.
        class_names: classes of the model.
        what: the set, for messages.

    Raises:
        ValueError: the model has not 1000 classes, and the table of identifiers is missing.
    """
    count = len(names)
    if len(class_names) == count:
        known = sorted(class_names) if are_wnids(class_names) else list(class_names)
        if are_numbers(class_names, count):
            known = [str(i) for i in range(count)]
    else:
        known = list(imagenet_classes(what, len(class_names)))
    return [known[int(name)] for name in names]


def imagenet_classes(what: str, classes: int) -> Sequence[str]:
    """The 1000 identifiers in order, from a table that comes with tfds (which is not imported)."""
    found = importlib.util.find_spec("tensorflow_datasets")
    for folder in (found.submodule_search_locations or ()) if found else ():
        table = Path(folder) / "datasets" / "imagenet2012" / "labels.txt"
        if table.is_file():
            names = table.read_text(encoding="utf-8").split()
            if len(names) == COUNT and are_wnids(names):
                return sorted(names)
    raise ValueError(
        f"{what} calls its classes by number, and the model has {classes} classes, not {COUNT}: "
        "which number is which class is read from tensorflow_datasets, so install that, or rename "
        "the folders to WordNet identifiers"
    )
