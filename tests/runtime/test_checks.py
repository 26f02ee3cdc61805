"""Checks of settings that are numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from augmax_jax.runtime.checks import check_count, check_flag, check_number

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [0, 5, np.int64(3), np.uint8(1), jnp.int32(2), np.array(4)])
def test_counts(value):
    check_count("n", value, high=5)


@pytest.mark.parametrize("value", [-1, 6, 1.0, True, np.True_, "3", None, NAN, np.float32(1)])
def test_no_counts(value):
    with pytest.raises(ValueError, match=r"^n must be (a whole number|in \[0, 5\])"):
        check_count("n", value, high=5)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.1), jnp.bfloat16(0.5), np.int8(1)])
def test_numbers(value):
    check_number("x", value, low=0, high=1, above_low=True)


@pytest.mark.parametrize("value", [0, 1.1, NAN, INF, -INF, True, "0.5", None, 1j, [0.5]])
def test_no_numbers(value):
    with pytest.raises(ValueError, match=r"^x must be (a number|in \(0, 1\]), got"):
        check_number("x", value, low=0, high=1, above_low=True)


@pytest.mark.parametrize(
    ("limits", "value", "message"),
    [
        ({"low": 0}, -1, "x must be at least 0, got -1"),
        ({"low": 0, "above_low": True}, 0, "x must be above 0, got 0"),
        ({"low": 0}, INF, "x must be at least 0 and finite, got inf"),
        ({}, NAN, "x must be a finite number, got nan"),
    ],
)
def test_messages_name_the_limit(limits, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_number("x", value, **limits)


def test_traced_values_are_refused():
    with pytest.raises(ValueError, match="n must be known before the program is traced"):
        jax.jit(lambda n: check_count("n", n))(3)


def test_flags():
    check_flag("f", True)
    check_flag("f", np.False_)
    for value in (0, 1, "yes", None):
        with pytest.raises(ValueError, match="f must be True or False"):
            check_flag("f", value)
