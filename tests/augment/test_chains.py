"""Chains: what is drawn, that it is applied as Pillow would, and where it can run."""

import importlib.util
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from augmax_jax import augment
from augmax_jax.augment import chains as chains_module
from augmax_jax.augment import engine, operators
from augmax_jax.runtime.keys import example_keys

_spec = importlib.util.spec_from_file_location(
    "pillow_reference", Path(__file__).parent / "pillow_reference.py"
)
pillow = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pillow)

P_VALUE = 1e-4  # of tests with fixed seeds


def recorder(index):
    """An operator that writes its index and its level into the next free pixel."""

    def apply(image, argument):
        place = jnp.sum(image[0, :, 0] > 0)
        level = jnp.round((argument + 10) * 3000).astype(jnp.int32)
        pixel = jnp.stack([jnp.int32(index + 1), level // 256, level % 256]).astype(jnp.uint8)
        return image.at[0, place].set(pixel)

    return augment.Operator(f"record{index}", apply, lambda level, h, w: level, signed=True)


@pytest.fixture(scope="module")
def record():
    """Operators and signed levels of 2,000 images with 3 chains: `[2000, 3, depth]`."""
    images = np.zeros((2000, 1, 5, 3), np.uint8)
    result = augment.sample_chains(
        jax.random.key(1), images, operators=[recorder(i) for i in range(9)]
    )
    result = np.asarray(result)[:, :, 0].astype(int)
    choice = result[..., 0] - 1
    level = (result[..., 1] * 256 + result[..., 2]) / 3000 - 10
    return choice, np.where(choice >= 0, level, np.nan)


def uniform(counts):
    return stats.chisquare(counts).pvalue > P_VALUE


def independent(a, b):
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    return stats.chi2_contingency(table).pvalue > P_VALUE


def test_depths_are_uniform_over_1_2_3(record):
    depth = (record[0] >= 0).sum(-1)
    assert set(depth.ravel()) == {1, 2, 3}
    for k in range(3):
        assert uniform(np.bincount(depth[:, k])[1:])


def test_operators_are_uniform_in_every_place(record):
    choice, _ = record
    for k in range(3):
        for t in range(3):
            drawn = choice[:, k, t]
            assert uniform(np.bincount(drawn[drawn >= 0], minlength=9))


def test_operators_are_drawn_with_replacement(record):
    both = record[0][record[0][..., 1] >= 0][:, :2]
    repeated = np.sum(both[:, 0] == both[:, 1])
    assert stats.binomtest(int(repeated), len(both), 1 / 9).pvalue > P_VALUE


def test_levels_are_uniform_up_to_the_severity(record):
    levels = np.abs(record[1][~np.isnan(record[1])])
    assert levels.min() >= 0.0995
    assert levels.max() <= 3.0005  # recorded to 1/3000
    assert stats.kstest(levels, stats.uniform(0.1, 2.9).cdf).pvalue > P_VALUE


def test_signs_are_fair_and_independent_of_levels(record):
    levels = record[1][~np.isnan(record[1])]
    positive = levels > 0
    assert stats.binomtest(int(positive.sum()), len(levels), 0.5).pvalue > P_VALUE
    assert stats.ks_2samp(levels[positive], -levels[~positive]).pvalue > P_VALUE


def test_chains_and_images_are_independent(record):
    choice, level = record
    depth = (choice >= 0).sum(-1)
    for a, b in ((0, 1), (0, 2), (1, 2)):  # the chains of an image
        assert independent(choice[:, a, 0], choice[:, b, 0])
        assert independent(depth[:, a] - 1, depth[:, b] - 1)
        assert abs(stats.pearsonr(level[:, a, 0], level[:, b, 0]).statistic) < 0.08
    # neighbours in the batch, places in a chain, depth and operator, operator and level
    assert independent(choice[:-1, 0, 0], choice[1:, 0, 0])
    longer = choice[:, 0, 1] >= 0
    assert independent(choice[longer, 0, 0], choice[longer, 0, 1])
    assert independent(choice[:, 0, 0], depth[:, 0] - 1)
    groups = [np.abs(level[:, 0, 0])[choice[:, 0, 0] == i] for i in range(9)]
    assert stats.kruskal(*groups).pvalue > P_VALUE


def test_arguments_have_the_specified_distributions():
    # int(level * full / 10) of levels uniform in [0.1, 3); translations of 32 pixels.
    draw = jax.vmap(
        lambda key: chains_module.draw_chains(
            key, key, 3, 3, 3.0, operators.resolve(["posterize", "rotate", "translate_x"]), 32, 32
        )
    )(example_keys(jax.random.key(2), 2000))
    expected = {
        0: {4: 0.82759, 3: 0.17241},
        1: dict.fromkeys(range(1, 9), 0.11494) | {0: 0.08046},
        2: {0: 0.28879, 1: 0.32328, 2: 0.32328, 3: 0.06466},
    }
    for index, probabilities in expected.items():
        values = np.abs(np.asarray(draw.argument)[np.asarray(draw.choice) == index])
        counts = Counter(values.astype(int).tolist())
        assert set(counts) == set(probabilities)
        observed = np.array([counts[k] for k in probabilities])
        share = np.array(list(probabilities.values()))
        assert stats.chisquare(observed, share / share.sum() * observed.sum()).pvalue > P_VALUE


def pillow_chains(images, draws, records):
    """What Pillow makes of the draws of B * K chains."""
    results = []
    for n, length in enumerate(np.asarray(draws.length)):
        image = images[n * len(images) // len(draws.length)]
        for t in range(length):
            name = records[int(draws.choice[n, t])].name
            image = pillow.apply(name, image, float(draws.argument[n, t]))
        results.append(image)
    return np.stack(results)


@pytest.mark.parametrize(
    ("size", "count", "severity", "names"),
    [((17, 26), 40, 10, operators.ALL)],
)
def test_every_form_gives_pillows_pixels(size, count, severity, names, rng):
    images = pillow.images(rng, count, *size)
    records = operators.resolve(names)
    draws = jax.vmap(
        lambda key: chains_module.draw_chains(key, key, 3, None, severity, records, *size)
    )(example_keys(jax.random.key(3), count))
    draws = jax.tree.map(lambda x: x.reshape(count * 3, *x.shape[2:]), draws)
    expected = pillow_chains(images, draws, records)
    for form in (engine.run_one_by_one, engine.run_together):
        ours = jax.jit(lambda i, d, form=form: form(i, d, records))(images, draws)
        np.testing.assert_array_equal(ours, expected)


def test_an_example_depends_on_its_own_key_only(rng):
    images = pillow.images(rng, 8, 16, 16)
    keys = example_keys(jax.random.key(4), 8)
    few = ("rotate", "equalize", "solarize")
    sample = jax.jit(lambda k, i: augment.sample_chains(k, i, operators=few))
    whole = np.asarray(sample(jax.random.key(4), images))
    np.testing.assert_array_equal(sample(keys, images), whole)
    order = np.array([5, 2, 7, 0])
    np.testing.assert_array_equal(sample(keys[order], images[order]), whole[order])
    split = jax.pmap(sample)(keys.reshape(4, 2), images.reshape(4, 2, 16, 16, 3))
    np.testing.assert_array_equal(np.asarray(split).reshape(whole.shape), whole)


def test_runs_under_vmap_and_scan(rng):
    images = pillow.images(rng, 4, 12, 12)
    keys = jax.random.split(jax.random.key(5), 2)
    few = ("autocontrast", "rotate")
    sample = jax.jit(lambda k, i: augment.sample_chains(k, i, width=2, depth=1, operators=few))
    expected = np.stack([sample(k, images) for k in keys])
    mapped = jax.vmap(sample, in_axes=(0, None))(keys, images)
    np.testing.assert_array_equal(mapped, expected)
    _, scanned = jax.lax.scan(lambda c, k: (c, sample(k, images)), 0, keys)
    np.testing.assert_array_equal(scanned, expected)


def test_width_and_depth(rng):
    images = pillow.images(rng, 2, 8, 8)
    invert = augment.Operator("invert", lambda image, _: 255 - image)
    for depth, expected in ((1, 255 - images), (4, images)):
        result = augment.sample_chains(
            jax.random.key(0), images, width=4, depth=depth, operators=[invert]
        )
        assert result.shape == (2, 4, 8, 8, 3)
        np.testing.assert_array_equal(result, np.repeat(expected[:, None], 4, axis=1))


def test_a_built_in_function_with_a_rule_of_ones_own_for_its_argument(rng):
    # The record of translate_x has a fast form for whole numbers, which must not serve here.
    images = pillow.images(rng, 2, 12, 12)
    slide = augment.Operator(
        "slide", operators.translate_x, lambda level, height, width: 0 * level + 2.5
    )
    chains = augment.sample_chains(jax.random.key(0), images, width=1, depth=1, operators=[slide])
    slid = [pillow.apply("translate_x", image, 2.5) for image in images]
    np.testing.assert_array_equal(chains[:, 0], slid)


def test_memory_of_a_batch_at_imagenet_size():
    images = jax.ShapeDtypeStruct((256, 224, 224, 3), jnp.uint8)
    key = jax.random.key(0)
    memory = jax.jit(augment.sample_chains).lower(key, images).compile().memory_analysis()
    peak = memory.temp_size_in_bytes + memory.output_size_in_bytes
    assert memory.output_size_in_bytes >= 256 * 3 * 224 * 224 * 3
    assert peak < 2.5 * memory.output_size_in_bytes


def test_augmix_is_a_mix_of_its_own_chains(rng):
    images = pillow.images(rng, 4, 12, 12)
    key = jax.random.key(6)
    few = ("shear_x", "posterize")
    mixed = jax.jit(lambda k, i: augment.augmix(k, i, operators=few))(key, images)
    assert mixed.shape == images.shape
    assert mixed.dtype == jnp.float32
    keys = jax.vmap(jax.random.split)(example_keys(key, 4))
    chains = augment.sample_chains(keys[:, 0], images, operators=few)
    m, w = augment.sample_mixing_weights(keys[:, 1], 4, 3)
    np.testing.assert_allclose(mixed, augment.mix(images, chains, m, w), atol=1e-6)
    assert not np.allclose(mixed, images / 255)


IMAGES = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (IMAGES.astype(np.float32), {}, "images must be uint8"),
        (IMAGES[0], {}, "images must be uint8"),
        (IMAGES[..., :1], {}, "images must be uint8"),
        (IMAGES[:0], {}, "not empty"),
        (IMAGES, {"width": 0}, "width must be at least 1, got 0"),
        (IMAGES, {"depth": 0}, "depth must be at least 1"),
        (IMAGES, {"depth": -1}, "depth must be at least 1"),
        (IMAGES, {"severity": 0.05}, r"severity must be in \[0.1, 10\], got 0.05"),
        (IMAGES, {"severity": 11}, "severity must be in"),
        (IMAGES, {"severity": float("nan")}, "severity must be in"),
        (IMAGES, {"operators": ["shear_z"]}, "unknown operator 'shear_z'"),
        (IMAGES, {"operators": ()}, "at least one"),
    ],
)
@pytest.mark.parametrize("function", [augment.sample_chains, augment.augmix])
def test_refuses(function, images, settings, message):
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda k, i: function(k, i, **settings))(jax.random.key(0), images)


def test_refuses_an_operator_that_changes_shape_or_type():
    for bad in (lambda image, _: image[:4], lambda image, _: image / 255):
        with pytest.raises(ValueError, match="operator 'bad' must return uint8"):
            augment.sample_chains(
                jax.random.key(0), IMAGES, operators=[augment.Operator("bad", bad)]
            )


def test_refuses_a_wrong_number_of_keys():
    with pytest.raises(ValueError, match="one key or one per example"):
        augment.sample_chains(jax.random.split(jax.random.key(0), 3), IMAGES)
