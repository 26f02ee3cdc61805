"""Windows of training steps against NumPy's means."""

import json
import math

import numpy as np
import pytest

from augmax_jax.training.window import Window


def rows_of(values, length, breaks=()):
    """(step, mean) of every window; the window goes through JSON after each step of `breaks`."""
    window, rows = Window(length, len(values)), []
    for step, value in enumerate(values, start=1):
        means = window.add(step, {"loss": value, "learning_rate": step})
        if means is not None:
            assert means["learning_rate"] == step
            rows.append((step, means["loss"]))
        if step in breaks:
            window = Window(length, len(values), json.loads(json.dumps(window.kept())))
    return rows


@pytest.mark.parametrize(
    ("steps", "length", "ends"),
    [(9, 3, [3, 6, 9]), (8, 3, [3, 8]), (2, 3, [2]), (3, 3, [3]), (3, 1, [1, 2, 3]), (5, 3, [5])],
)
def test_no_row_is_the_mean_of_fewer_steps_than_the_others(rng, steps, length, ends):
    values = rng.random(steps).astype(np.float32)
    rows = rows_of(values, length)
    assert [step for step, _ in rows] == ends
    for first, (last, mean) in zip([0, *ends], rows, strict=False):
        assert mean == pytest.approx(values[first:last].mean(dtype=float), rel=1e-12)


def test_interruptions_change_no_bit(rng):
    values = rng.random(23).astype(np.float32)
    assert rows_of(values, 5, breaks=range(1, 23)) == rows_of(values, 5)


def test_the_latest_means_are_known_from_the_first_step_on():
    window = Window(2, 10)
    window.add(1, {"loss": 1.0})
    assert window.latest["loss"] == 1
    window.add(2, {"loss": 2.0})
    window.add(3, {"loss": 9.0})
    assert window.latest["loss"] == 1.5


def test_skipped_steps_are_counted_and_count_for_nothing_else():
    window = Window(3, 6)
    rows = []
    for step, loss in enumerate((1.0, math.nan, 4.0, 7.0, 8.0, 9.0), start=1):
        metrics = {"loss": loss, "skipped": float(math.isnan(loss)), "learning_rate": step}
        rows.append(window.add(step, metrics))
        if step == 2:
            window = Window(3, 6, json.loads(json.dumps(window.kept())))
    assert [row for row in rows if row] == [
        {"loss": 2.5, "skipped": 1, "learning_rate": 3},
        {"loss": 8.0, "skipped": 0, "learning_rate": 6},
    ]
