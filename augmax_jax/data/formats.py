"""Which files are images, and which names an operating system leaves among them."""

import functools
import importlib

from PIL import Image

# Packages that teach Pillow more formats, and the extensions that they are for.
PLUGINS = {
    "pillow_heif": (".heic", ".heif"),
    "pillow_jxl": (".jxl",),
    "pillow_avif": (".avif",),
}
# Formats that Pillow opens and that hold no photographs: documents, films, icons, tables.
_OTHERS = frozenset(
    [
        "BUFR",
        "CUR",
        "EPS",
        "FITS",
        "FLI",
        "GBR",
        "GRIB",
        "HDF5",
        "ICNS",
        "ICO",
        "IPTC",
        "MPEG",
        "MSP",
        "PDF",
        "WMF",
        "XBM",
        "XPM",
        "XVTHUMB",
    ]
)
_BY_OTHER_PROGRAMS = frozenset(["BUFR", "EPS", "GRIB", "HDF5", "WMF"])
_SYSTEM = frozenset(
    (
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
    )
)


@functools.cache
def extensions() -> frozenset[str]:
    """Extensions of the image files that Pillow and its installed plugins read, lower case."""
    for package in PLUGINS:
        try:
            plugin = importlib.import_module(package)
        except ImportError:
            continue
        if hasattr(plugin, "register_heif_opener"):
            plugin.register_heif_opener()
    known = Image.registered_extensions()
    readable = {e for e, form in known.items() if form in Image.OPEN and form not in _OTHERS}
    return frozenset(readable | {".mpo"})  # a JPEG with a second picture; the first is read


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """The formats that images are decoded from, whatever their extension.

    Those that Pillow hands to another program, such as EPS to Ghostscript, are not among them.
    """
    extensions()  # loads the plugins
    return tuple(form for form in Image.OPEN if form not in _BY_OTHER_PROGRAMS)


def needed_plugin(extension: str) -> str:
    """The package that makes an extension readable; empty if none is known."""
    package = next((name for name, those in PLUGINS.items() if extension in those), "")
    return package.replace("_", "-") if extension not in extensions() else ""


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden or belongs to a system, such as `.DS_Store`, `@eaDir`."""
    return name.startswith(".") or name.lower() in _SYSTEM
