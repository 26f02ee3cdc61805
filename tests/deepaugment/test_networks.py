"""Both networks against PyTorch, written from the description, and their files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.deepaugment import cae, edsr, layers, networks

torch = pytest.importorskip("torch")
F = torch.nn.functional


def tensors(weights):
    return {name: torch.tensor(np.asarray(array)) for name, array in weights.items()}


def nchw(images):
    return torch.tensor(np.asarray(images)).permute(0, 3, 1, 2)


def nhwc(tensor):
    return tensor.permute(0, 2, 3, 1).numpy()


def torch_edsr(w, x):
    def conv(name, x):
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)

    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)
    head = conv("head.0", x - mean)
    x = head
    for block in range(16):
        name = f"body.{block}.body"
        x = x + conv(f"{name}.2", F.relu(conv(f"{name}.0", x)))
    x = conv("body.16", x) + head
    x = F.pixel_shuffle(conv("tail.0.0", x), 2)
    x = F.pixel_shuffle(conv("tail.0.2", x), 2)
    return conv("tail.1", x) + mean


def torch_cae(w):
    def conv(name, x, **options):
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options)

    def leaky(x):
        return F.leaky_relu(x, 0.01)

    def blocks(half, x):
        for block in (1, 2, 3):
            y = leaky(conv(f"{half}_block_{block}.1", F.pad(x, (1, 1, 1, 1))))
            x = x + conv(f"{half}_block_{block}.4", F.pad(y, (1, 1, 1, 1)))
        return x

    def encode(x):
        for name in ("e_conv_1.1", "e_conv_2.1"):
            x = leaky(conv(name, F.pad(x, (1, 2, 1, 2)), stride=2))
        return torch.tanh(conv("e_conv_3.0", blocks("e", x), padding=2))

    def enlarge(name, x):
        x = F.pad(leaky(x), (1, 1, 1, 1))
        return F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2)

    def decode(code):
        x = enlarge("d_up_conv_1.3", conv("d_up_conv_1.0", 2 * code - 1))
        x = enlarge("d_up_conv_2.3", conv("d_up_conv_2.0", blocks("d", x)))
        x = leaky(conv("d_up_conv_3.0", x))
        return torch.tanh(conv("d_up_conv_3.3", F.pad(x, (2, 2, 2, 2), mode="reflect")))

    return encode, decode


@pytest.mark.parametrize("name", ["edsr", "cae"])
def test_number_of_parameters(all_weights, name):
    module = {"edsr": edsr, "cae": cae}[name]
    assert sum(array.size for array in all_weights[name].values()) == module.PARAMETERS
    assert {"edsr": 1_517_571, "cae": 2_241_859}[name] == module.PARAMETERS


def test_layers_of_the_cae_are_in_order():
    names = list(cae.LAYERS)
    assert len(names) == 21
    assert (names[9], names[10], names[17]) == ("d_up_conv_1.0", "d_up_conv_1.3", "d_up_conv_2.0")


def test_edsr_is_torchs(edsr_weights, rng):
    images = rng.integers(0, 256, (2, 8, 10, 3), np.uint8)
    params = layers.to_params(edsr.LAYERS, edsr_weights)

    @jax.jit
    def run(params, images):
        return edsr.EDSR().apply({"params": params}, images), edsr.enlarge(params, images)

    ours, pixels = run(params, images.astype(np.float32))
    wanted = nhwc(torch_edsr(tensors(edsr_weights), nchw(images.astype(np.float32))))
    assert ours.shape == (2, 32, 40, 3)
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-3)
    # Fractions are cut off and not rounded.
    np.testing.assert_array_equal(pixels, np.clip(ours, 0, 255).astype(np.uint8))


def test_cae_is_torchs(cae_weights, rng):
    images = rng.random((2, 18, 23, 3), np.float32)
    variables = {"params": layers.to_params(cae.LAYERS, cae_weights)}
    encode, decode = torch_cae(tensors(cae_weights))
    z = jax.jit(lambda x: cae.CAE().apply(variables, x, method="encode"))(images)
    np.testing.assert_allclose(z, nhwc(encode(nchw(images))), rtol=1e-4, atol=1e-5)
    code = rng.integers(0, 2, z.shape).astype(np.float32)
    ours = jax.jit(lambda x: cae.CAE().apply(variables, x, method="decode"))(code)
    assert ours.shape == (2, 16, 20, 3)
    np.testing.assert_allclose(ours, nhwc(decode(nchw(code))), rtol=1e-4, atol=1e-5)


def test_pixel_shuffle_is_torchs(rng):
    x = rng.random((2, 3, 5, 18), np.float32)
    wanted = nhwc(F.pixel_shuffle(nchw(x), 3))
    np.testing.assert_array_equal(edsr.pixel_shuffle(jnp.asarray(x), 3), wanted)


def test_transposed_convolution_is_torchs(rng):
    layer = layers.Layer(4, 6, kernel=2, transposed=True)
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    weight = rng.normal(size=layer.shape).astype(np.float32)
    bias = rng.normal(size=6).astype(np.float32)
    wanted = F.conv_transpose2d(nchw(x), torch.tensor(weight), torch.tensor(bias), stride=2)
    params = {"kernel": weight.transpose(layer.axes), "bias": bias}
    ours = layer.module().apply({"params": params}, x)
    np.testing.assert_allclose(ours, nhwc(wanted), rtol=1e-5, atol=1e-5)


def test_bits_follow_their_chances_and_let_gradients_through(key):
    z = jnp.broadcast_to(jnp.array([-1.0, -0.5, 0.2, 1.0]), (1, 100, 100, 4))
    bits = cae.binarize(key, z)
    assert set(np.unique(bits)) == {0, 1}
    means = np.mean(bits, axis=(0, 1, 2))
    np.testing.assert_allclose(means, [0, 0.25, 0.6, 1], atol=0.02)
    gradient = jax.grad(lambda z: (3 * cae.binarize(key, z)).sum())(z)
    np.testing.assert_array_equal(gradient, np.full(z.shape, 1.5))


@pytest.mark.parametrize("name", ["edsr", "cae"])
def test_a_torch_file_is_read(all_weights, name, tmp_path):
    entry = networks.get(name)
    state = tensors(all_weights[name])
    if name == "edsr":  # as in the published file
        for part, sign in (("sub_mean", -1), ("add_mean", 1)):
            state[f"{part}.weight"] = torch.eye(3).view(3, 3, 1, 1)
            state[f"{part}.bias"] = sign * 255 * torch.tensor([0.4488, 0.4371, 0.4040])
    torch.save(state, tmp_path / "model.pt")
    read = entry.check(layers.read_file(tmp_path / "model.pt"))
    layers.save_file(tmp_path / "ours.npz", read)
    again = entry.check(layers.read_file(tmp_path / "ours.npz"))
    assert set(again) == set(all_weights[name])
    for key, array in all_weights[name].items():
        np.testing.assert_array_equal(again[key], array)
    params = layers.to_params(entry.layers, again)
    back = layers.to_weights(entry.layers, params)
    assert layers.digest(back) == layers.digest(all_weights[name])


def test_a_file_that_does_not_fit_is_refused(edsr_weights, cae_weights):
    wrong = dict(edsr_weights)
    del wrong["body.3.body.0.bias"]
    wrong["head.0.weight"] = wrong["head.0.weight"][:8]
    wrong["tail.1.bias"] = wrong["tail.1.bias"] * np.nan
    wrong["tail.9.bias"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="weights of EDSR baseline x4") as caught:
        edsr.check(wrong)
    for part in (
        "missing (1): body.3.body.0.bias",
        "left over (1): tail.9.bias",
        "head.0.weight (8, 3, 3, 3) instead of (64, 3, 3, 3)",
        "not finite floats (1): tail.1.bias",
    ):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match=r"autoencoder.*\n.*missing"):
        cae.check(edsr_weights)
    shifted = dict(edsr_weights) | {"add_mean.bias": np.zeros(3, np.float32)}
    with pytest.raises(ValueError, match=r"add_mean\.bias of EDSR must be \[114"):
        edsr.check(shifted)
