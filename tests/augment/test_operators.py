"""Operators against the installed Pillow, byte for byte."""

import functools
import importlib.util
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmax_jax.augment import operators

_spec = importlib.util.spec_from_file_location(
    "pillow_reference", Path(__file__).parent / "pillow_reference.py"
)
pillow = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pillow)

WITHOUT_ARGUMENT = ("autocontrast", "equalize")
SIZES = ((8, 8), (13, 9), (32, 32))


@functools.cache
def batched(name):
    """An operator over a batch of images and arguments."""
    function = getattr(operators, name)
    if name in WITHOUT_ARGUMENT:
        return jax.jit(lambda images, arguments: jax.vmap(function)(images))
    return jax.jit(jax.vmap(function))


def mismatches(name, images, arguments):
    """How many bytes differ from Pillow's, and by how much at most."""
    ours = np.asarray(batched(name)(images, arguments)).astype(int)
    theirs = np.stack(
        [pillow.apply(name, i, float(a)) for i, a in zip(images, arguments, strict=True)]
    )
    difference = np.abs(ours - theirs)
    return np.count_nonzero(difference), difference.max()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", operators.ALL)
def test_equals_pillow(name, size, rng):
    images = pillow.images(rng, 48, *size)
    arguments = pillow.arguments(name, rng, len(images))
    assert mismatches(name, images, arguments) == (0, 0)


def test_autocontrast_of_every_range():
    # float64 rounding decides in 4,852 of these; a fused multiply-add would decide otherwise.
    low, high = np.triu_indices(256, 1)
    values = np.clip(np.arange(256), low[:, None], high[:, None]).astype(np.uint8)
    images = np.repeat(values.reshape(-1, 16, 16, 1), 3, axis=-1)

    def switched(image):
        return jax.lax.switch(image[0, 0, 0] % 1, [operators.autocontrast], image)

    scale = 255.0 / (high - low)
    table = np.clip(np.trunc(values * scale[:, None] + (-low * scale)[:, None]), 0, 255)
    for function in (operators.autocontrast, switched):
        ours = jax.jit(jax.vmap(function))(images)
        np.testing.assert_array_equal(np.asarray(ours)[..., 1].reshape(-1, 256), table)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "equalize"])
def test_equals_pillow_at_imagenet_size(name, rng):
    images = pillow.images(rng, 4, 224, 224)
    assert mismatches(name, images, pillow.arguments(name, rng, 4)) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", operators.ALL)
def test_equals_pillow_on_5000_images(name, rng):
    sizes = ((8, 8), (15, 15), (32, 32), (37, 21), (64, 64), (64, 48), (97, 101), (224, 224))
    counts = (1200, 800, 1600, 600, 600, 120, 48, 32)
    assert sum(counts) >= 5000
    different = 0
    for size, count in zip(sizes, counts, strict=True):
        for start in range(0, count, 200):
            images = pillow.images(rng, min(200, count - start), *size)
            arguments = pillow.arguments(name, rng, len(images))
            different += mismatches(name, images, arguments)[0]
    assert different == 0


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(operators.ALL),
    size=st.sampled_from(SIZES[:2]),
    kind=st.integers(0, 7),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_pillow_on_any_image_and_argument(name, size, kind, seed):
    rng = np.random.default_rng(seed)
    images = np.repeat(pillow.images(rng, 8, *size)[kind : kind + 1], 2, axis=0)
    assert mismatches(name, images, pillow.arguments(name, rng, 2)) == (0, 0)


@pytest.mark.parametrize("degrees", [0.5, -7.25, 29.9, 45.0, 90.0, 180.0, -359.75, 1234.5])
def test_rotation_by_any_angle(degrees, rng):
    images = pillow.images(rng, 16, 32, 32)
    # A traced fraction of a degree has its cosine from another library than Pillow's.
    different, most = mismatches("rotate", images, np.full(16, degrees, np.float32))
    assert most <= 1
    assert different <= 1e-4 * images.size


