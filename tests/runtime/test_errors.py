"""Clauses of error messages."""

import pytest

from augmax_jax.runtime.errors import check_name, shorten


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b", "c"], "a, b, c"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_long_lists_are_shortened(names, text):
    assert shorten(names, 3) == text


def test_a_wrong_name_gets_the_nearest_and_the_list():
    with pytest.raises(ValueError, match=r"unknown norm .dubi.\. Did you mean .dubin.\? .* bn"):
        check_name("norm", "dubi", ("bn", "dubin"))
