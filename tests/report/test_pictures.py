"""Pictures decode to what was put in, in the right place, under the right name."""

import io

import numpy as np
import pytest
from PIL import Image

from augmax_jax.report import pictures


@pytest.fixture
def arrays(rng):
    clean = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    chains = rng.integers(0, 256, (3, 3, 32, 32, 3), np.uint8)
    mixes = rng.uniform(0, 1, (2, 3, 32, 32, 3)).astype(np.float32)
    weights = (rng.uniform(size=3), rng.dirichlet([1, 1, 1], 3))
    return {
        "clean": clean,
        "chains": chains,
        "augmix": mixes[0],
        "augmax": mixes[1],
        "augmix_weights": weights,
        "augmax_weights": weights,
    }


def places(picture, image):
    """Corners at which `image` stands in `picture`, pixel by pixel."""
    height, width = image.shape[:2]
    found = np.ones((picture.shape[0] - height + 1, picture.shape[1] - width + 1), bool)
    for y, x in [(0, 0), (0, width - 1), (height - 1, 0), (height // 2, width // 2)]:
        window = picture[y : y + found.shape[0], x : x + found.shape[1]]
        found &= (window == image[y, x]).all(-1)
    corners = [tuple(map(int, corner)) for corner in np.argwhere(found)]
    return [
        (y, x) for y, x in corners if np.array_equal(picture[y : y + height, x : x + width], image)
    ]


def enlarged(image, factor):
    return image.repeat(factor, 0).repeat(factor, 1)


def test_png_holds_the_picture(rng):
    picture = rng.integers(0, 256, (7, 9, 3), np.uint8)
    decoded = np.asarray(Image.open(io.BytesIO(pictures.to_png(picture))))
    np.testing.assert_array_equal(decoded, picture)


def test_augmentation_grid_shows_every_image_in_its_row_and_column(arrays):
    picture = pictures.augmentation_grid(**arrays)
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    mixes = [np.round(arrays[name] * 255).astype(np.uint8) for name in ("augmix", "augmax")]
    corners = np.array(
        [
            [
                places(picture, enlarged(image, 4))
                for image in (clean, *chains, augmix, augmax)
            ]
            for clean, chains, augmix, augmax in zip(
                arrays["clean"], arrays["chains"], *mixes, strict=True
            )
        ]
    )  # fmt: skip
    assert corners.shape == (3, 6, 1, 2)  # each once
    ys, xs = corners[..., 0, 0], corners[..., 0, 1]
    assert (ys == ys[:, :1]).all()
    assert (xs == xs[:1]).all()
    assert (np.diff(ys[:, 0]) >= 128).all()
    assert (np.diff(xs[0]) >= 128).all()


@pytest.fixture
def written(monkeypatch):
    """The texts that are drawn."""
    texts = []
    draw = pictures.ImageDraw.ImageDraw.text

    def record(self, place, text, **options):
        texts.append((text, options.get("fill")))
        draw(self, place, text, **options)

    monkeypatch.setattr(pictures.ImageDraw.ImageDraw, "text", record)
    return texts


def test_augmentation_grid_writes_titles_weights_and_verdicts(arrays, written):
    m, w = np.array([0.25, 0.5, 1.0]), np.full((3, 3), 1 / 3)
    arrays["augmax_weights"] = (m, w)
    pictures.augmentation_grid(
        **arrays,
        labels=np.array([0, 1, 2]),
        class_names=["cat", "dog", "frog"],
        predictions={"clean": np.array([0, 1, 2]), "augmax": np.array([2, 1, 0])},
    )
    texts = [text for text, _ in written]
    for text in ("Clean", "Chain 1", "Chain 3", "AugMix", "AugMax", "cat", "✓ cat", "✗ frog"):
        assert text in texts
    assert "m = 0.25" in texts
    assert texts.count("w = 0.33 0.33 0.33") == 3
    colours = {text[0]: colour for text, colour in written if text[0] in "✓✗"}
    assert colours["✓"] != colours["✗"]


def test_without_labels_predictions_are_not_judged(arrays, written):
    pictures.augmentation_grid(**arrays, predictions={"clean": np.array([7, 8, 9])})
    assert "→ 7" in [text for text, _ in written]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean": np.zeros((3, 32, 32), np.uint8)}, r"clean must be \[N, H, W, 3\]"),
        ({"augmix": np.zeros((2, 32, 32, 3))}, r"augmix must have shape \[3, 32, 32, 3\]"),
        ({"augmax_weights": (np.zeros(3), np.zeros((3, 2)))}, r"augmax_weights w .*\[3, 3\]"),
        ({"augmix_weights": (np.zeros(2), np.zeros((3, 3)))}, r"augmix_weights m .*\[3\]"),
        ({"labels": np.zeros(2, int)}, r"labels must have shape \[3\], got \[2\]"),
        ({"predictions": {"augmax": np.zeros(4, int)}}, "predictions of augmax"),
        ({"predictions": {"pgd": np.zeros(3, int)}}, "got 'pgd'"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays, change, message):
    with pytest.raises(ValueError, match=message):
        pictures.augmentation_grid(**(arrays | change))


@pytest.mark.parametrize(
    ("side", "shown"), [((8, 8), (128, 128)), ((32, 16), (128, 64)), ((64, 64), (128, 128)),
                        ((150, 150), (150, 150)), ((448, 224), (224, 112))]
)  # fmt: skip
def test_small_images_grow_by_whole_factors_and_large_ones_shrink(side, shown):
    picture = pictures.grid([[np.full((*side, 3), 7, np.uint8)]])
    inside = (picture == 7).all(-1)
    assert (inside.any(1).sum(), inside.any(0).sum()) == shown


def test_corruption_grid_names_rows_and_severities(rng, written):
    clean = rng.integers(0, 256, (32, 32, 3), np.uint8)
    corrupted = {name: np.stack([clean] * 2) for name in ("fog", "shot_noise")}
    with_clean = pictures.corruption_grid(clean, corrupted, severities=(1, 5))
    assert [text for text, _ in written] == [
        "Clean", "Severity 1", "Severity 5", "fog", "shot noise",
    ]  # fmt: skip
    assert len(places(with_clean, enlarged(clean, 3))) == 6
    assert len(places(pictures.corruption_grid(None, corrupted), enlarged(clean, 3))) == 4


def test_mistakes_grid_wraps_and_tells_both_classes(rng, written):
    images = rng.integers(0, 256, (5, 32, 32, 3), np.uint8)
    picture = pictures.mistakes_grid(
        images, np.zeros(5, int), np.ones(5, int), np.full(5, 0.987), class_names=["cat", "dog"],
        notes=["fog 3"] * 5, per_row=2,
    )  # fmt: skip
    corners = [places(picture, enlarged(image, 4))[0] for image in images]
    assert len({y for y, _ in corners}) == 3
    assert len({x for _, x in corners}) == 2
    assert [text for text, _ in written[:3]] == ["✗ dog (99%)", "is cat", "fog 3"]


def test_mistakes_of_several_lengths_are_refused(rng):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="differ in length"):
        pictures.mistakes_grid(images, np.zeros(2), np.zeros(2), np.zeros(3))


@pytest.mark.parametrize(
    ("tiles", "options", "message"),
    [
        ([], {}, "at least one image"),
        ([[None]], {}, "at least one image"),
        ([[np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)]], {}, "one size"),
        ([[np.zeros((2, 2, 3))]], {}, "uint8.*float64"),
        ([[np.zeros((2, 2, 3), np.uint8)]], {"columns": ["a", "b"]}, "columns must have 1"),
        ([[np.zeros((2, 2, 3), np.uint8)]], {"rows": ["a", "b"]}, "rows must have 1"),
        ([[np.zeros((2, 2, 3), np.uint8)]], {"captions": [[]]}, "captions"),
    ],
)
def test_bad_grids_are_refused(tiles, options, message):
    with pytest.raises(ValueError, match=message):
        pictures.grid(tiles, **options)