@pytest.mark.parametrize(
    ("name", "argument"),
    [("shear_x", 0.07), ("shear_y", -0.05), ("rotate", 12.3), ("translate_x", 2.5)],
)
def test_python_numbers_keep_their_precision(name, argument, rng):
    # 0.07 is no float32; its products are whole numbers but for the last bit of a float64.
    for image in pillow.images(rng, 8, 33, 40):
        ours = getattr(operators, name)(image, argument)
        np.testing.assert_array_equal(ours, pillow.apply(name, image, argument))


# Golden values, made with Pillow 13.0: CRC-32 of the bytes at 32 and 64 pixels.
GOLDEN = {
    ("autocontrast", None): ("5475fc92", "8abed4ce"),
    ("equalize", None): ("9258ce96", "62249412"),
    ("posterize", 4): ("4920ced6", "d1a0a984"),
    ("posterize", 3): ("1563470c", "f460b4fb"),
    ("rotate", 7): ("f31a1bdd", "91f937f8"),
    ("rotate", -7): ("dbeaffca", "9b9fa425"),
    ("solarize", 200): ("62021437", "4ffc7144"),
    ("shear_x", 0.07): ("017cc037", "c7dec659"),
    ("shear_x", -0.07): ("a15f4677", "b87c220a"),
    ("shear_y", 0.07): ("8db8a9e4", "a4578b86"),
    ("shear_y", -0.07): ("0a958a8f", "f5271e29"),
    ("translate_x", 3): ("13edccb4", "530bdbc4"),
    ("translate_y", -2): ("4e68eecd", "4789c7e5"),
    ("color", 0.4): ("78592351", "d11fbe1c"),
    ("color", 1.6): ("2c24d8eb", "8a8ebabb"),
    ("contrast", 0.4): ("fd4b8d8d", "d46e86d6"),
    ("contrast", 1.6): ("9edac4c9", "ea566625"),
    ("brightness", 0.4): ("94c01d07", "64b5e6e3"),
    ("brightness", 1.6): ("4d5c6a67", "ad1049c6"),
    ("sharpness", 0.4): ("39a2befb", "c9e82b04"),
    ("sharpness", 1.6): ("2ed71715", "4fcec329"),
}


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case[0]}({case[1]})")
def test_golden_values(case):
    name, argument = case
    for size, crc in zip((32, 64), GOLDEN[case], strict=True):
        y, x, c = np.ogrid[:size, :size, :3]
        image = ((7 * x + 13 * y + 29 * c + x * y) % 256).astype(np.uint8)
        result = getattr(operators, name)(image, *([] if argument is None else [argument]))
        assert f"{zlib.crc32(np.asarray(result).tobytes()):08x}" == crc


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("posterize", 8),
        ("solarize", 256),
        ("rotate", 0),
        ("rotate", 360),
        ("shear_x", 0),
        ("shear_y", 0),
        ("translate_x", 0),
        ("translate_y", 0),
        ("color", 1),
        ("contrast", 1),
        ("brightness", 1),
        ("sharpness", 1),
    ],
)
def test_identity_arguments(name, identity, rng):
    for image in pillow.images(rng, 8, 11, 14):
        np.testing.assert_array_equal(getattr(operators, name)(image, identity), image)


def test_pixels_from_outside_are_black():
    white = np.full((9, 12, 3), 255, np.uint8)
    assert not np.any(operators.translate_x(white, 12))
    assert not np.any(operators.translate_y(white, -9))
    moved = np.asarray(operators.translate_x(white, 5))
    assert np.all(moved[:, :7] == 255)
    assert not np.any(moved[:, 7:])
    assert not np.any(operators.rotate(white, 45)[0, 0])


