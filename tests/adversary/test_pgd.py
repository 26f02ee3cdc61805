"""PGD against its closed form, and FAT's budgets against a walk by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from augmax_jax.adversary import pgd
from augmax_jax.runtime.keys import example_keys

BATCH, SIDE, CLASSES = 6, 4, 3


@pytest.fixture
def problem(rng):
    """Images, labels and a linear network that predicts every class for some image."""
    images = rng.random((BATCH, SIDE, SIDE, 3)).astype(np.float32)
    weights = rng.normal(size=(SIDE * SIDE * 3, CLASSES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    return images, labels, weights


def linear(weights):
    return lambda x: x.reshape(len(x), -1) @ weights


@pytest.mark.parametrize("random_start", [True, False])
def test_two_linear_classes_have_a_closed_form(problem, key, random_start):
    images, labels, weights = problem
    labels, weights = labels % 2, weights[:, :2]
    eps = 0.1
    result = pgd(
        *(key, linear(weights), images, labels),
        eps=eps,
        step_size=0.03,
        steps=7,
        random_start=random_start,
    )
    # The gradient's sign never changes, and 7 steps of 0.03 cross the ball.
    sign = np.sign(weights[:, 1] - weights[:, 0]).reshape(1, SIDE, SIDE, 3)
    sign = sign * np.where(labels == 0, 1, -1)[:, None, None, None]
    np.testing.assert_allclose(result.images, np.clip(images + eps * sign, 0, 1), atol=1e-6)
    assert (result.steps == 7).all()


@pytest.mark.parametrize("eps", [0.0, 8 / 255, 0.7])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_stays_in_the_ball_and_in_range(problem, key, eps, jitter):
    images, labels, weights = problem
    images[0], images[1] = 0, 1
    result = pgd(key, linear(weights), images, labels, eps=eps, steps=3, jitter=jitter)
    assert np.abs(result.images - images).max() <= eps + 1e-6
    assert 0 <= result.images.min() <= result.images.max() <= 1
    if eps == 0:
        np.testing.assert_array_equal(result.images, images)


def test_random_start_fills_the_ball(problem, key):
    images, labels, weights = problem
    images = np.full_like(images, 0.5)
    start = pgd(key, linear(weights), images, labels, eps=0.2, steps=0)
    shift = np.asarray(start.images) - images
    assert (start.steps == 0).all()
    assert shift.min() < -0.18
    assert shift.max() > 0.18
    assert abs(shift.mean()) < 0.03
    assert len(np.unique(shift)) > 0.9 * shift.size


def walk(image, label, weights, *, eps, step_size, steps, budget):
    """FAT's attack on one sample of a linear network, in float64; also each step's verdict."""
    x, taken = image.astype(np.float64), 0
    for _ in range(steps):
        logits = x.reshape(-1) @ weights.astype(np.float64)
        if logits.argmax() != label:
            if budget == 0:
                break
            budget -= 1
        error = softmax(logits)
        error[label] -= 1
        x = x + step_size * np.sign(weights @ error).reshape(x.shape)
        x = np.clip(np.clip(x, image - eps, image + eps), 0, 1)
        taken += 1
    return x, taken


@pytest.mark.parametrize(
    ("budget", "compact", "lengths"),
    [
        ("mixed", False, range(7)),  # step by step
        ("mixed", 2, (6,)),
        (0, False, (6,)),
        (1, True, (6,)),
    ],
)
def test_budgets_are_spent_as_by_hand(problem, key, budget, compact, lengths):
    images, _, weights = problem
    # The network's own verdicts, but for one: most samples fall after some steps.
    labels = np.array(linear(weights)(images).argmax(-1))
    labels[0] = (labels[0] + 1) % CLASSES
    budgets = np.arange(BATCH) % 3 if budget == "mixed" else np.full(BATCH, budget)
    settings = {"eps": 0.4, "step_size": 0.02}
    counts = set()
    for steps in lengths:
        result = pgd(
            *(key, linear(weights), images, labels),
            **dict(steps=steps, random_start=False, compact=compact, **settings),
            budget=jnp.asarray(budgets) if budget == "mixed" else budget,
        )
        for i in range(BATCH):
            want, taken = walk(
                *(images[i], labels[i], weights),
                **dict(steps=steps, budget=int(budgets[i]), **settings),
            )
            assert result.steps[i] == taken
            np.testing.assert_allclose(result.images[i], want, atol=1e-5)
            counts.add(taken)
    assert len(counts) > 1  # some stopped early, some did not


def test_a_budget_of_all_steps_is_plain_pgd(problem, key):
    images, labels, weights = problem
    plain = pgd(key, linear(weights), images, labels, steps=4)
    rich = pgd(key, linear(weights), images, labels, steps=4, budget=4)
    np.testing.assert_array_equal(plain.images, rich.images)
    traced = jax.jit(lambda b: pgd(key, linear(weights), images, labels, steps=4, budget=b))
    np.testing.assert_allclose(traced(4).images, rich.images, atol=1e-6)


def test_uint8_images_and_the_place_in_the_batch(problem, key):
    images, labels, weights = problem
    bits = (images * 255).astype(np.uint8)
    settings = {"steps": 2, "jitter": 0.01}
    whole = pgd(key, linear(weights), bits, labels, **settings)
    floats = pgd(key, linear(weights), bits.astype(np.float32) / 255, labels, **settings)
    np.testing.assert_allclose(whole.images, floats.images, atol=1e-6)
    late = example_keys(key, len(bits) - 2, first_index=2)
    part = pgd(late, linear(weights), bits[2:], labels[2:], **settings)
    np.testing.assert_allclose(whole.images[2:], part.images, atol=1e-6)
    keyed = pgd(example_keys(key, BATCH)[2:], linear(weights), bits[2:], labels[2:], **settings)
    np.testing.assert_array_equal(keyed.images, part.images)


def test_no_gradient_flows_back(problem, key):
    images, labels, weights = problem

    def total(weights):
        return pgd(key, linear(weights), images, labels, steps=2).images.sum()

    assert not np.any(jax.grad(total)(weights))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": -0.1}, r"eps must be in \[0, 1\], got -0.1"),
        ({"eps": float("nan")}, r"eps must be in \[0, 1\], got nan"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"step_size": -1.0}, r"step_size must be in \[0, 1\]"),
        ({"jitter": -1.0}, "jitter must be at least 0"),
        ({"eps": 8}, r"eps must be in \[0, 1\], got 8"),
        ({"budget": -1}, "budget must be at least 0"),
        ({"budget": np.full(6, -1)}, "budget must be at least 0, got -1"),
        ({"budget": 1.5}, "budget must be a whole number"),
        ({"random_start": "no"}, "random_start must be True or False"),
        ({"budget": np.zeros(2, int)}, r"budget must be one number or int \[6\]"),
        ({"labels": np.zeros(5, int)}, r"labels must be int \[6\]"),
        ({"labels": np.zeros(BATCH)}, r"labels must be int \[6\]"),
        ({"images": np.zeros((6, 4, 4))}, r"images must be \[B, H, W, 3\]"),
        ({"images": np.zeros((6, 4, 4, 3), np.int32)}, "uint8 or float"),
        ({"compact": -1}, "compact must be True, False or a positive number"),
    ],
)
def test_bad_input(problem, key, changes, message):
    images, labels, weights = problem
    arguments = {"images": images, "labels": labels} | changes
    with pytest.raises(ValueError, match=message):
        pgd(key, linear(weights), **arguments)
