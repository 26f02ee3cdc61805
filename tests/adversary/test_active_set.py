"""The compacted inner maximisation: the plain loop's results, for the work of active samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmax_jax import adversary, augment, compiler, models
from augmax_jax.adversary import active_set

BATCH, WIDTH, SIDE, CLASSES = 21, 3, 16, 10
OPTIONS = compiler.jit_options("cpu")


def _problem(rng, batch=BATCH):
    """Images, chains, labels and a start; labels are a network's own guess for most."""
    images = rng.integers(0, 256, (batch, SIDE, SIDE, 3), dtype=np.uint8)
    chains = rng.integers(0, 256, (batch, WIDTH, SIDE, SIDE, 3), dtype=np.uint8)
    m, p = rng.random(batch, np.float32), rng.random((batch, WIDTH), np.float32)
    return images, chains, m, p


@pytest.fixture(scope="module")
def network():
    """A small WRN with DuBIN: convolutions of stride 1 and 2, 1x1, instance and batch norms."""
    model = models.create("wrn40_2", CLASSES, norm="dubin").clone(depth=10)
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, SIDE, SIDE, 3)))

    def logits(x):
        # Sharper than at its start, so that small moves of the image change the class.
        return 20 * model.apply(variables, x, route="augmented")

    return logits


@pytest.fixture(scope="module")
def labels(network):
    rng = np.random.default_rng(0)
    images, chains, m, p = _problem(rng)
    start = adversary.augmax(network, images, chains, np.zeros(BATCH, int), m, p, steps=0)
    guess = np.asarray(network(start.images).argmax(-1))
    return np.where(rng.random(BATCH) < 0.8, guess, (guess + 1) % CLASSES)


@pytest.mark.parametrize("chunk", [True, 9, 100])
def test_results_equal_those_of_the_plain_loop_bit_for_bit(rng, network, labels, chunk):
    images, chains, m, p = _problem(np.random.default_rng(0))

    def run(compact):
        step = jax.jit(
            lambda *a: adversary.augmax(network, *a, steps=4, compact=compact),
            compiler_options=OPTIONS,
        )
        return step(images, chains, labels, m, p)

    plain, compacted = run(False), run(chunk)
    assert len(set(plain.steps.tolist())) > 1
    for a, b in zip(plain, compacted, strict=True):
        np.testing.assert_array_equal(a, b)


def _evaluate(model, variables):
    """A jitted function: gradient of the loss of images and labels, and their logits."""

    def evaluate(x, labels):
        def loss(x):
            logits = model.apply(variables, x, route="augmented")
            return jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).sum(), logits

        return jax.grad(loss, has_aux=True)(x)

    return jax.jit(evaluate, compiler_options=OPTIONS)


def _check_company(rng, model, side, classes, *, bits):
    """Samples get the same gradient and logits in a batch of 24 and in one of 8."""
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, side, side, 3)))
    x = jnp.asarray(rng.random((24, side, side, 3), np.float32))
    labels = jnp.asarray(rng.integers(0, classes, 24))
    evaluate = _evaluate(model, variables)
    rows = jnp.asarray(rng.permutation(24)[:8])
    whole = jax.tree.map(lambda a: a[rows], evaluate(x, labels))
    for a, b in zip(whole, evaluate(x[rows], labels[rows]), strict=True):
        if bits:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize("norm", ["bn", "dubin"])
def test_a_sample_does_not_depend_on_its_company(rng, norm):
    _check_company(rng, models.create("wrn40_2", 10, norm=norm).clone(depth=10), 16, 10, bits=True)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("name", ["wrn40_2", "resnet18", "resnext29"])
def test_a_sample_of_the_papers_networks_depends_on_its_company_by_rounding_only(
    rng, name, classes
):
    _check_company(rng, models.create(name, classes), 32, classes, bits=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wrn40_2", "resnet18"])
def test_compacted_runs_of_the_papers_networks_give_the_same_bits(rng, name):
    """m and p see signs only, so that rounding of the gradients is lost."""
    model = models.create(name, 10)
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))
    images = jnp.asarray(rng.integers(0, 256, (64, 32, 32, 3), np.uint8))
    chains = augment.sample_chains(jax.random.key(2), images, width=3, severity=3)
    labels = jnp.asarray(rng.integers(0, 10, 64))
    m, p = adversary.random_start(jax.random.key(3), 64, 3)

    def run(compact):
        def attack(*arguments):
            return adversary.augmax(
                lambda x: model.apply(variables, x, route="augmented"),
                *arguments,
                steps=5,
                compact=compact,
            )

        return jax.jit(attack, compiler_options=OPTIONS)(images, chains, labels, m, p)

    plain, compacted = run(False), run(True)
    assert len(set(plain.steps.tolist())) > 1
    for a, b in zip(plain, compacted, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=50, deadline=None)
