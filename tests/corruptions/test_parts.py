"""The deterministic parts of the random corruptions, bit by bit."""

import io

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from augmax_jax.corruptions import (
    blur,
    constants,
    digital,
    filters,
    jpeg,
    noise,
    spatter,
    textures,
    weather,
)


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_copies_follow_the_sequential_sweep(rng, reference, reach):
    resolve = jax.jit(blur.copy_sources)
    for shape in ((32, 32), (17, 23)):
        offsets = rng.integers(-reach, reach, (*shape, 2))
        places = np.arange(np.prod(shape)).reshape(shape)
        wanted = reference.glass_sweep(places, offsets, reach)
        got = resolve(offsets[..., 1], offsets[..., 0], reach)
        np.testing.assert_array_equal(np.asarray(got).reshape(shape), wanted)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_copies_stay_local(seed, reach):
    """Long chains (every offset points behind) and still the sequential result."""
    rng = np.random.default_rng(seed)
    offsets = rng.integers(max(-reach, reach - 2), reach, (2, 16, 16))
    got = np.asarray(jax.jit(blur.copy_sources)(offsets[0], offsets[1], reach))
    places = np.arange(256).reshape(16, 16)
    for h in range(16 - reach, reach, -1):
        for w in range(16 - reach, reach, -1):
            places[h, w] = places[h + offsets[0, h, w], w + offsets[1, h, w]]
    np.testing.assert_array_equal(got, places.reshape(-1))


@pytest.mark.parametrize("benchmark", constants.BENCHMARKS)
def test_glass_blur_truncates_what_scipy_computes(rng, natural, benchmark):
    """Every bit is equal, also where rounding leaves a whole number just below itself."""
    values = constants.CONSTANTS["glass_blur"][benchmark]
    blurred = jax.jit(blur.truncated_gaussian)
    flat = np.repeat(np.repeat(rng.integers(0, 256, (4, 4, 3)), 9, 0), 12, 1)
    for image in (flat, rng.integers(0, 256, flat.shape), natural(1, *flat.shape[:2])[0]):
        for value in values:
            arrays = blur.glass_constants(value, [sigma for sigma, _, _ in values])
            x = ndi.gaussian_filter(image / 255.0, (value[0], value[0], 0), mode="nearest")
            wanted = np.uint8(np.clip(x, 0, 1) * 255)
            got = blurred(image.astype(np.float32), arrays["taps"])
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("radius", "sigma"), [(6, 1), (9, 2.5), (14, 12)])
def test_motion_follows_the_path(rng, reference, radius, sigma):
    image = rng.integers(0, 256, (32, 40, 3)).astype(np.float32)
    arrays = blur.motion_constants(radius, sigma, capacity=41)
    path = jax.jit(blur.motion_path)
    for degrees in rng.uniform(-180, 180, 8):
        got = path(image, np.float32(degrees), arrays)
        wanted = reference._motion(image.astype(float), radius, sigma, degrees)
        assert (np.abs(np.asarray(got) - wanted) > 0).mean() < 1e-3  # ties of the rounding


@pytest.mark.parametrize("size", [2, 8, 32])
@pytest.mark.parametrize("decay", [1.75, 3.0])
def test_plasma_is_diamond_square(rng, reference, size, decay):
    draws = rng.uniform(-1, 1, (size, size))
    got = np.asarray(weather.plasma(jnp.asarray(draws, jnp.float32), decay))
    np.testing.assert_allclose(got, reference.plasma(draws, decay), atol=2e-6)
    assert got.min() == 0
    assert got.max() == 1


@pytest.mark.parametrize("size", [32, 57])
def test_water_is_shaded_as_by_opencv(rng, reference, size):
    for deviation in (0.1, 0.3):
        liquid = ndi.gaussian_filter(rng.normal(0.65, deviation, (size, size)), 0.8)
        liquid = np.uint8(255 * np.clip(np.where(liquid < 0.68, 0, liquid), 0, 1))
        levels = liquid.astype(np.int32)
        edges = np.asarray(spatter.canny(levels, 50, 150))
        np.testing.assert_array_equal(edges, cv2.Canny(liquid, 50, 150) > 0)
        got = np.asarray(jax.jit(spatter.drop_relief)(levels))
        np.testing.assert_allclose(got, reference.drop_relief(liquid), atol=1e-6)


def test_equalisation_of_one_level_changes_nothing():
    image = np.full((8, 8), 7, np.int32)
    np.testing.assert_array_equal(spatter.equalise(image), cv2.equalizeHist(image.astype(np.uint8)))


