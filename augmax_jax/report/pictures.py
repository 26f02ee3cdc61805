"""Grids of images to look at: augmentations, corruptions, mistakes.

Every function takes arrays and gives a uint8 `[H, W, 3]` picture with titles and captions
written in; `to_png` makes a file of it. Small images are enlarged with nearest-neighbour
interpolation, so that what is seen is their pixels; large ones are reduced.
"""

import functools
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SMALLEST, _LARGEST = 128, 224  # pixels of a tile's longer side
_GAP = 8
_PAPER, _INK, _FAINT, _RIGHT, _WRONG = "#ffffff", "#1c1f24", "#6a717c", "#1a7f4b", "#c2362b"
_TEXT, _LINE = 12, 16  # font size and line height


def to_png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file.

    Args:
        picture: uint8 `[H, W, 3]`.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def grid(
    tiles: Sequence[Sequence[np.ndarray | None]],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    captions: Sequence[Sequence[Sequence[str]]] = (),
    scale_to: int | None = None,
) -> np.ndarray:
    """Lays images out in rows and columns.

    Args:
        tiles: rows of uint8 `[H, W, 3]` images of one size; None leaves a place empty.
        columns: a title above each column.
        rows: a title left of each row.
        captions: for each tile lines of text below it. A line that starts with ✓ is green,
            one that starts with ✗ red.
        scale_to: pixels of an image's longer side; None enlarges below 128, by a whole
            factor, and reduces above 224.

    Returns:
        uint8 `[H', W', 3]`.

    Raises:
        ValueError: no tile, tiles of several sizes, or another number of titles or captions
            than tiles.
    """
    width_in_tiles = max((len(row) for row in tiles), default=0)
    shape = _check_tiles(tiles)
    if columns and len(columns) != width_in_tiles:
        raise ValueError(f"columns must have {width_in_tiles} titles, got {len(columns)}")
    if rows and len(rows) != len(tiles):
        raise ValueError(f"rows must have {len(tiles)} titles, got {len(rows)}")
    if captions and [len(row) for row in captions] != [len(row) for row in tiles]:
        raise ValueError("captions must have one entry per tile")

    height, width = _tile_size(shape, scale_to)
    texts = [line for row in captions for lines in row for line in lines]
    # A caption may be wider than its image: then the columns move apart.
    widest = max((_width(text) for text in [*texts, *columns]), default=0)
    pitch = max(width, math.ceil(widest)) + _GAP
    left = math.ceil(max((_width(text) for text in rows), default=0)) + (2 * _GAP if rows else _GAP)
    top = _GAP + (_LINE + _GAP // 2 if columns else 0)
    lines = max((len(lines) for row in captions for lines in row), default=0)
    row_pitch = height + lines * _LINE + _GAP + (_GAP // 2 if lines else 0)

    canvas = Image.new("RGB", (left + width_in_tiles * pitch, top + len(tiles) * row_pitch), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for j, title in enumerate(columns):
        draw.text((left + j * pitch, _GAP), title, fill=_INK, font=_font(bold=True))
    for i, row in enumerate(tiles):
        y = top + i * row_pitch
        if rows:
            draw.text((left - _GAP, y + height // 2), rows[i], fill=_INK, font=_font(), anchor="rm")
        for j, image in enumerate(row):
            x = left + j * pitch
            if image is not None:
                canvas.paste(_resize(image, (height, width)), (x, y))
            for k, text in enumerate(captions[i][j] if captions else ()):
                colour = {"✓": _RIGHT, "✗": _WRONG}.get(text[:1], _INK if k == 0 else _FAINT)
                draw.text((x, y + height + 2 + k * _LINE), text, fill=colour, font=_font())
    return np.asarray(canvas)


def _check_tiles(tiles: Sequence[Sequence[np.ndarray | None]]) -> tuple[int, int]:
    """Height and width of all images; ValueError unless they are uint8 RGB of one size."""
    images = [image for row in tiles for image in row if image is not None]
    if not images:
        raise ValueError("tiles must hold at least one image")
    shapes = {image.shape for image in images}
    if len(shapes) > 1 or images[0].ndim != 3 or images[0].shape[-1] != 3:
        raise ValueError(f"tiles must be [H, W, 3] of one size, got {sorted(shapes)}")
    if any(image.dtype != np.uint8 for image in images):
        raise ValueError(f"tiles must be uint8, got {sorted({str(i.dtype) for i in images})}")
    return images[0].shape[0], images[0].shape[1]


def augmentation_grid(
    clean: np.ndarray,
    chains: np.ndarray,
    augmix: np.ndarray,
    augmax: np.ndarray,
    *,
    augmix_weights: tuple[np.ndarray, np.ndarray],
    augmax_weights: tuple[np.ndarray, np.ndarray],
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    predictions: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Shows each image beside its chains and the two mixes of them.

    Args:
        clean: uint8 `[N, H, W, 3]`.
        chains: uint8 `[N, K, H, W, 3]`.
        augmix: float `[N, H, W, 3]` in [0, 1], the random mix.
        augmax: float `[N, H, W, 3]` in [0, 1], the worst-case mix.
        augmix_weights: m `[N]` and w `[N, K]` of the random mix, written below it.
        augmax_weights: the same of the worst-case mix.
        labels: int `[N]`, written below the clean images.
        class_names: names of the classes; the numbers are used without them.
        predictions: int `[N]` for any of "clean", "augmix" and "augmax": what the model
            takes the image for, written below it and marked right or wrong by `labels`.

    Returns:
        uint8 picture: a row per image, columns Clean, Chain 1 … K, AugMix, AugMax.

    Raises:
        ValueError: shapes that do not fit together, or an unknown name in `predictions`.
    """
    clean, chains = np.asarray(clean), np.asarray(chains)
    mixes = {"augmix": np.asarray(augmix), "augmax": np.asarray(augmax)}
    weights = {"augmix": augmix_weights, "augmax": augmax_weights}
    _check_augmentations(clean, chains, mixes, weights, labels, predictions or {})
    count, width = chains.shape[:2]

    def verdict(name: str, i: int) -> list[str]:
        if predictions is None or name not in predictions:
            return []
        label = None if labels is None else int(labels[i])
        return [_verdict(int(predictions[name][i]), label, class_names)]

    def mix_caption(name: str, i: int) -> list[str]:
        m, w = (np.asarray(values)[i] for values in weights[name])
        shares = " ".join(f"{float(value):.2f}" for value in w)
        return [f"m = {float(m):.2f}", f"w = {shares}", *verdict(name, i)]

    tiles, captions = [], []
    for i in range(count):
        tiles.append([clean[i], *chains[i], *(_to_uint8(mix[i]) for mix in mixes.values())])
        label = [] if labels is None else [_class_name(int(labels[i]), class_names)]
        captions.append(
            [
                label + verdict("clean", i),
                *([] for _ in range(width)),
                *(mix_caption(name, i) for name in mixes),
            ]
        )
    titles = ["Clean", *(f"Chain {k + 1}" for k in range(width)), "AugMix", "AugMax"]
    return grid(tiles, columns=titles, captions=captions)


def views_grid(
    views: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    labels: np.ndarray,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Shows the views of images that a method trains on, and what the model takes them for.

    Args:
        views: title -> (float `[N, H, W, 3]` in [0, 1], predictions int `[N]`), a column each.
        labels: int `[N]`, written below the first column.
        class_names: names of the classes; the numbers are used without them.

    Returns:
        uint8 picture: a row per image.

    Raises:
        ValueError: as `grid`.
    """
    tiles, captions = [], []
    for i, label in enumerate(labels):
        tiles.append([_to_uint8(images[i]) for images, _ in views.values()])
        texts = [[_verdict(int(found[i]), int(label), class_names)] for _, found in views.values()]
        texts[0].insert(0, _class_name(int(label), class_names))
        captions.append(texts)
    return grid(tiles, columns=list(views), captions=captions)


def _check_augmentations(
    clean: np.ndarray,
    chains: np.ndarray,
    mixes: Mapping[str, np.ndarray],
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray | None,
    predictions: Mapping[str, np.ndarray],
) -> None:
    """Raises ValueError for shapes that do not fit together."""
    if clean.ndim != 4 or chains.ndim != 5:
        raise ValueError(
            f"clean must be [N, H, W, 3] and chains [N, K, H, W, 3], "
            f"got {list(clean.shape)} and {list(chains.shape)}"
        )
    count, width = chains.shape[:2]
    expected = {"clean": (clean, (count, *chains.shape[2:]))}
    expected |= {name: (mix, clean.shape) for name, mix in mixes.items()}
    for name, (m, w) in weights.items():
        expected[f"{name}_weights m"] = (np.asarray(m), (count,))
        expected[f"{name}_weights w"] = (np.asarray(w), (count, width))
    if labels is not None:
        expected["labels"] = (np.asarray(labels), (count,))
    for name, of in predictions.items():
        if name not in ("clean", *mixes):
            raise ValueError(f"predictions must be of clean, augmix or augmax, got {name!r}")
        expected[f"predictions of {name}"] = (np.asarray(of), (count,))
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {list(shape)}, got {list(array.shape)}")


def corruption_grid(
    clean: np.ndarray | None,
    corrupted: Mapping[str, np.ndarray],
    *,
    severities: Sequence[int] = (),
) -> np.ndarray:
    """Shows one image under every corruption, a row each, from mild to severe.

    Args:
        clean: uint8 `[H, W, 3]`, or None where the set does not come with it.
        corrupted: name -> uint8 `[S, H, W, 3]`, one image per severity.
        severities: the S severities; 1 … S without them.

    Returns:
        uint8 picture.

    Raises:
        ValueError: as `grid`.
    """
    count = max((len(images) for images in corrupted.values()), default=0)
    severities = list(severities) or list(range(1, count + 1))
    before = [] if clean is None else [np.asarray(clean)]
    return grid(
        [[*before, *np.asarray(images)] for images in corrupted.values()],
        columns=["Clean"] * len(before) + [f"Severity {severity}" for severity in severities],
        rows=[name.replace("_", " ") for name in corrupted],
        scale_to=96,
    )


def mistakes_grid(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    confidences: np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    per_row: int = 6,
) -> np.ndarray:
    """Shows the images a model is surest about and wrong, in the order given.

    Args:
        images: uint8 `[N, H, W, 3]`.
        labels: int `[N]`.
        predictions: int `[N]`.
        confidences: float `[N]` in [0, 1], the probability given to the prediction.
        class_names: names of the classes; the numbers are used without them.
        notes: a line more for each image, such as the corruption.
        per_row: images in a row.

    Returns:
        uint8 picture.

    Raises:
        ValueError: arrays of several lengths, or as `grid`.
    """
    lengths = {len(images), len(labels), len(predictions), len(confidences)}
    if len(lengths | ({len(notes)} if notes else set())) > 1:
        raise ValueError("images, labels, predictions, confidences and notes differ in length")
    tiles, captions = [], []
    for i, image in enumerate(np.asarray(images)):
        wrong = _class_name(int(predictions[i]), class_names)
        lines = [
            f"✗ {wrong} ({100 * float(confidences[i]):.0f}%)",
            f"is {_class_name(int(labels[i]), class_names)}",
        ]
        tiles.append(image)
        captions.append(lines + ([notes[i]] if notes else []))
    starts = range(0, len(tiles), per_row)
    return grid(
        [tiles[i : i + per_row] for i in starts],
        captions=[captions[i : i + per_row] for i in starts],
    )


def _verdict(prediction: int, label: int | None, class_names: Sequence[str] | None) -> str:
    """What the model takes an image for, marked right or wrong if the label is known."""
    mark = "→" if label is None else "✓" if label == prediction else "✗"
    return f"{mark} {_class_name(prediction, class_names)}"


def _class_name(index: int, names: Sequence[str] | None) -> str:
    return str(index) if names is None else str(names[index])


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.round(np.clip(np.asarray(image, np.float32), 0, 1) * 255).astype(np.uint8)


def _tile_size(shape: tuple[int, ...], scale_to: int | None) -> tuple[int, int]:
    longer = max(shape)
    if scale_to is None and longer < _SMALLEST:
        scale_to = longer * math.ceil(_SMALLEST / longer)
    factor = (scale_to or min(longer, _LARGEST)) / longer
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _resize(image: np.ndarray, size: tuple[int, int]) -> Image.Image:
    method = Image.Resampling.NEAREST if size[0] >= image.shape[0] else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize((size[1], size[0]), method)


@functools.cache
def _font(*, bold: bool = False) -> ImageFont.FreeTypeFont:
    # Matplotlib brings this font with it, so pictures look the same on every machine that has it.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    try:
        import matplotlib
    except ModuleNotFoundError:
        return cast(ImageFont.FreeTypeFont, ImageFont.load_default(_TEXT))
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), _TEXT)


def _width(text: str) -> float:
    return _font(bold=True).getlength(text)