@given(
    samples=st.lists(st.tuples(st.booleans(), st.integers(-9, 9)), min_size=1, max_size=40),
    chunk=st.integers(1, 20),
    ordered=st.booleans(),
)
def test_active_samples_are_evaluated_once_each_in_order(samples, chunk, ordered):
    (active, order), calls = np.array(samples).T, []
    active = active.astype(bool)
    order = order.astype(np.float32) if ordered else None

    def evaluate(rows):
        jax.debug.callback(lambda rows: calls.append(rows.tolist()), rows)
        return rows * 10 + 1, jnp.stack([rows, -rows], 1) + 0.5, rows >= 0

    with jax.disable_jit():
        values, pairs, flags = active_set.evaluate_active(
            evaluate, jnp.asarray(active), chunk, order=order
        )
    rows = np.arange(len(active))
    assert values.tolist() == np.where(active, rows * 10 + 1, 0).tolist()
    expected = np.where(active[:, None], np.stack([rows, -rows], 1) + 0.5, 0)
    assert pairs.tolist() == expected.tolist()
    assert flags.tolist() == active.tolist()
    evaluated = [row for call in calls for row in call if row < len(active)]
    if ordered:
        rows = rows[np.argsort(order, stable=True)]
        active = active[rows]
    assert evaluated == rows[active].tolist()
    chunk = min(max(chunk, 8), len(active))
    assert len(calls) == -(-active.sum() // chunk)  # as many chunks as it takes


def test_chunks_in_which_all_samples_stop_get_no_gradients():
    calls = []

    @jax.custom_vjp
    def count(logits):
        jax.debug.callback(lambda: calls.append("forward"))
        return logits

    def backward(_, g):
        jax.debug.callback(lambda: calls.append("backward"))
        return (g,)

    count.defvjp(lambda logits: (count(logits), None), backward)

    def brightness(x):  # class 1 for bright images
        mean = x.mean((1, 2, 3))
        return count(jnp.stack([0.5 - mean, mean - 0.5], 1))

    # Every other image is bright. All are of class 0, so those stop after one step and the others
    # never; each kind fills a chunk of its own, once the losses are known.
    images = np.zeros((16, 4, 4, 3), np.uint8)
    images[::2] = 255
    chains = np.repeat(images[:, None], 3, axis=1)
    start = np.full(16, 0.5, np.float32), np.zeros((16, 3), np.float32)
    result = adversary.augmax(
        brightness, images, chains, np.zeros(16, int), *start, steps=3, compact=8
    )
    jax.effects_barrier()
    assert result.steps.tolist() == [1, 3] * 8
    # First step: both chunks. Second: forwards both, backwards one. Third: one chunk is left.
    assert (calls.count("forward"), calls.count("backward")) == (5, 4)


def test_an_iteration_costs_a_forward_and_an_input_gradient(rng, network):
    images, chains, m, p = _problem(rng)
    labels = np.zeros(BATCH, int)

    def flops(function, *arguments):
        compiled = jax.jit(function, compiler_options=OPTIONS).lower(*arguments).compile()
        return compiled.cost_analysis()["flops"]

    x = jnp.zeros((BATCH, SIDE, SIDE, 3))
    least = flops(lambda x: jax.grad(lambda x: network(x).sum())(x), x)
    for compact in (False, BATCH):
        # The loop's body counts once.
        attack = flops(
            lambda *a, compact=compact: adversary.augmax(network, *a, compact=compact),
            images,
            chains,
            labels,
            m,
            p,
        )
        assert least < attack < 1.1 * least


@pytest.mark.parametrize("compact", [-1, 2.5, "yes"])
def test_bad_chunk_is_refused(rng, network, compact):
    images, chains, m, p = _problem(rng, 2)
    with pytest.raises(ValueError, match="compact must be True, False or a positive number"):
        adversary.augmax(network, images, chains, np.zeros(2, int), m, p, compact=compact)
