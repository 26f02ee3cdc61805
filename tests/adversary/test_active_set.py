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
    # Few sizes, as JAX compiles every operation once for each.
    samples=st.sampled_from([5, 33]).flatmap(
        lambda n: st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n)
    ),
    chunk=st.sampled_from([1, 10]),
)
def test_active_samples_are_evaluated_as_often_as_it_takes(samples, chunk):
    active, misclassified = np.array(samples).T
    batch, evaluated = len(active), []
    slopes = np.arange(1.0, batch + 1, dtype=np.float32)

    def forward(variables, rows):
        rows = np.arange(batch) if rows is None else rows
        evaluated.append([row for row in np.asarray(rows).tolist() if row < batch])
        own = jnp.asarray(slopes).at[rows].get(mode="clip")
        a, b = variables
        return own * (a + 2 * b.sum(1)), jnp.asarray(misclassified).at[rows].get(mode="clip")

    with jax.disable_jit():
        (first, second), wrong = active_set.active_gradients(
            forward, (jnp.zeros(batch), jnp.zeros((batch, 2))), active, lambda wrong: wrong, chunk
        )
    moves = active & ~misclassified
    assert first[moves].tolist() == slopes[moves].tolist()
    assert second[moves].tolist() == np.stack([2 * slopes[moves]] * 2, 1).tolist()
    assert wrong.tolist() == (active & misclassified).tolist()

    chunk = min(max(chunk, 8), batch)
    expected, left = [], np.flatnonzero(active)
    if active.sum() > 0.8 * batch:
        expected = [list(range(batch))]
        left = np.flatnonzero(moves) if moves.sum() <= 0.4 * batch else left[:0]
    assert evaluated[: len(expected)] == expected
    chunks = [left[i : i + chunk].tolist() for i in range(0, len(left), chunk)]
    assert evaluated[len(expected) :] == chunks


def test_backward_passes_are_for_samples_that_go_on():
    calls = []

    @jax.custom_vjp
    def count(logits):
        jax.debug.callback(lambda logits: calls.append(("forward", len(logits))), logits)
        return logits

    def backward(_, g):
        jax.debug.callback(lambda g: calls.append(("backward", len(g))), g)
        return (g,)

    count.defvjp(lambda logits: (count(logits), None), backward)

    def brightness(x):  # class 1 for bright images
        mean = x.mean((1, 2, 3))
        return count(jnp.stack([0.5 - mean, mean - 0.5], 1))

    # Every fourth image is dark. All are of class 0, so those never stop and the others after one
    # step.
    images = np.full((24, 4, 4, 3), 255, np.uint8)
    images[::4] = 0
    chains = np.repeat(images[:, None], 3, axis=1)
    start = np.full(24, 0.5, np.float32), np.zeros((24, 3), np.float32)
    result = adversary.augmax(
        brightness, images, chains, np.zeros(24, int), *start, steps=3, compact=8
    )
    jax.effects_barrier()
    assert result.steps.tolist() == [3, 1, 1, 1] * 6
    # First step: all. Second: all, and the six that go on once more. Third: those.
    assert sorted(calls) == [
        *[("backward", 8)] * 2,
        ("backward", 24),
        *[("forward", 8)] * 2,
        *[("forward", 24)] * 2,
    ]


def test_an_iteration_costs_a_forward_and_an_input_gradient(rng, network):
    images, chains, m, p = _problem(rng)
    labels = np.zeros(BATCH, int)

    def flops(function, *arguments):
        compiled = jax.jit(function, compiler_options=OPTIONS).lower(*arguments).compile()
        return compiled.cost_analysis()["flops"]

    x = jnp.zeros((BATCH, SIDE, SIDE, 3))
    least = flops(lambda x: jax.grad(lambda x: network(x).sum())(x), x)
    for compact, bodies in ((False, 1), (BATCH, 2)):  # of the loop, each of which counts once
        attack = flops(
            lambda *a, compact=compact: adversary.augmax(network, *a, compact=compact),
            images,
            chains,
            labels,
            m,
            p,
        )
        assert bodies * least < attack < 1.1 * bodies * least


@pytest.mark.parametrize("compact", [-1, 2.5, "yes"])
def test_bad_chunk_is_refused(rng, network, compact):
    images, chains, m, p = _problem(rng, 2)
    with pytest.raises(ValueError, match="compact must be True, False or a positive number"):
        adversary.augmax(network, images, chains, np.zeros(2, int), m, p, compact=compact)
