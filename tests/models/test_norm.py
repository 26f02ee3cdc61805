"""The four norms against their definitions in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.models import norm as norms
from augmax_jax.models.norm import IBN, BatchNorm, DuBIN, DuBN

LAYERS = [BatchNorm, IBN, DuBN, DuBIN]
ROUTES = norms.ROUTES


def collection(layer, route):
    return f"batch_stats_{route}" if layer.dual else "batch_stats"


def prefix(layer, route):
    return f"{route}_" if layer.dual else ""


def random_variables(layer, channels, rng):
    """Variables of a layer, every entry drawn at random."""
    variables = layer().init(jax.random.key(0), jnp.zeros((2, 2, 2, channels)), route="clean")
    return jax.tree.map(lambda a: rng.uniform(0.5, 1.5, a.shape).astype(np.float32), variables)


def reference(layer, variables, x, route, train):
    """The layer in float64; returns the output and the running statistics afterwards."""
    x = np.asarray(x, np.float64)
    params = variables["params"]
    stats = variables[collection(layer, route)]
    half = int(x.shape[-1] * 0.5) if layer.instance else 0
    y = np.empty_like(x)
    if half:
        first = x[..., :half]
        mean, var = first.mean((1, 2), keepdims=True), first.var((1, 2), keepdims=True)
        y[..., :half] = (first - mean) / np.sqrt(var + 1e-5) * params["instance_scale"]
        y[..., :half] += params["instance_bias"]
    rest = x[..., half:]
    running = {"mean": stats["mean"], "var": stats["var"]}
    mean, var = running["mean"], running["var"]
    if train:
        mean, var = rest.mean((0, 1, 2)), rest.var((0, 1, 2))
        unbiased = rest.reshape(-1, rest.shape[-1]).var(0, ddof=1)
        running = {
            "mean": 0.9 * running["mean"] + 0.1 * mean,
            "var": 0.9 * running["var"] + 0.1 * unbiased,
        }
    name = prefix(layer, route)
    y[..., half:] = (rest - mean) / np.sqrt(var + 1e-5) * params[f"{name}scale"]
    y[..., half:] += params[f"{name}bias"]
    return y, running


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("channels", [6, 7])
@pytest.mark.parametrize("layer", LAYERS)
def test_training_equals_definition(layer, channels, route, relu, rng):
    variables = random_variables(layer, channels, rng)
    x = rng.normal(0.3, 2.0, (4, 5, 3, channels)).astype(np.float32)
    name = collection(layer, route)
    y, updated = layer().apply(variables, x, route=route, train=True, relu=relu, mutable=[name])
    expected, running = reference(layer, variables, x, route, train=True)
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, atol=2e-5)
    assert list(updated) == [name]
    for statistic in ("mean", "var"):
        np.testing.assert_allclose(updated[name][statistic], running[statistic], rtol=1e-5)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("channels", [6, 7])
@pytest.mark.parametrize("layer", LAYERS)
def test_evaluation_equals_definition(layer, channels, route, rng):
    variables = random_variables(layer, channels, rng)
    x = rng.normal(0.3, 2.0, (4, 5, 3, channels)).astype(np.float32)
    y = layer().apply(variables, x, route=route)
    np.testing.assert_allclose(y, reference(layer, variables, x, route, False)[0], atol=2e-5)


@pytest.mark.parametrize("layer", [DuBN, DuBIN])
@pytest.mark.parametrize("route", ROUTES)
def test_a_route_leaves_the_other_alone(layer, route, rng):
    variables = random_variables(layer, 6, rng)
    other = next(r for r in ROUTES if r != route)
    x = rng.normal(size=(4, 5, 3, 6)).astype(np.float32)
    both = [collection(layer, r) for r in ROUTES]
    y, updated = layer().apply(variables, x, route=route, train=True, mutable=both)
    for statistic in ("mean", "var"):
        old, new = (v[collection(layer, other)][statistic] for v in (variables, updated))
        np.testing.assert_array_equal(old, new)
        old, new = (v[collection(layer, route)][statistic] for v in (variables, updated))
        assert np.all(old != new)

    # Nor does it read it, and no gradient reaches the other route's affine parameters.
    without = {k: v for k, v in variables.items() if k != collection(layer, other)}
    own = [collection(layer, route)]
    again, _ = layer().apply(without, x, route=route, train=True, mutable=own)
    np.testing.assert_array_equal(y, again)

    def loss(params):
        out = layer().apply({**variables, "params": params}, x, route=route)
        return jnp.sum(out**2)

    gradient = jax.grad(loss)(variables["params"])
    for parameter in ("scale", "bias"):
        assert np.all(gradient[f"{other}_{parameter}"] == 0)
        assert np.all(gradient[f"{route}_{parameter}"] != 0)
    if layer.instance:
        assert np.all(gradient["instance_scale"] != 0)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_initialising_with_either_route_creates_both(layer, train):
    x = jnp.ones((2, 4, 4, 7)) * 3
    trees = [layer().init(jax.random.key(0), x, route=r, train=train) for r in ROUTES]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    expected = {f"batch_stats_{r}" for r in ROUTES} if layer.dual else {"batch_stats"}
    assert set(trees[0]) == {"params"} | expected
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees[0]):
        start = 1.0 if path[-1].key.endswith(("scale", "var")) else 0.0
        assert np.all(leaf == start), path
        assert leaf.dtype == jnp.float32
        assert leaf.shape == ((3,) if "instance" in path[-1].key else (4 if layer.instance else 7,))


@pytest.mark.parametrize("layer", [BatchNorm, DuBIN])
def test_flat_channels_keep_their_variance(layer, rng):
    """Means 1e4 times the spread: averaging squares in float32 would leave no digit."""
    variables = random_variables(layer, 4, rng)
    x = (100 + rng.normal(0, 0.01, (4, 8, 8, 4))).astype(np.float32)
    name = collection(layer, "clean")
    y, updated = layer().apply(variables, x, route="clean", train=True, mutable=[name])
    expected, running = reference(layer, variables, x, "clean", train=True)
    np.testing.assert_allclose(y, expected, atol=2e-2)
    np.testing.assert_allclose(updated[name]["var"], running["var"], rtol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_bfloat16_keeps_float32_statistics(layer, rng):
    variables = random_variables(layer, 6, rng)
    x = jnp.asarray(rng.normal(0.3, 2.0, (8, 16, 16, 6)), jnp.bfloat16)
    name = collection(layer, "clean")
    y, updated = layer().apply(variables, x, route="clean", train=True, mutable=[name])
    expected, running = reference(layer, variables, np.asarray(x, np.float64), "clean", train=True)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-3)
    for statistic in ("mean", "var"):
        assert updated[name][statistic].dtype == jnp.float32
        np.testing.assert_allclose(updated[name][statistic], running[statistic], rtol=1e-5)


@pytest.mark.parametrize("layer", [BatchNorm, DuBIN])
def test_synchronised_over_devices_equals_whole_batch(layer, rng):
    variables = random_variables(layer, 7, rng)
    x = rng.normal(0.3, 2.0, (8, 4, 4, 7)).astype(np.float32)
    x += np.arange(8)[:, None, None, None]  # devices that differ
    target = rng.normal(size=x.shape).astype(np.float32)
    name = collection(layer, "augmented")

    def step(params, x, target, axis_name):
        def loss(params, x):
            y, updated = layer(axis_name=axis_name).apply(
                {**variables, "params": params},
                x,
                route="augmented",
                train=True,
                mutable=[name],
            )
            return jnp.mean(y * target), (y, updated)

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    (grads, dx), (y, updated) = step(variables["params"], x, target, None)
    devices = jax.local_devices()[:4]
    sharded = jax.pmap(
        lambda x, t: step(variables["params"], x, t, "device"),
        axis_name="device",
        devices=devices,
    )
    (grads4, dx4), (y4, updated4) = jax.device_get(
        sharded(x.reshape(4, 2, 4, 4, 7), target.reshape(4, 2, 4, 4, 7))
    )
    np.testing.assert_allclose(y4.reshape(y.shape), y, atol=2e-5)
    np.testing.assert_allclose(dx4.reshape(dx.shape) / 4, dx, atol=1e-6)
    for a, b in zip(jax.tree.leaves(grads4), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(a.mean(0), b, atol=1e-5)
    for statistic in ("mean", "var"):
        for device in range(4):
            np.testing.assert_allclose(
                updated4[name][statistic][device], updated[name][statistic], rtol=1e-5
            )

    own = jax.pmap(lambda x, t: step(variables["params"], x, t, None), devices=devices)
    _, (_, separate) = own(x.reshape(4, 2, 4, 4, 7), target.reshape(4, 2, 4, 4, 7))
    means = np.asarray(separate[name]["mean"])
    assert np.ptp(means, axis=0).min() > 0.1  # without axis_name: per device


@pytest.mark.parametrize("layer", LAYERS)
def test_gradient_equals_finite_differences(layer, rng):
    variables = random_variables(layer, 4, rng)
    x = rng.normal(size=(2, 3, 2, 4)).astype(np.float32)
    direction = rng.normal(size=x.shape)
    weights = rng.normal(size=x.shape)
    name = collection(layer, "clean")

    def loss(x):
        y, _ = layer().apply(variables, x, route="clean", train=True, mutable=[name])
        return jnp.sum(y * weights)

    def float64_loss(x):
        return np.sum(reference(layer, variables, x, "clean", train=True)[0] * weights)

    slope = np.sum(np.asarray(jax.grad(loss)(x)) * direction)
    step = 1e-5
    expected = float64_loss(x + step * direction) - float64_loss(x - step * direction)
    np.testing.assert_allclose(slope, expected / (2 * step), rtol=1e-4)


def test_statistics_collections():
    for norm in ("bn", "ibn"):
        assert {norms.statistics_collection(norm, r) for r in ROUTES} == {"batch_stats"}
        assert norms.statistics_collections(norm) == ("batch_stats",)
    for norm in ("dubn", "dubin"):
        assert norms.statistics_collection(norm, "clean") == "batch_stats_clean"
        assert norms.statistics_collections(norm) == ("batch_stats_clean", "batch_stats_augmented")
    with pytest.raises(ValueError, match=r"unknown norm 'dubim'.*'dubin'"):
        norms.statistics_collection("dubim", "clean")
    with pytest.raises(ValueError, match="unknown route 'aug'"):
        norms.statistics_collection("bn", "aug")


def test_errors():
    x = jnp.ones((1, 1, 1, 4))
    variables = DuBIN().init(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"unknown route 'augmneted'.*'augmented'"):
        DuBIN().apply(variables, x, route="augmneted")
    with pytest.raises(ValueError, match="more than one value per channel"):
        DuBIN().apply(variables, x, train=True, mutable=["batch_stats_clean"])


def test_layers_of_equal_shapes_are_traced_once():
    layers = [DuBIN() for _ in range(3)]
    x = jnp.zeros((2, 4, 4, 8))
    variables = [layer.init(jax.random.key(0), x) for layer in layers]

    def network(variables, x):
        for layer, own in zip(layers, variables, strict=True):
            x, _ = layer.apply(own, x, train=True, mutable=["batch_stats_clean"])
        return x

    text = jax.jit(network).lower(variables, x).as_text()
    for function in (norms.batch_moments, norms._joined, norms._normalising):
        assert text.count(f"call @{function.__name__}(") == len(layers)
        assert text.count(f"func private @{function.__name__}(") == 1
