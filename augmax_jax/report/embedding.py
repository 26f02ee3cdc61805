"""Puts pictures into a page as long as it stays small enough to be sent."""

import base64
import io
import warnings

from markupsafe import Markup
from PIL import Image

from augmax_jax.data.images import decode
from augmax_jax.report import page
from augmax_jax.runtime import files, storage
from augmax_jax.runtime.paths import RunPath

AUGMENTATIONS, EVALUATION = 400_000, 600_000
"""Bytes of the pictures of a page's two sections, which with all else stays below 2 MB."""
_SMALL = 60_000  # a PNG file of at most so many bytes is embedded as it is
_LARGE = 200_000  # bytes; a picture that compresses badly is stored more coarsely
_MOST = 32 * 2**20  # bytes of a picture that is read
_WIDTH = 1000  # pixels; a page is no wider


class Pictures:
    """The pictures of a section. Large ones are embedded as WebP, and none beyond the budget.

    Args:
        budget: bytes that all may take together.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget

    def figure(self, path: RunPath, title: str, note: str = "") -> Markup:
        """A picture as a figure, or its name where there is no room left.

        Args:
            path: PNG file; one that cannot be read is left out with a warning.
            title: above the picture.
            note: a remark beside the title.
        """
        try:
            source = self._source(path)
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is no picture ({error}); it was left out", stacklevel=2)
            return page.NOTHING
        name = f"{path.parent.name}/{path.name}"
        return page.fill("picture", title=title, note=note, source=source, name=name)

    def mistakes(self, path: RunPath, title: str) -> Markup:
        """The mistakes of a benchmark as tiles with captions.

        Args:
            path: JSON file of the gallery.
            title: above them.

        Returns:
            HTML, empty where there is no room or the file is damaged.
        """
        try:
            entries = files.read_json(path)
            mistakes = [
                {
                    "source": _address(base64.b64decode(entry["image"]), "png"),
                    "percent": f"{100 * float(entry['confidence']):.0f}",
                    **{key: str(entry[key]) for key in ("label", "prediction", "where")},
                }
                for entry in entries
            ]
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            warnings.warn(f"{path} is damaged ({error}); it was left out", stacklevel=2)
            return page.NOTHING
        size = sum(len(mistake["source"]) for mistake in mistakes)
        if not mistakes or not self._take(size):
            return page.NOTHING
        return page.fill("mistakes", title=title, mistakes=mistakes)

    def _source(self, path: RunPath) -> str:
        if storage.size(path) > _MOST:
            raise ValueError(f"it has more than {_MOST:,} bytes")
        contents = path.read_bytes()
        kind = "png"
        if len(contents) > _SMALL:
            contents, kind = _as_webp(contents), "webp"
        source = _address(contents, kind)
        return source if self._take(len(source)) else ""

    def _take(self, size: int) -> bool:
        if size > self._left:
            return False
        self._left -= size
        return True


def _as_webp(contents: bytes) -> bytes:
    image = decode(contents, "the picture", min_side=1)
    if image.width > _WIDTH:
        height = round(image.height * _WIDTH / image.width)
        image = image.resize((_WIDTH, max(1, height)), Image.Resampling.LANCZOS)
    encoded = b""
    for quality in (85, 60, 30):
        buffer = io.BytesIO()
        image.save(buffer, format="WEBP", quality=quality)
        encoded = buffer.getvalue()
        if len(encoded) <= _LARGE:
            break
    return encoded


def _address(contents: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(contents).decode('ascii')}"
