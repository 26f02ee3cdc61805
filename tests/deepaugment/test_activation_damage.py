"""Damage to activations: EDSR's features and the CAE's code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.deepaugment import cae, cae_bottleneck, edsr, edsr_features, layers

MANY = 2000


class TestEDSR:
    def damage(self, head_id=4, body_id=5, batch=4, seed=0, **fields):
        drawn = edsr_features.draw(jax.random.key(seed), batch, head_id=head_id, body_id=body_id)
        return drawn.replace(**{name: jnp.asarray(value) for name, value in fields.items()})

    def head(self, rng, head_id, batch=4):
        x = rng.normal(size=(batch, 16, 16, 64)).astype(np.float32)
        return x, np.asarray(self.damage(head_id, batch=batch).head(jnp.asarray(x)))

    def test_head_1_copies_channels(self, rng):
        x, y = self.head(rng, 1)
        for old, new in zip(x, y, strict=True):
            source = [
                int(
                    np.flatnonzero([np.array_equal(new[..., c], old[..., s]) for s in range(64)])[0]
                )
                for c in range(64)
            ]
            moved = np.flatnonzero(np.array(source) != np.arange(64))
            assert 1 <= len(moved) <= 5
            # A copy and not a swap: some channel is lost.
            assert len(set(source)) < 64

    def test_head_2_and_3_hit_few_values(self, rng):
        x, y = self.head(rng, 2)
        assert ((y == x) | (y == 0)).all()
        assert np.mean(y == 0) == pytest.approx(0.05, abs=0.004)
        x, y = self.head(rng, 3)
        np.testing.assert_array_equal(np.abs(y), np.abs(x))
        assert np.mean(y != x) == pytest.approx(0.025, abs=0.003)
        # Each image has draws of its own.
        assert ((y != x)[0] != (y != x)[1]).any()

    def test_head_4_is_nothing(self, rng):
        np.testing.assert_array_equal(*self.head(rng, 4))

    def test_what_is_drawn(self, key):
        drawn = edsr_features.draw(key, MANY)
        heads = np.bincount(drawn.head_id, minlength=6)[1:] / MANY
        bodies = np.bincount(drawn.body_id, minlength=7)[1:] / MANY
        np.testing.assert_allclose(heads, [0.25] * 4 + [0], atol=0.04)
        np.testing.assert_allclose(bodies, [0.2] * 5 + [0], atol=0.04)
        assert np.mean(drawn.first) == pytest.approx(1 / 3, abs=0.04)
        last = np.bincount(drawn.last, minlength=17) / MANY
        # Three draws of 15 places miss place 16 with probability (14/15)^3.
        assert last[16] == pytest.approx((14 / 15) ** 3, abs=0.03)
        assert last[15] == pytest.approx((14 / 15) ** 3 - (13 / 15) ** 3, abs=0.03)
        assert not last[:13].any()

    def test_body_damage_is_the_published_loop(self, edsr_weights, rng):
        torch = pytest.importorskip("torch")
        F = torch.nn.functional
        w = {name: torch.tensor(np.asarray(array)) for name, array in edsr_weights.items()}
        mean = 255 * torch.tensor(edsr.MEAN).view(1, 3, 1, 1)

        def conv(name, x):
            return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

        def module(i, x):
            if i == 16:
                return conv("body.16", x)
            return x + conv(f"body.{i}.body.2", F.relu(conv(f"body.{i}.body.0", x)))

        def published(x, change=None, skip=()):
            head = conv("head.0", x - mean)
            x = head
            if change is None:
                for i in range(17):
                    if i not in skip:
                        result = module(i, head)
            else:
                for i in range(5):
                    x = module(i, x)
                result = change(x)
                for i in range(5, 17):
                    result = module(i, result)
            x = result + head
            x = F.pixel_shuffle(conv("tail.0.0", x), 2)
            return conv("tail.1", F.pixel_shuffle(conv("tail.0.2", x), 2)) + mean

        cases = [
            (1, False, 16, {"change": torch.neg}),
            (2, True, 16, {"change": F.relu}),
            (2, False, 16, {"change": F.gelu}),
            (3, True, 16, {"change": lambda x: x.flip(1, 2)}),
            (3, False, 16, {"change": lambda x: x.flip(1, 3)}),
            (4, False, 16, {"skip": {2, 7}}),
            (4, False, 14, {"skip": {15, 16, 5}}),
            (4, False, 13, {"skip": {14, 15, 16}}),
            (5, False, 16, {"change": lambda x: x}),
        ]
        image = rng.uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
        wanted = [
            published(torch.tensor(image).permute(0, 3, 1, 2), **case[3])[0].permute(1, 2, 0)
            for case in cases
        ]
        damage = self.damage(
            batch=len(cases),
            body_id=jnp.array([case[0] for case in cases]),
            first=[case[1] for case in cases],
            last=[case[2] for case in cases],
        )
        params = layers.to_params(edsr.LAYERS, edsr_weights)
        images = np.repeat(image, len(cases), axis=0)
        ours = jax.jit(edsr.EDSR().apply)({"params": params}, images, damage)
        np.testing.assert_allclose(ours, torch.stack(wanted), rtol=1e-4, atol=2e-3)


class TestCAE:
    def run(self, i, seed=0):
        """z before and after, and the gain, of images damaged with id i."""
        z = np.random.default_rng(seed).uniform(-1, 1, (32, 8, 10, 32)).astype(np.float32)
        keys = jax.random.split(jax.random.key(seed), len(z))
        after, gain = damage(keys, z, jnp.full(len(z), i))
        gain = np.broadcast_to(gain, z.shape)
        assert (i == 0) == bool((gain != 1).any())
        return z, np.asarray(after), gain

    def test_0_scales_the_bits(self):
        z, after, gain = self.run(0)
        np.testing.assert_array_equal(after, z)
        for each in gain:
            assert 3 <= each.min() < 3.1
            assert each.max() <= 7
            assert each.mean() == pytest.approx((3 + each.max()) / 2, abs=0.1)
        assert len({round(float(each.max()), 2) for each in gain}) > 1  # u differs

    @pytest.mark.parametrize(("i", "factor", "share"), [(1, 0, 0.2), (2, -1, 0.1)])
    def test_1_and_2_hit_places(self, i, factor, share):
        z, after, _ = self.run(i)
        hit = (after != z).any(axis=-1)
        np.testing.assert_array_equal(after[hit], factor * z[hit])
        np.testing.assert_array_equal(after[~hit], z[~hit])
        assert hit.mean() == pytest.approx(share, abs=0.02)

    def test_3_permutes_the_first_ten_channels(self):
        z, after, _ = self.run(3)
        np.testing.assert_array_equal(after[..., 10:], z[..., 10:])
        for old, new in zip(z, after, strict=True):
            source = [
                [np.array_equal(new[..., c], old[..., s]) for s in range(10)].index(True)
                for c in range(10)
            ]
            assert sorted(source) == list(range(10))
            assert source != sorted(source)

    def reversals(self, old, new):
        """Which of the three reversals each channel went through; None: none."""
        turned = {"h": old[::-1], "w": old[:, ::-1], "hw": old[::-1, ::-1], None: old}
        for c in range(32):
            names = [n for n, t in turned.items() if np.array_equal(new[..., c], t[..., c])]
            assert len(names) == 1
            yield names[0]

    def test_4_and_5_reverse_channels(self):
        axes = set()
        for seed in range(3):
            for i, allowed in ((4, {1, 3, 5}), (5, {32})):
                for old, new in zip(*self.run(i, seed)[:2], strict=True):
                    found = list(self.reversals(old, new))
                    kinds = set(found) - {None}
                    assert len(kinds) == 1
                    assert 32 - found.count(None) in allowed
                    axes |= kinds
        assert axes == {"h", "w", "hw"}

    def kernels(self, i, seed=0, batch=6):
        """The 3x3 kernels [in, out, 3, 3] of each image, read off the response to impulses."""
        # One image per input channel, all with the same key.
        z = np.zeros((32, 8, 10, 32), np.float32)
        z[np.arange(32), 4, 4, np.arange(32)] = 1
        for key in jax.random.split(jax.random.key(seed), batch):
            keys = jnp.broadcast_to(key, (32,))
            after = np.asarray(damage(keys, z, jnp.full(32, i))[0])
            around = after[:, 3:6, 3:6]
            assert np.abs(after).sum() == pytest.approx(np.abs(around).sum(), rel=1e-5)
            # A convolution that correlates, as PyTorch's: the response is the mirrored kernel.
            yield around[:, ::-1, ::-1].transpose(0, 3, 1, 2)

    def test_6_adds_noise_to_the_identity(self):
        identity = np.zeros((32, 32, 3, 3))
        identity[np.arange(32), np.arange(32), 1, 1] = 1
        for kernel in self.kernels(6, batch=2):
            noise = kernel - identity
            assert -0.1 - 1e-6 <= noise.min() < -0.099
            assert 0.099 < noise.max() <= 0.1 + 1e-6
            assert abs(noise.mean()) < 2e-3

    def test_7_adds_taps(self):
        extra = []
        for kernel in self.kernels(7):
            assert set(np.unique(kernel)) <= {0, 1}
            assert (kernel[np.arange(32), np.arange(32), 1, 1] == 1).all()
            taps = kernel.sum((0, 2, 3)) - 1  # of each output channel
            assert set(taps) <= {0, 1}
            extra.append(taps.mean())
        assert np.mean(extra) == pytest.approx(0.5, abs=0.12)

    def test_8_shifts_channels_in_stretches(self):
        changes = []
        for kernel in self.kernels(8):
            np.testing.assert_array_equal(kernel.sum((0, 2, 3)), 1)
            own = kernel[np.arange(32), np.arange(32)].reshape(32, 9)
            np.testing.assert_array_equal(own.sum(1), 1)
            changes.append((np.diff(own.argmax(1)) != 0).mean())
        # Drawn again with probability 0.2, and then another one in 8 of 9 cases.
        assert np.mean(changes) == pytest.approx(0.2 * 8 / 9, abs=0.08)

    def test_ids_are_drawn_evenly(self, key):
        drawn = np.bincount(cae_bottleneck.draw(key, MANY), minlength=10) / MANY
        np.testing.assert_allclose(drawn, [1 / 9] * 9 + [0], atol=0.03)

    @pytest.mark.slow
    def test_the_network_uses_it(self, cae_weights, rng, key):
        # Sure of its bits, as a trained network is.
        weights = cae_weights | {"e_conv_3.0.weight": 100 * cae_weights["e_conv_3.0.weight"]}
        params = layers.to_params(cae.LAYERS, weights)
        image = rng.random((1, 16, 16, 3), np.float32)
        keys = jnp.repeat(key, 9)
        images = jnp.repeat(image, 9, axis=0)
        run = jax.jit(cae.CAE().apply)
        results = np.asarray(run({"params": params}, images, keys, jnp.arange(9)))
        assert results.shape == images.shape
        assert len(np.unique(results.reshape(9, -1), axis=0)) == 9
        again = np.asarray(run({"params": params}, images, keys, jnp.full(9, 3)))
        np.testing.assert_allclose(again, np.repeat(results[3:4], 9, axis=0), atol=1e-6)


damage = jax.jit(cae_bottleneck.damage)
