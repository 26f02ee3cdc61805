"""Each method's views, as the papers and the released code have them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax import adversary, augment, methods
from augmax_jax.config import defaults
from augmax_jax.methods import StepInputs
from augmax_jax.methods.base import split_keys
from augmax_jax.runtime.keys import example_keys

BATCH, CLASSES = 6, 4

CLEAN = ("clean", "clean", 1.0, False)


def config(method, **objective):
    c = defaults()
    c.method = method
    c.batch_size = BATCH
    c.augment.width, c.augment.depth = 2, 1
    c.augment.operators = "solarize,translate_x"  # two cheap ones
    c.adversary.steps = c.pgd.steps = c.fat.steps = c.stadv.steps = 2
    c.worst_of_k.k = c.maxup.copies = 2
    c.ant.retrain_steps, c.ant.history = 3, 2
    for name, value in objective.items():
        c.objective[name] = value
    return c


def logits_fn(x, route):
    scale = {"clean": 1.0, "augmented": 2.0}[route]
    return scale * x.mean(axis=(1, 2)) @ jnp.eye(3, CLASSES)


def alone(tree):
    """The mean over one device."""
    return tree


@pytest.fixture
def inputs(rng, key):
    return StepInputs(
        logits_fn=logits_fn,
        keys=example_keys(key, BATCH),
        images=jnp.asarray(rng.integers(0, 256, (BATCH, 16, 16, 3), dtype=np.uint8)),
        labels=jnp.asarray(rng.integers(0, CLASSES, BATCH)),
        position=jnp.arange(BATCH),
        key=jax.random.key(7),
        step=jnp.int32(0),
        mean=alone,
    )


PROGRAMS = {}


def program(c, **functions):
    """The compiled views of a config, kept for other tests, and what they are called."""
    kept = (c.to_json(), *functions.values())
    if kept not in PROGRAMS:
        method, labelled = methods.create(c, CLASSES), []

        @jax.jit
        def compute(arrays):
            given = StepInputs(**functions, **arrays)
            views, diagnostics, _ = method.views(given, method.init(jax.random.key(5)))
            labelled[:] = views
            return [view.images for view in views], diagnostics

        PROGRAMS[kept] = compute, labelled
    return PROGRAMS[kept]


def views_of(c, inputs):
    compute, labelled = program(c, logits_fn=inputs.logits_fn, mean=inputs.mean)
    arrays = {k: v for k, v in inputs._asdict().items() if k not in ("logits_fn", "mean")}
    images, diagnostics = compute(arrays)
    return [v._replace(images=x) for v, x in zip(labelled, images, strict=True)], diagnostics


def with_attack(name):
    return [
        (name, "augmented", 0.5, True),
        ("augmix", "augmented", 0.0, True),
        ("clean", "clean", 0.5, True),
    ]


@pytest.mark.parametrize(
    ("method", "variant", "expected"),
    [
        ("normal", "paper", [CLEAN]),
        (
            "augmix",
            "paper",
            [
                ("augmix_1", "augmented", 0.0, True),
                ("augmix_2", "augmented", 0.0, True),
                ("clean", "clean", 1.0, True),
            ],
        ),
        ("augmax", "paper", with_attack("augmax")),
        (
            "augmax",
            "released",
            [
                ("augmax", "augmented", 0.0, True),
                ("augmix", "clean", 0.0, True),
                ("clean", "clean", 1.0, True),
            ],
        ),
        ("pgd_at", "paper", [("pgd", "clean", 1.0, False)]),
        ("fat", "paper", [("fat", "clean", 1.0, False)]),
        ("augmix_pgd", "paper", with_attack("pgd")),
        ("advmix", "paper", with_attack("advmix")),
        ("advmax", "paper", with_attack("advmax")),
        ("ant", "paper", [("ant", "clean", 1.0, False)]),
        ("maxup", "paper", [("maxup", "clean", 1.0, False)]),
    ],
)
def test_views(method, variant, expected, inputs):
    views, diagnostics = views_of(config(method, variant=variant), inputs)
    assert [(v.name, v.route, v.weight, v.consistent) for v in views] == expected
    spec = methods.METHODS[method]
    assert {view.name for view in views} == set(spec.view_labels)
    assert {name for name in diagnostics if "/" not in name} == set(spec.curves)
    for view in views:
        assert view.images.shape == (BATCH, 16, 16, 3)
        assert view.images.dtype == jnp.float32
        assert 0 <= view.images.min() <= view.images.max() <= 1
    if views[-1].name == "clean":
        np.testing.assert_allclose(views[-1].images, inputs.images / 255, atol=1e-7)
    assert all(np.shape(value) == () for value in diagnostics.values())


@pytest.mark.parametrize("method", ["augmax", "advmax", "fat", "pgd_at", "augmix_pgd"])
def test_every_ascent_is_logged(method, inputs):
    _, diagnostics = views_of(config(method), inputs)
    shares = [float(diagnostics[f"ascent_steps/{t}"]) for t in range(3)]
    assert sum(shares) == pytest.approx(1)
    assert diagnostics["ascent_steps"] == pytest.approx(shares[1] + 2 * shares[2])


def test_weights_can_be_chosen(inputs):
    c = config("augmix")
    c.objective.weights.augmix, c.objective.weights.clean = 0.25, 0.5
    views, _ = views_of(c, inputs)
    assert [v.weight for v in views] == [0.25, 0.25, 0.5]  # both AugMix views
    c.objective.weights.augmix = c.objective.weights.clean = 0.0
    with pytest.raises(ValueError, match="leave a view with a weight above 0"):
        views_of(c, inputs)


@pytest.mark.parametrize("every", [2, 3])
def test_of_a_part_of_the_batch_the_attack_is_the_usual_one_and_the_rest_is_augmix(inputs, every):
    c = config("augmax")
    usual, _ = views_of(c, inputs)
    c.adversary.every = every
    seen = []

    def counted(x, route):
        seen.append(len(x))
        return logits_fn(x, route)

    views, diagnostics = views_of(c, inputs._replace(logits_fn=counted))
    assert max(seen) == BATCH // every  # the cost falls
    assert sum(diagnostics[f"ascent_steps/{t}"] for t in range(3)) == pytest.approx(1)
    for got, want in zip(views[1:], usual[1:], strict=True):
        np.testing.assert_array_equal(got.images, want.images)
    np.testing.assert_array_equal(views[0].images[::every], usual[0].images[::every])
    _, attack_keys, second = split_keys(inputs.keys, 3)
    chains = augment.sample_chains(second, inputs.images, **methods.chain_settings(c))
    weights = augment.sample_mixing_weights(attack_keys, BATCH, c.augment.width)
    mixed = augment.mix(inputs.images, chains, *weights)
    rest = np.arange(BATCH) % every > 0
    np.testing.assert_allclose(views[0].images[rest], mixed[rest], atol=1e-6)


def test_routes_can_be_chosen(inputs):
    c = config("augmax")
    c.adversary.steps = 0
    c.objective.routes.augmix = "clean"
    views, diagnostics = views_of(c, inputs)
    assert [v.route for v in views] == ["augmented", "clean", "clean"]
    assert diagnostics["ascent_steps"] == 0
    # The two augmented views are drawn independently.
    assert not np.allclose(views[0].images, views[1].images)


def loss(view, inputs):
    logits = logits_fn(view.images, view.route)
    return -jax.nn.log_softmax(logits)[jnp.arange(BATCH), inputs.labels]


def test_the_attack_raises_the_loss(inputs):
    still, moved = config("augmax"), config("augmax")
    moved.adversary.early_stop = "none"
    still.adversary.steps, moved.adversary.steps = 0, 5
    assert (
        loss(views_of(moved, inputs)[0][0], inputs).mean()
        > loss(views_of(still, inputs)[0][0], inputs).mean()
    )


@pytest.mark.parametrize("method", ["fat", "advmax", "ant", "maxup"])
def test_draws_depend_on_the_example_alone(method, inputs):
    c = config(method)
    c.ant.retrain_steps, c.ant.learning_rate = 0, 0.0  # a generator learns from all examples
    whole, _ = views_of(c, inputs)
    tail = inputs._replace(
        **{name: getattr(inputs, name)[4:] for name in ("keys", "images", "labels", "position")}
    )
    for a, b in zip(whole, views_of(c, tail)[0], strict=True):
        np.testing.assert_allclose(a.images[4:], b.images, atol=1e-5)


def test_targeted_attack_runs(inputs):
    c = config("augmax")
    c.adversary.targeted = True
    views, _ = views_of(c, inputs)
    assert np.isfinite(views[0].images).all()


@pytest.mark.parametrize("method", ["pgd_at", "augmix_pgd"])
def test_pgd_views_attack_the_image_as_it_is(method, inputs):
    c = config(method)
    c.pgd.eps, c.pgd.step_size, c.pgd.random_start = 0.05, 0.02, False
    views, _ = views_of(c, inputs)
    shift = np.abs(views[0].images - inputs.images / 255)
    assert shift.max() == pytest.approx(0.04, abs=1e-6)
    clean = methods.View("clean", inputs.images / 255, views[0].route, 1.0, False)
    assert (loss(views[0], inputs) > loss(clean, inputs)).all()


@pytest.mark.parametrize(("step", "budget"), [(0, 0), (3, 0), (4, 1), (8, 3)])
def test_fat_budgets_grow_over_the_epochs(step, budget, inputs):
    c = config("fat")
    c.fat.budgets, c.fat.boundaries = (0, 1, 3), (2.0, 4.0)
    c.fat.steps = 6
    method = methods.create(c, CLASSES, examples=2 * BATCH)  # two steps an epoch
    views, diagnostics, _ = method.views(inputs._replace(step=jnp.int32(step)), None)
    assert diagnostics["budget"] == budget
    direct = adversary.pgd(
        inputs.keys,
        lambda x: logits_fn(x, "clean"),
        inputs.images,
        inputs.labels,
        eps=0.031,
        step_size=0.007,
        steps=6,
        budget=budget,
        jitter=0.001,
    )
    np.testing.assert_allclose(views[0].images, direct.images, atol=1e-6)
    assert diagnostics["ascent_steps"] == direct.steps.mean()
    shares = [float(diagnostics[f"ascent_steps/{t}"]) for t in range(7)]
    np.testing.assert_allclose(shares, np.bincount(direct.steps, minlength=7) / BATCH)


def test_advmix_keeps_the_worst_of_its_draws(inputs):
    c = config("advmix")
    c.worst_of_k.k = 1
    one, first = views_of(c, inputs)
    assert first["worst_loss"] == first["first_loss"]
    c.worst_of_k.k = 6
    six, found = views_of(c, inputs)
    assert (loss(six[0], inputs) >= loss(one[0], inputs) - 1e-6).all()
    assert found["worst_loss"] > found["first_loss"] == pytest.approx(first["first_loss"])
    assert found["worst_loss"] == pytest.approx(float(loss(six[0], inputs).mean()), rel=1e-5)


def test_advmax_ends_with_stadv(inputs):
    c = config("advmax")
    warped, diagnostics = views_of(c, inputs)
    assert diagnostics["flow"] > 0
    c.stadv.steps = 0
    mixed, diagnostics = views_of(c, inputs)
    assert diagnostics["flow"] == 0
    assert (loss(warped[0], inputs) >= loss(mixed[0], inputs) - 1e-6).all()
    assert not np.allclose(warped[0].images, mixed[0].images)


def test_maxup_keeps_the_worst_copy(inputs):
    c = config("maxup")
    c.maxup.copies = 1
    one, _ = views_of(c, inputs)
    c.maxup.copies = 5
    five, diagnostics = views_of(c, inputs)
    assert (loss(five[0], inputs) >= loss(one[0], inputs) - 1e-6).all()
    assert diagnostics["worst_loss"] > diagnostics["first_loss"]


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


@pytest.fixture(scope="module")
def walk():
    """Three epochs of two steps of ANT, ten examples a step."""
    rng, key, c = np.random.default_rng(0), jax.random.key(0), config("ant")
    c.batch_size = 10
    c.ant.retrain_learning_rate = c.ant.learning_rate = 0.01
    method = methods.create(c, CLASSES, examples=20)
    images = jnp.asarray(rng.integers(60, 200, (10, 8, 8, 3), dtype=np.uint8))
    labels = jnp.asarray(rng.integers(0, CLASSES, 10))

    @jax.jit
    def step(t, state):
        inputs = StepInputs(
            logits_fn=logits_fn,
            keys=example_keys(jax.random.fold_in(key, t), 10),
            images=images,
            labels=labels,
            position=jnp.arange(10),
            key=jax.random.fold_in(jax.random.key(1), t),
            step=t,
            mean=alone,
        )
        views, diagnostics, state = method.views(inputs, state)
        return views[0].images, diagnostics, state

    state, seen = method.init(jax.random.key(5)), []
    for t in range(6):
        shown, diagnostics, state = step(jnp.int32(t), state)
        seen.append((shown, diagnostics, state))
    return c, images / 255, seen


class TestANT:
    """The noise generator and its schedule."""

    def test_half_the_batch_is_noisy_at_the_exact_distance(self, walk):
        c, images, seen = walk
        for shown, diagnostics, _ in seen:
            distance = np.sqrt(((shown - images) ** 2).mean(axis=(1, 2, 3)))
            noisy = distance > 1e-3
            assert noisy.sum() == 5
            np.testing.assert_allclose(distance[noisy], c.ant.rms, rtol=1e-4)
            assert np.isfinite(diagnostics["noise_loss"])

    def test_a_generator_is_trained_anew_and_kept_once_an_epoch(self, walk):
        _, _, seen = walk
        states = [state for *_, state in seen]
        # Within an epoch the ring stays; at the start of one an entry is replaced.
        for first in (0, 2, 4):
            assert equal(states[first]["history"], states[first + 1]["history"])
        assert not equal(states[1]["history"], states[2]["history"])
        slots = [jax.tree.map(lambda x, i=i: x[i], states[4]["history"]) for i in range(2)]
        before = [jax.tree.map(lambda x, i=i: x[i], states[2]["history"]) for i in range(2)]
        assert equal(slots[1], before[1])
        assert not equal(slots[0], before[0])  # the ring holds two: epoch 2 replaced epoch 0
        counts = [int(state["optimizer"].count) for state in states]
        assert counts == [1, 2, 1, 2, 1, 2]  # Adam starts anew with each generator
        for a, b in itertools.pairwise(states):
            assert not equal(a["generator"], b["generator"])

    def test_learning_raises_the_loss(self, inputs):
        losses = []
        for steps in (0, 60):
            c = config("ant")
            c.ant.retrain_steps, c.ant.retrain_learning_rate = steps, 0.02
            losses.append(float(views_of(c, inputs)[1]["noise_loss"]))
        assert losses[1] > losses[0] + 0.05


def test_an_unknown_method_is_named():
    c = config("normal")
    c.method = "advmx"
    with pytest.raises(ValueError, match=r"unknown method 'advmx'. Did you mean 'adv"):
        methods.create(c, CLASSES)


def small_run(devices):
    from augmax_jax.training.run import build

    c = config("ant")
    c.data.name, c.data.train_transform, c.data.holdout = "digits", "crop", 0.1
    c.model.name, c.sync_batch_norm = "tiny", True
    c.batch_size, c.num_devices, c.epochs = 8, devices, 1
    return build(c)


@pytest.mark.slow
def test_a_method_with_a_state_resumes_and_spreads_over_devices(tmp_path):
    from augmax_jax.runtime import parallel
    from augmax_jax.training.batches import device_batches
    from augmax_jax.training.checkpoints import Checkpoints

    ends = []
    for devices in (1, 2):
        run = small_run(devices)
        step = parallel.pmap(run.train_step(), run.devices)
        state = parallel.replicate(run.initial_state(), run.devices)
        batches = device_batches(run, 0)
        for _ in range(2):
            state, _ = step(state, next(batches))
        if devices == 1:
            checkpoints = Checkpoints(tmp_path)
            checkpoints.save("latest", 2, parallel.first(state), {})
            _, restored, _ = checkpoints.restore("latest", run.initial_state())
            checkpoints.close()
            assert equal(restored.method_state, parallel.first(state).method_state)
            again, _ = step(parallel.replicate(restored, run.devices), next(batches))
            batches = device_batches(run, 2)
        state, _ = step(state, next(batches))
        ends.append(parallel.first(state))
        if devices == 1:
            assert equal(parallel.first(again), ends[0])
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
