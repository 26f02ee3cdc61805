"""The compacted inner maximisation: the plain loop's results, for the work of active samples."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmax_jax import adversary, augment, models
from augmax_jax.adversary import active_set
from augmax_jax.runtime import compiler

BATCH, WIDTH, SIDE, CLASSES = 21, 3, 16, 10


def _as_for_users():
    """An option of XLA that undoes one of `make test`, in whose code bits depend on the batch."""
    option = {"xla_cpu_use_fusion_emitters": True}
    try:
        jax.jit(lambda x: x + 1, compiler_options=option)(0.0)
    except (RuntimeError, ValueError):  # newer versions have no other way
        return {}
    return option


OPTIONS = compiler.jit_options("cpu") | _as_for_users()


def _problem(rng, batch=BATCH):
    """Images, chains, labels and a start; most labels are the network's own prediction."""
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


@pytest.mark.parametrize(
    "chunk", [True, *(pytest.param(c, marks=pytest.mark.slow) for c in (9, 100))]
)
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


def _sums_in_one_order():
    """Whether XLA sums a sample's values in the same order in batches of these sizes.

    It does with the kernels for AVX-512, up to JAX 0.11.
    """
    facts = Path("/proc/cpuinfo")
    flags = facts.read_text() if facts.exists() else ""
    return "avx512f" in flags and jax.__version_info__ < (0, 12)


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
def test_a_sample_depends_on_its_company_by_rounding_at_most(rng, norm):
    model = models.create("wrn40_2", 10, norm=norm).clone(depth=10)
    _check_company(rng, model, 16, 10, bits=_sums_in_one_order())


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
    """m and p use only the signs of gradients, so rounding has no effect."""
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


def _counting_ascent(thresholds, patience, steps, chunk):
    """Ascends on samples that are misclassified from `thresholds` steps on, one step adding one.

    Returns:
        Both variables, the steps taken, and the rows of each evaluation.
    """
    batch, evaluated = len(thresholds), []
    slopes, thresholds = (
        np.arange(1.0, batch + 1, dtype=np.float32),
        np.array(thresholds, np.float32),
    )

    def forward(variables, rows):
        rows = np.arange(batch) if rows is None else np.asarray(rows)
        evaluated.append(rows[rows < batch].tolist())
        position, weighed = variables
        own_slopes, own_thresholds = (
            jnp.asarray(values).at[rows].get(mode="clip") for values in (slopes, thresholds)
        )
        return own_slopes * (position + 2 * weighed.sum(1)), position >= own_thresholds

    def judge(mistakes, taken, wrong):
        mistakes = mistakes + wrong.astype(jnp.int32)
        return mistakes, mistakes >= patience

    def move(variables, gradients, taken, rows):
        (position, weighed), (_, gradient) = variables, gradients
        return position + 1, weighed + gradient * (taken + 1).astype(jnp.float32)[:, None]

    with jax.disable_jit():
        (position, weighed), taken = active_set.ascend(
            forward,
            judge,
            move,
            (jnp.zeros(batch), jnp.zeros((batch, 2))),
            jnp.zeros(batch, jnp.int32),
            steps=steps,
            chunk=chunk,
        )
    return position, weighed, taken, evaluated


@settings(max_examples=30, deadline=None)
@given(
    # Few sizes, as JAX compiles every operation once for each.
    thresholds=st.sampled_from([5, 33]).flatmap(
        lambda n: st.lists(st.sampled_from([0, 1, 3, 9]), min_size=n, max_size=n)
    ),
    patience=st.sampled_from([1, 2]),
    chunk=st.sampled_from([None, 1, 10]),
)
def test_samples_ascend_as_each_would_alone(thresholds, patience, chunk):
    steps, batch = 4, len(thresholds)
    expected = np.minimum(np.array(thresholds) + patience - 1, steps)
    position, weighed, taken, evaluated = _counting_ascent(thresholds, patience, steps, chunk)
    assert taken.tolist() == position.tolist() == expected.tolist()
    slopes = np.arange(1, batch + 1)
    np.testing.assert_allclose(weighed[:, 0], slopes * expected * (expected + 1))  # 2 Σ t
    np.testing.assert_array_equal(weighed[:, 0], weighed[:, 1])

    # A sample that stops is evaluated once more than it moves, to find that out.
    needed = np.where(expected < steps, expected + 1, steps)
    if chunk is None:
        assert evaluated == [list(range(batch))] * needed.max()
        return
    size = min(max(chunk, 8), batch)
    active = [(needed > t).sum() for t in range(steps + 1)]
    while_many = next(t for t, count in enumerate(active) if count <= 0.8 * batch)
    assert all(rows == list(range(batch)) for rows in evaluated[:while_many])
    chunks = evaluated[while_many:]
    assert all(len(rows) <= size and len(set(rows)) == len(rows) for rows in chunks)
    counts = np.bincount([row for rows in chunks for row in rows], minlength=batch)
    left = np.maximum(needed - while_many, 0)
    moving = expected > while_many - 1  # at the last evaluation of the whole batch
    if while_many and moving.sum() <= 0.4 * batch:  # which is then taken again, by those alone
        left = np.where(moving, needed - while_many + 1, 0)
    assert counts.tolist() == left.tolist()


def test_chunks_are_full_until_the_end():
    """Nine samples that never stop take as many chunks of eight as their steps fill."""
    steps = 5
    thresholds = [9] * 9 + [1] * 15
    *_, taken, evaluated = _counting_ascent(thresholds, 1, steps, 8)
    assert taken.tolist() == [5] * 9 + [1] * 15
    assert [len(rows) for rows in evaluated] == [24, 24, 8, 8, 8, 8, 4]  # 9 x 4 in chunks


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
    # First step: all. Second: all, and the six that go on once more. Third: those, together.
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