def test_arguments_may_be_traced_and_scanned(rng):
    image = pillow.images(rng, 1, 16, 16)[0]
    degrees = np.arange(-4, 5, dtype=np.float32)

    def step(carry, angle):
        return carry + 1, operators.rotate(image, angle)

    _, scanned = jax.jit(lambda d: jax.lax.scan(step, 0, d))(degrees)
    mapped = jax.pmap(operators.rotate, in_axes=(None, 0))(image, degrees[:4])
    expected = np.stack([pillow.apply("rotate", image, float(d)) for d in degrees])
    np.testing.assert_array_equal(scanned, expected)
    np.testing.assert_array_equal(mapped, expected[:4])


def test_gives_the_same_with_64_bits_enabled(rng):
    image = pillow.images(rng, 1, 16, 16)[0]
    for name in operators.ALL:
        argument = pillow.arguments(name, rng, 1)[0]
        arguments = () if name in WITHOUT_ARGUMENT else (jnp.asarray(argument),)
        with jax.enable_x64(True):
            result = getattr(operators, name)(image, *arguments)
        assert result.dtype == jnp.uint8
        np.testing.assert_array_equal(result, pillow.apply(name, image, float(argument)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "image must be uint8"),
        (np.zeros((8, 8), np.uint8), "image must be uint8"),
        (np.zeros((2, 8, 8, 3), np.uint8), "image must be uint8"),
        (np.zeros((8, 8, 4), np.uint8), "image must be uint8"),
        (np.zeros((0, 8, 3), np.uint8), "not empty"),
    ],
)
@pytest.mark.parametrize("name", operators.ALL)
def test_refuses_other_images(name, image, message):
    arguments = () if name in WITHOUT_ARGUMENT else (1,)
    with pytest.raises(ValueError, match=message):
        getattr(operators, name)(image, *arguments)


def test_names_and_records():
    assert len(operators.AUGMIX) == 9
    assert len(operators.ALL) == 13
    assert set(operators.ALL) - set(operators.AUGMIX) == {
        "color",
        "contrast",
        "brightness",
        "sharpness",
    }
    assert {"augmix": operators.AUGMIX, "all": operators.ALL} == operators.SETS
    mine = operators.Operator("invert", lambda image, _: 255 - image)
    records = operators.resolve(["rotate", mine])
    assert [r.name for r in records] == ["rotate", "invert"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["rotat"], "Did you mean 'rotate'"),
        ([], "at least one"),
        ("rotate", "sequence"),
        ([3], "names or Operator"),
    ],
)
def test_refuses_other_operators(names, message):
    with pytest.raises(ValueError, match=message):
        operators.resolve(names)


# Arguments from levels, as AugMix's published code has them: int(level * full / 10).
LEVELS = np.concatenate([np.linspace(0.1, 10, 4001)[:-1], [9.999999]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("posterize", lambda v, s: 4 - int(v * 4 / 10)),
        ("solarize", lambda v, s: 256 - int(v * 256 / 10)),
        ("rotate", lambda v, s: int(v * 30 / 10)),
        ("translate_x", lambda v, s: int(v * (s / 3) / 10)),
        ("translate_y", lambda v, s: int(v * (s / 3) / 10)),
        ("shear_x", lambda v, s: v * 0.3 / 10),
        ("shear_y", lambda v, s: v * 0.3 / 10),
        ("color", lambda v, s: v * 1.8 / 10 + 0.1),
        ("sharpness", lambda v, s: v * 1.8 / 10 + 0.1),
    ],
)
@pytest.mark.parametrize("size", [32, 64, 224])
def test_arguments_from_levels(name, expected, size):
    levels = LEVELS.astype(np.float32)
    ours = np.asarray(operators.REGISTRY[name].argument(levels, size, size))
    theirs = np.array([expected(float(v), size) for v in levels])
    wrong = ~np.isclose(ours, theirs, rtol=1e-6)
    # Levels on a step itself may fall to either side in float32.
    assert wrong.mean() < 0.005
    assert np.abs(ours - theirs).max() <= 1
