"""What the adversaries refuse, all of them alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import augmax_jax
from augmax_jax import adversary

BATCH, SIDE, CLASSES = 4, 8, 3
KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0])
START = np.full(BATCH, 0.5, np.float32), np.zeros((BATCH, 2), np.float32)


def network(x):
    return 10 * x[:, 0, 0]


def draw(keys):
    return jax.vmap(lambda k: jax.random.uniform(k, (SIDE, SIDE, 3)))(keys)


# Each as a function of what they share: key, network, images, labels, and settings.
CALLS = {
    "augmax": lambda key, net, x, y, **s: augmax_jax.augmax(
        key, net, x, y, width=2, depth=1, operators=("solarize",), **({"steps": 2} | s)
    ),
    "algorithm 1": lambda key, net, x, y, **s: adversary.augmax(
        net, x, np.stack([x, x], 1), y, *START, **({"steps": 2} | s)
    ),
    "pgd": lambda key, net, x, y, **s: adversary.pgd(key, net, x, y, **({"steps": 2} | s)),
    "fat": lambda key, net, x, y, **s: adversary.pgd(
        key, net, x, y, **({"steps": 2, "budget": 0} | s)
    ),
    "stadv": lambda key, net, x, y, **s: adversary.stadv(net, x, y, **({"steps": 1} | s)),
    "worst of k": lambda key, net, x, y, **s: adversary.worst_of_k(
        key, net, draw, y, **({"k": 2} | s)
    ),
    "spatial": lambda key, net, x, y, **s: adversary.worst_of_k_spatial(
        key, net, x, y, **({"k": 2} | s)
    ),
}
KEYED = [name for name in CALLS if name not in ("algorithm 1", "stadv")]


@pytest.fixture(params=CALLS)
def attack(request):
    def call(*, key=KEY, net=network, images=IMAGES, labels=LABELS, **settings):
        return CALLS[request.param](key, net, images, labels, **settings)

    return call


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS - 1, "labels must be classes from 0 on, got -1"),
        (LABELS + 1, "below the 3 classes of logits_fn, got 3"),
        (LABELS + 0.9, r"labels must be int \[4\], one per image, got float"),
        (LABELS > 0, "labels must be int .* got bool"),
        (LABELS[:, None], r"labels must be int \["),
        (["a"] * BATCH, "labels must be int"),
    ],
)
def test_labels(attack, labels, message):
    with pytest.raises(ValueError, match=message):
        attack(labels=labels)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (3, "logits_fn must be a function from images to logits, got int"),
        (
            lambda x: x,
            r"result of logits_fn must be float \[4, num_classes\].* got float32 \[4, 8, 8, 3\]",
        ),
        (lambda x: network(x)[:1], r"logits_fn must be float \[4, num_classes\].*\[1, 3\]"),
        (lambda x: network(x)[0], r"logits_fn must be float .*\[3\]"),
        (lambda x: network(x).astype(int), r"logits_fn must be float .* got int32 \[4, 3\]"),
        (lambda x: (network(x), {}), "logits_fn must be float .* got tuple"),
        (lambda x: network(x) * jnp.nan, "logits_fn gave NaN for some images"),
    ],
)
def test_networks(attack, net, message):
    with pytest.raises(ValueError, match=message):
        attack(net=net)


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("key", [0, "key", None, np.zeros(3, np.uint32), jnp.zeros(2)])
def test_keys(name, key):
    with pytest.raises(ValueError, match=r"key must be a JAX key such as jax\.random\.key"):
        CALLS[name](key, network, IMAGES, LABELS)


@pytest.mark.parametrize("name", KEYED)
def test_raw_keys_and_lists_of_labels_are_taken(name):
    for a, b in zip(
        jax.tree.leaves(CALLS[name](jax.random.PRNGKey(0), network, IMAGES, LABELS.tolist())),
        jax.tree.leaves(CALLS[name](KEY, network, IMAGES, LABELS)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


STEPPED = ("augmax", "algorithm 1", "pgd", "fat", "stadv")


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (STEPPED, {"steps": 1.5}, "steps must be a whole number of at least 0, got 1.5"),
        (STEPPED, {"steps": True}, "steps must be a whole number"),
        (STEPPED, {"step_size": float("nan")}, "step_size must be .* got nan"),
        (STEPPED, {"step_size": "0.1"}, "step_size must be a number, got '0.1'"),
        (STEPPED[:2], {"patience": 1.5}, "patience must be a whole number of at least 1, got 1.5"),
        (STEPPED[:2], {"step_size": float("inf")}, "step_size must be above 0 and finite, got inf"),
        (("worst of k", "spatial"), {"k": 2.0}, "k must be a whole number of at least 1, got 2.0"),
    ],
)
def test_settings(names, settings, message):
    for name in names:
        with pytest.raises(ValueError, match=message):
            CALLS[name](KEY, network, IMAGES, LABELS, **settings)


def test_images_of_another_kind_are_named():
    for name in CALLS:
        if name != "worst of k":  # which takes none
            with pytest.raises(ValueError, match="images must be"):
                CALLS[name](KEY, network, IMAGES[..., :1], LABELS)


def test_under_jit_values_are_not_checked_but_shapes_are():
    attack = jax.jit(lambda y: adversary.pgd(KEY, network, IMAGES, y, steps=1).images)
    assert attack(LABELS + 1).shape == IMAGES.shape
    with pytest.raises(ValueError, match="labels must be int"):
        attack(LABELS[:2])
    # Values that a jitted function closes over are known.
    with pytest.raises(ValueError, match="below the 3 classes"):
        jax.jit(lambda x: adversary.pgd(KEY, network, x, LABELS + 1, steps=1))(IMAGES)
    with pytest.raises(ValueError, match="step_size must be known before the program is traced"):
        jax.jit(lambda a: adversary.pgd(KEY, network, IMAGES, LABELS, step_size=a))(0.1)


def test_a_candidate_with_a_loss_of_nan_is_the_worst():
    def first_is_sound(x):  # later candidates are nudged below zero
        return jnp.where(x[:, :1, 0, 0] < 0, jnp.nan, network(x))

    def draw_nudged(keys):
        even = (jax.random.key_data(keys)[:, -1] % 2 == 0).astype(jnp.float32)
        return draw(keys) - even[:, None, None, None]

    with pytest.raises(ValueError, match="logits_fn gave NaN"):
        adversary.worst_of_k(KEY, first_is_sound, draw_nudged, LABELS, k=20)
