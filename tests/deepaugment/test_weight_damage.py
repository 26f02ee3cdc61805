"""Each damage to weights against what it is said to do."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from augmax_jax.deepaugment import cae
from augmax_jax.deepaugment import cae_weights as cae_damage
from augmax_jax.deepaugment import edsr_weights as edsr_damage

SEEDS = range(2)


def gelu(x):
    x = np.asarray(x, np.float64)
    return x * (1 + erf(x / np.sqrt(2))) / 2


def changed(before, after):
    """Name -> (old, new) of the tensors that differ; names and shapes stay."""
    assert before.keys() == after.keys()
    pairs = {name: (np.asarray(before[name]), np.asarray(after[name])) for name in before}
    assert all(old.shape == new.shape for old, new in pairs.values())
    return {name: pair for name, pair in pairs.items() if not np.array_equal(*pair)}


def rotations(weight, planes):
    """All results of turns by 90 degrees in some planes."""
    found = []
    for turns in itertools.product(range(4), repeat=len(planes)):
        turned = weight
        for count, plane in zip(turns, planes, strict=True):
            turned = np.rot90(turned, count, plane)
        found.append(turned)
    return found


class TestEDSR:
    """Effects by id; c0 and c2 are the convolutions of a residual block."""

    def run(self, weights, i, seed):
        return changed(weights, edsr_damage.damage(jax.random.key(seed), weights, [i]))

    def block(self, found, parts, blocks=(0, 3, 6, 9)):
        """The one block that changed, and (old, new) of its parts."""
        (block,) = {int(name.split(".")[1]) for name in found}
        assert block in blocks
        assert {name.removeprefix(f"body.{block}.body.") for name in found} == set(parts)
        return [found[f"body.{block}.body.{part}"] for part in parts]

    @pytest.mark.parametrize("seed", SEEDS)
    def test_0_reverses_outputs(self, edsr_weights, seed):
        found = self.run(edsr_weights, 0, seed)
        for old, new in self.block(found, ["0.weight", "0.bias", "2.weight", "2.bias"]):
            np.testing.assert_array_equal(new, old[::-1])

    @pytest.mark.parametrize("seed", SEEDS)
    def test_1_negates(self, edsr_weights, seed):
        found = self.run(edsr_weights, 1, seed)
        for old, new in self.block(found, ["0.weight", "0.bias"], (1, 4, 7)):
            np.testing.assert_array_equal(new, -old)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_2_zeroes(self, edsr_weights, seed):
        for _, new in self.block(self.run(edsr_weights, 2, seed), ["0.weight", "0.bias"]):
            assert not new.any()

    def test_3_is_minus_gelu(self, edsr_weights):
        for old, new in self.block(self.run(edsr_weights, 3, 0), ["0.weight", "2.weight"]):
            np.testing.assert_allclose(new, -gelu(old), atol=1e-6)

    @pytest.mark.parametrize(
        ("i", "factors"),
        [(4, [[0, 1, 0], [1, -4, 1], [0, 1, 0]]), (5, [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])],
    )
    def test_4_and_5_multiply_kernels(self, edsr_weights, i, factors):
        ((old, new),) = self.block(self.run(edsr_weights, i, 1), ["0.weight"])
        np.testing.assert_array_equal(new, old * np.array(factors, np.float32))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_6_amplifies(self, edsr_weights, seed):
        ((old, new),) = self.block(self.run(edsr_weights, 6, seed), ["2.weight"])
        ratio = new / old
        assert 1 <= ratio.min() < 1.01
        # Uniform between 1 and 1 + 4u.
        assert ratio.max() <= 5
        assert np.mean(ratio) == pytest.approx((1 + ratio.max()) / 2, abs=0.03)

    def test_7_mirrors_and_negates(self, edsr_weights):
        first, second = self.block(self.run(edsr_weights, 7, 0), ["0.weight", "2.weight"])
        np.testing.assert_array_equal(first[1], first[0][:, :, :, ::-1])
        np.testing.assert_array_equal(second[1], -second[0])

    def impulses(self, weights, part):
        """Weights with one 3x3 pattern per output: at the input channel of the same number."""
        kernel = np.arange(1, 10).reshape(3, 3) if part == 0 else np.zeros((3, 3))
        kernel[1, 1] = kernel[1, 1] or 1
        impulse = np.einsum("oi,yx->oiyx", np.eye(64), kernel).astype(np.float32)
        names = [f"body.{block}.body.{part}.weight" for block in range(16)]
        return dict(weights) | {name: jnp.asarray(impulse) for name in names}

    @pytest.mark.parametrize("seed", SEEDS)
    def test_8_shifts_every_input_channel(self, edsr_weights, seed):
        found = self.run(self.impulses(edsr_weights, 0), 8, seed)
        ((_, new),) = self.block(found, ["0.weight"], (1, 5, 9))
        padded = np.pad(np.arange(1, 10).reshape(3, 3), 1)
        shifts = [padded[y : y + 3, x : x + 3] for y in range(3) for x in range(3)]
        chosen = set()
        for output in new:
            np.testing.assert_array_equal(output, np.broadcast_to(output[0], output.shape))
            matches = [
                (n, sign)
                for n, shift in enumerate(shifts)
                for sign in (1, -1)
                if np.array_equal(output[0], sign * shift)
            ]
            assert len(matches) == 1
            chosen |= set(matches)
        assert len({n for n, _ in chosen}) >= 8  # of nine places
        assert len({sign for _, sign in chosen}) == 2

    @pytest.mark.parametrize("seed", SEEDS)
    def test_9_convolves_with_noise(self, edsr_weights, seed):
        weights = self.impulses(edsr_weights, 0)
        names = [n for n in weights if n.endswith("body.0.weight")]
        centre = np.einsum("oi,yx->oiyx", np.eye(64), np.diag([0, 1, 0])).astype(np.float32)
        weights |= {name: jnp.asarray(centre) for name in names}
        ((_, new),) = self.block(self.run(weights, 9, seed), ["0.weight"])
        # (2 r u - 1) / 6: uniform from -1/6 to (2u - 1)/6.
        assert new.min() == pytest.approx(-1 / 6, abs=1e-3)
        assert new.max() <= 1 / 6
        assert new.mean() == pytest.approx((new.max() - 1 / 6) / 2, abs=2e-3)

    def test_10_convolves_with_dirichlet_kernels(self, edsr_weights):
        found = self.run(self.impulses(edsr_weights, 2), 10, 0)
        ((_, new),) = self.block(found, ["2.weight"], (1, 5, 9))
        assert new.min() >= 0
        np.testing.assert_allclose(new.sum((2, 3)), 1, atol=1e-4)
        # Dirichlet(0.1): nearly all of the weight is in one or two places.
        assert np.median(new.max((2, 3))) > 0.6

    @pytest.mark.parametrize("seed", SEEDS)
    def test_11_adds_noise(self, edsr_weights, seed):
        ((old, new),) = self.block(self.run(edsr_weights, 11, seed), ["2.weight"], range(15))
        noise = new - old
        assert -0.5 <= noise.min() < -0.49
        assert 0.49 < noise.max() < 0.5 + 1e-6

    def layers(self, found, places):
        """(old, new) of what changed: weights of up to five layers, never of the last block."""
        assert 1 <= len(found) <= 5
        for name in found:
            _, block, _, place, kind = name.split(".")
            assert int(block) < 15
            assert int(place) in places
            assert kind == "weight"
        return found.values()

    @pytest.mark.parametrize("seed", range(3))
    def test_12_rotates(self, edsr_weights, seed):
        for old, new in self.layers(self.run(edsr_weights, 12, seed), (0, 2)):
            assert any(np.array_equal(new, r) for r in rotations(old, [(2, 3), (0, 1)]))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_13_draws_signs(self, edsr_weights, seed):
        for old, new in self.layers(self.run(edsr_weights, 13, seed), (0,)):
            np.testing.assert_array_equal(np.abs(new), np.abs(old))
            assert np.mean(new == old) == pytest.approx(0.5, abs=0.02)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_14_draws_zeros(self, edsr_weights, seed):
        for old, new in self.layers(self.run(edsr_weights, 14, seed), (0,)):
            assert ((new == 0) | (new == old)).all()
            share = np.mean(new == old)  # smaller for a block drawn twice or more
            assert min(abs(share - 0.5**n) for n in range(1, 6)) < 0.02

    @pytest.mark.parametrize("seed", SEEDS)
    def test_15_negates_filters(self, edsr_weights, seed):
        for old, new in self.layers(self.run(edsr_weights, 15, seed), (0,)):
            same = np.array([np.array_equal(a, b) for a, b in zip(old, new, strict=True)])
            negated = np.array([np.array_equal(a, -b) for a, b in zip(old, new, strict=True)])
            assert (same ^ negated).all()
            assert 1 <= negated.sum() <= 40  # 25 on average

    @pytest.mark.parametrize("seed", SEEDS)
    def test_16_keeps_the_largest(self, edsr_weights, seed):
        for old, new in self.layers(self.run(edsr_weights, 16, seed), (0, 2)):
            # Largest, not of the largest magnitude. In a layer that is drawn twice, the second
            # time takes a 0 where all entries were negative.
            kept = np.where(old == old.max((2, 3), keepdims=True), old, 0)
            assert ((new == kept) | ((new == 0) & (kept < 0))).all()
            assert np.mean((new != 0).sum((2, 3)) == 1) > 0.99

    def test_three_effects_one_after_the_other(self, edsr_weights, key):
        weights = edsr_weights
        negated = changed(weights, edsr_damage.damage(key, weights, [1, 1, 1]))
        assert 2 <= len(negated) <= 6
        for old, new in negated.values():
            np.testing.assert_array_equal(new, -old)
        drawn = [edsr_damage.damage(jax.random.key(s), weights) for s in (1, 1, 2)]
        assert changed(drawn[0], drawn[1]) == {}
        assert changed(drawn[0], drawn[2])

    def test_an_unknown_id_is_refused(self, edsr_weights, key):
        with pytest.raises(ValueError, match=r"ids must be in 0\.\.16, got 17"):
            edsr_damage.damage(key, edsr_weights, [17])


class TestCAE:
    """Effects by id; layers by their number."""

    def run(self, weights, i, seed):
        found = changed(weights, cae_damage.damage(jax.random.key(seed), weights, i))
        numbers = {list(cae.LAYERS).index(name.rpartition(".")[0]) for name in found}
        allowed = {0: range(11, 16), 3: range(10, 14)}.get(i, range(8, 14))
        assert numbers <= set(allowed)
        return found

    def parts(self, found, *kinds):
        """(old, new) of the weight and perhaps the bias of the one layer that changed."""
        (layer,) = {name.rpartition(".")[0] for name in found}
        assert {name.rpartition(".")[2] for name in found} == set(kinds)
        return [found[f"{layer}.{kind}"] for kind in kinds]

    @pytest.mark.parametrize("seed", SEEDS)
    def test_0_reverses_one_layer(self, cae_weights, seed):
        for old, new in self.parts(self.run(cae_weights, 0, seed), "weight", "bias"):
            np.testing.assert_array_equal(new, old[::-1])

    def filters(self, found):
        """Weight and bias, filter by filter; rows of (old, new), flattened and joined."""
        (old, new), (old_bias, new_bias) = self.parts(found, "weight", "bias")
        np.testing.assert_array_equal(new_bias[len(new) :], old_bias[len(old) :])
        for i in range(len(old)):
            yield (
                np.append(old[i].ravel(), old_bias[i]),
                np.append(new[i].ravel(), new_bias[i]),
            )

    @pytest.mark.parametrize("seed", range(3))
    def test_1_negates_filters(self, cae_weights, seed):
        rows = list(self.filters(self.run(cae_weights, 1, seed)))
        negated = [np.array_equal(new, -old) for old, new in rows]
        same = [np.array_equal(new, old) for old, new in rows]
        assert all(a ^ b for a, b in zip(negated, same, strict=True))
        # A filter that is drawn twice is restored: as many as drawn, or two fewer, or four ...
        assert sum(negated) in (12, 10, 8, 6, 4)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_2_zeroes_filters(self, cae_weights, seed):
        rows = list(self.filters(self.run(cae_weights, 2, seed)))
        zero = [not new.any() for _, new in rows]
        assert 10 <= sum(zero) <= 25
        assert all(z or np.array_equal(old, new) for z, (old, new) in zip(zero, rows, strict=True))

    @pytest.mark.parametrize("seed", SEEDS)
    def test_3_is_minus_gelu_of_filters_as_often_as_drawn(self, cae_weights, seed):
        times = []
        for old, new in self.filters(self.run(cae_weights, 3, seed)):
            current, count = old.astype(np.float64), 0
            while not np.allclose(current, new, atol=1e-6, rtol=1e-4):
                current, count = -gelu(current), count + 1
                assert count < 8
            times.append(count)
        assert sum(times) == 25

    @pytest.mark.parametrize("seed", SEEDS)
    def test_4_amplifies_two_layers(self, cae_weights, seed):
        found = self.run(cae_weights, 4, seed)
        assert 1 <= len(found) <= 2
        for name, (old, new) in found.items():
            assert name.endswith("weight")
            ratio = new / old
            assert 0.99 <= ratio.min() < 1.2
            assert ratio.max() <= (9 if len(found) == 2 else 81)

    def test_5_masks_with_zeros_or_signs(self, cae_weights):
        kinds = set()
        for seed in range(20):
            if len(kinds) == 2:
                break
            ((old, new),) = self.parts(self.run(cae_weights, 5, seed), "weight")
            assert np.mean(new == old) == pytest.approx(0.5, abs=0.02)
            rest = np.unique(new[new != old] / old[new != old])
            assert len(rest) == 1
            kinds.add(float(rest[0]))
        assert kinds == {0, -1}

    @pytest.mark.parametrize("seed", SEEDS)
    def test_6_rotates_kernels(self, cae_weights, seed):
        ((old, new),) = self.parts(self.run(cae_weights, 6, seed), "weight")
        assert any(np.array_equal(new, r) for r in rotations(old, [(2, 3)])[1:])

    @pytest.mark.parametrize("seed", SEEDS)
    def test_7_negates_weights_of_filters(self, cae_weights, seed):
        ((old, new),) = self.parts(self.run(cae_weights, 7, seed), "weight")
        negated = [np.array_equal(b, -a) for a, b in zip(old, new, strict=True)]
        same = [np.array_equal(b, a) for a, b in zip(old, new, strict=True)]
        assert all(a ^ b for a, b in zip(negated, same, strict=True))
        assert 1 <= sum(negated) <= len(old) // 5

    def test_8_keeps_the_largest(self, cae_weights):
        ((old, new),) = self.parts(self.run(cae_weights, 8, 0), "weight")
        kept = np.where(old == old.max((2, 3), keepdims=True), old, 0)
        np.testing.assert_array_equal(new, kept)

    def test_the_transposed_convolution_counts_its_inputs(self, cae_weights):
        # Layer 10 has 64 inputs and 128 outputs: only the first 64 biases can be hit.
        for seed in range(40):
            found = self.run(cae_weights, 2, seed)
            if "d_up_conv_1.3.weight" in found:
                break
        else:
            pytest.fail("the layer is never chosen")
        old, new = found["d_up_conv_1.3.bias"]
        np.testing.assert_array_equal(old[64:], new[64:])
        weight = found["d_up_conv_1.3.weight"][1]
        np.testing.assert_array_equal(~weight.any((1, 2, 3)), new[:64] == 0)

    def test_the_last_effect_is_never_drawn(self, cae_weights, key):
        assert 8 not in cae_damage.DRAWN
        with pytest.raises(ValueError, match=r"effect_id must be in 0\.\.8, got 9"):
            cae_damage.damage(key, cae_weights, 9)