@pytest.mark.parametrize("scale", [0.2, 0.3])
def test_frost_is_resized_as_by_opencv(rng, scale):
    picture = rng.integers(0, 256, (63, 81, 3), np.uint8)
    got = textures.resize(picture, scale)
    wanted = cv2.resize(picture, (0, 0), fx=scale, fy=scale)
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted).max() <= 1


def test_frost_pictures_cover_any_image():
    for benchmark, scale in constants.FROST_SCALE.items():
        size = constants.BASE_SIZE[benchmark]
        _, sizes = textures.frost_pictures(scale, size, size)
        full = np.array([[600, 900], [315, 560], [315, 560], [350, 527], [495, 660]])
        np.testing.assert_array_equal(sizes, np.rint(full * scale))
    _, sizes = textures.frost_pictures(0.2, 700, 300)
    assert (sizes > [700, 300]).all()


def test_affine_warp_takes_three_points_where_they_should_go(rng):
    source = rng.uniform(0, 32, (3, 2)).astype(np.float32)
    target = source + rng.uniform(-3, 3, (3, 2)).astype(np.float32)
    x, y = digital._inverse_affine(source, target, target[:, 0], target[:, 1])
    np.testing.assert_allclose(np.stack([x, y], -1), source, atol=1e-4)
    matrix = cv2.invertAffineTransform(cv2.getAffineTransform(source, target))
    places = rng.uniform(0, 32, (20, 2)).astype(np.float32)
    x, y = digital._inverse_affine(source, target, places[:, 0], places[:, 1])
    wanted = places @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(np.stack([x, y], -1), wanted, atol=1e-3)


@pytest.mark.parametrize(("border", "mode"), [("_reflect", "reflect"), ("_reflect_101", "mirror")])
def test_bilinear_sampling(rng, border, mode):
    image = rng.random((9, 12, 2)).astype(np.float32)
    at = rng.uniform(-14, 26, (2, 30, 5)).astype(np.float32)
    got = digital._bilinear(jnp.asarray(image), at[0], at[1], getattr(digital, border))
    wanted = [ndi.map_coordinates(image[..., c], at, order=1, mode=mode) for c in range(2)]
    np.testing.assert_allclose(got, np.stack(wanted, -1), atol=1e-5)


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0, 6.0])
def test_gaussian_filter(rng, sigma):
    images = rng.random((2, 20, 33, 3)).astype(np.float32)
    got = filters.apply_sum(filters.gaussian(sigma, 20, 33), jnp.asarray(images))
    wanted = ndi.gaussian_filter(images.astype(float), (0, sigma, sigma, 0), mode="nearest")
    np.testing.assert_allclose(got, wanted, atol=2e-6)


@pytest.mark.parametrize("photons", [500, 60, 3])
def test_shot_noise_is_poisson(key, photons):
    """A chi-squared test of the counts at several grey levels."""
    arrays = noise.shot_constants(photons)
    for level in (0, 1, 40, 200, 255):
        image = jnp.full((200, 200, 1), level, jnp.float32)
        draws = noise.shot_noise(jax.random.fold_in(key, level), image, arrays)
        counts = np.rint(np.asarray(draws) * photons / 255).astype(int).ravel()
        rate = level / 255 * photons
        expected = stats.poisson.pmf(np.arange(photons), rate)
        expected = np.append(expected, 1 - expected.sum()) * counts.size
        observed = np.bincount(counts, minlength=photons + 1)
        rare = expected < 5
        pairs = [(observed[rare].sum(), expected[rare].sum())]
        pairs += list(zip(observed[~rare], expected[~rare], strict=True))
        chi = sum((o - e) ** 2 / max(e, 1e-9) for o, e in pairs if e > 1)
        assert chi < stats.chi2.ppf(1 - 1e-5, max(1, len(pairs) - 1))


def test_shot_noise_refuses_what_its_table_cannot_hold():
    with pytest.raises(ValueError, match="photons must be between 1 and 512, got 1000"):
        noise.shot_constants(1000)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 100))
def test_jpeg_is_libjpeg(seed, quality):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (*rng.integers(1, 14, 2), 3), np.uint8)
    image = Image.fromarray(coarse).resize((37, 27), Image.Resampling.BICUBIC)
    check_jpeg(np.asarray(image), quality)


@pytest.mark.parametrize("shape", [(32, 32), (8, 16), (17, 50), (5, 7)])
def test_jpeg_of_any_size(rng, shape):
    check_jpeg(rng.integers(0, 256, (*shape, 3), np.uint8), 30)


compress = jax.jit(jpeg.jpeg_compression)


def check_jpeg(image: np.ndarray, quality: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    got = compress(None, image.astype(np.float32), jpeg.quality_constants(quality))
    np.testing.assert_array_equal(np.asarray(got), np.asarray(Image.open(buffer)))
