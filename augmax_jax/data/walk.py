"""Walks through folders of images: what is read, and what is left out, with a count."""

import collections
import dataclasses
import logging
import os
from pathlib import Path

from augmax_jax.data.formats import extensions, is_system, needed_plugin

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Found:
    """Images below some folders, and the other files there.

    Attributes:
        paths: the images in the order in which folders were searched, sorted within each folder.
        others: number of other files by extension, in lower case.
        loops: links to a folder that holds the link itself; they are not followed.
    """

    paths: list[str] = dataclasses.field(default_factory=list)
    others: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    loops: list[str] = dataclasses.field(default_factory=list)

    def search(self, folder: str | os.PathLike[str]) -> int:
        """Adds the images at any depth below a folder, sorted; returns how many there are.

        Links to files and folders are followed. Hidden and system files and folders are skipped
        at every level.
        """
        images: list[str] = []
        self._search(os.fspath(folder), images, (_identity(folder),))
        self.paths += sorted(images)
        return len(images)

    def _search(self, folder: str, images: list[str], above: tuple[tuple[int, int], ...]) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_system(entry.name):
                    continue
                if _is_folder(entry):
                    here = _identity(entry.path)
                    if here in above:
                        self.loops.append(entry.path)
                    else:
                        self._search(entry.path, images, (*above, here))
                elif is_image(entry):
                    images.append(entry.path)
                else:
                    self.others[os.path.splitext(entry.name)[1].lower()] += 1

    def warn(self, folder: str | os.PathLike[str]) -> None:
        """Logs the files and links that were left out."""
        if self.others:
            log.warning("%r: %s", os.fspath(folder), self.describe_others())
        for loop in self.loops:
            log.warning("%r leads back to a folder that holds it, and was not followed", loop)

    def describe_others(self) -> str:
        """The files that are no images, such as "3 files were left out: 2 .txt, 1 .json"."""
        total = sum(self.others.values())
        kinds = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{count} {kind or 'without extension'}" for kind, count in kinds)
        plugins = sorted({p for kind in self.others if (p := needed_plugin(kind))})
        hint = f" (to read them: pip install {' '.join(plugins)})" if plugins else ""
        return f"{total} file{' was' if total == 1 else 's were'} left out: {listed}{hint}"


def subfolders(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the folders in a folder, sorted; links are followed, hidden folders skipped."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if _is_folder(e) and not is_system(e.name))


def loose_images(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the images that lie directly in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not is_system(e.name) and is_image(e))


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file with an image's extension, or a broken link that has one.

    A broken link counts, so that reading it raises an error that names it.
    """
    if os.path.splitext(entry.name)[1].lower() not in extensions():
        return False
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # a link to itself
        return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int]:
    found = Path(folder).stat()
    return found.st_dev, found.st_ino
