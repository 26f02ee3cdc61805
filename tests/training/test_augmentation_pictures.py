"""The pictures during training are those of the run's own method."""

import numpy as np
import pytest
from PIL import Image

from augmax_jax import methods
from augmax_jax.config import defaults
from augmax_jax.report import pictures
from augmax_jax.runtime import parallel
from augmax_jax.training.augmentation_pictures import COUNT, make_drawer
from augmax_jax.training.run import build

pytestmark = pytest.mark.usefixtures("speck")


@pytest.mark.parametrize(
    ("method", "expected"), [("normal", ["clean"]), ("augmix", ["clean", "AugMix 1", "AugMix 2"])]
)
def test_other_methods_show_their_views_and_compute_no_ascent(
    method, expected, tmp_path, monkeypatch
):
    c = defaults()
    c.method = method
    c.data.name, c.data.holdout, c.data.image_size = "digits", 0.1, 16
    c.model.name, c.model.norm = "speck", "bn"
    c.batch_size, c.num_devices = 16, 1
    c.augment.width, c.augment.depth, c.augment.operators = 1, 1, "solarize"
    run = build(c)
    monkeypatch.setattr(methods, "maximise", None)
    seen = {}
    grid = pictures.grid

    def spy(tiles, **options):
        seen.update(options, tiles=tiles)
        return grid(tiles, **options)

    monkeypatch.setattr(pictures, "grid", spy)
    picture = make_drawer(run, tmp_path)(7, parallel.replicate(run.initial_state(), run.devices))
    saved = Image.open(tmp_path / "pictures" / "augmentations_0000007.png")
    np.testing.assert_array_equal(np.asarray(saved), picture)
    assert seen["columns"] == expected
    batch = next(iter(run.data.train.train_batches(COUNT)))
    for row, captions, image, label in zip(
        seen["tiles"], seen["captions"], batch["image"], batch["label"], strict=True
    ):
        np.testing.assert_array_equal(row[0], image)
        assert captions[0][0] == run.data.class_names[label]
        assert all(lines[-1][0] in "✓✗" for lines in captions)
