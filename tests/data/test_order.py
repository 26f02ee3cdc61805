"""Epoch permutations and stratified splits, as functions of seeds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmax_jax.data.order import EpochOrder, check_seed, stratified_split


@given(
    size=st.integers(1, 40),
    batch=st.integers(1, 60),
    seed=st.integers(0, 2**40),
    start=st.integers(0, 30),
)
def test_every_epoch_is_a_permutation_and_any_position_can_be_looked_up(size, batch, seed, start):
    order = EpochOrder(size, seed)
    stream = order.indices(np.arange(5 * size))
    for epoch in range(5):
        assert sorted(stream[epoch * size : (epoch + 1) * size]) == list(range(size))
    positions = np.arange(start, start + batch)
    positions = positions[positions < 5 * size]
    np.testing.assert_array_equal(EpochOrder(size, seed).indices(positions), stream[positions])


def test_epochs_and_seeds_differ():
    orders = {tuple(EpochOrder(50, seed).permutation(epoch)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_all_places_are_equally_likely():
    first = np.array([EpochOrder(5, 0).permutation(epoch)[0] for epoch in range(2000)])
    counts = np.bincount(first, minlength=5)
    assert abs(counts - 400).max() < 5 * np.sqrt(2000 * 0.2 * 0.8)


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 1000),
)
def test_stratified_split_takes_the_share_of_every_class(counts, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    first, second = stratified_split(labels, share, seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        held = np.sum(labels[second] == label)
        assert held == min(max(round(share * count), 1), count - 1)
    np.testing.assert_array_equal(second, stratified_split(labels, share, seed)[1])


def test_stratified_split_depends_on_the_seed_and_may_hold_out_nothing():
    labels = np.zeros(100, int)
    assert set(stratified_split(labels, 0.2, 0)[1]) != set(stratified_split(labels, 0.2, 1)[1])
    assert len(stratified_split(labels, 0.0, 0)[1]) == 0


@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_seed_is_checked(seed):
    with pytest.raises(ValueError, match="seed must be"):
        check_seed(seed)
