"""The order of examples in training: permutations per epoch and stratified splits, from
seeds alone."""

import functools

import numpy as np

from augmax_jax.runtime.checks import check_count

# What a random stream is for. Distinct purposes never share numbers.
EPOCH, HOLDOUT, CROP, TEST = range(4)


def generator(seed: int, purpose: int, *index: int) -> np.random.Generator:
    """A NumPy generator that depends on its arguments only."""
    return np.random.default_rng(np.random.SeedSequence((seed, purpose, *index)))


def check_seed(seed: int) -> None:
    """Raises ValueError unless `seed` is a non-negative integer."""
    check_count("seed", seed)


class EpochOrder:
    """An endless stream of examples: one permutation after another.

    Epoch `e` covers the stream positions `[e * size, (e + 1) * size)` in an order that is a
    function of `(seed, e)`. So every example comes exactly once per epoch, a batch may lie in
    two epochs, and any position can be looked up directly.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        # A batch lies in one or two epochs.
        self.permutation = functools.lru_cache(maxsize=4)(self._permutation)

    def _permutation(self, epoch: int) -> np.ndarray:
        """The order of one epoch, int32 `[size]`."""
        return generator(self.seed, EPOCH, epoch).permutation(self.size).astype(np.int32)

    def indices(self, positions: np.ndarray) -> np.ndarray:
        """Indices of the examples at stream positions, int32, in the shape of `positions`."""
        epochs, offsets = np.divmod(positions, self.size)
        out = np.empty(positions.shape, np.int32)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            out[here] = self.permutation(int(epoch))[offsets[here]]
        return out


def stratified_split(
    labels: np.ndarray, share: float, seed: int, *, purpose: int = HOLDOUT
) -> tuple[np.ndarray, np.ndarray]:
    """Splits examples so that both parts have the classes in the same proportions.

    Args:
        labels: integer class of each example, `[N]`.
        share: share of every class that goes to the second part, in [0, 1); at least one
            example of each class does if `share` is positive and the class has two.
        seed: decides which examples.
        purpose: what the second part is for, HOLDOUT or TEST.

    Returns:
        Indices of the first and of the second part, int64, each ascending.
    """
    rng = generator(seed, purpose)
    second = np.zeros(len(labels), bool)
    if share > 0:
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            count = min(max(round(share * len(members)), 1), len(members) - 1)
            second[rng.permutation(members)[:count]] = True
    return np.flatnonzero(~second), np.flatnonzero(second)


def split_off(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`stratified_split` into training and held-out examples.

    Raises:
        ValueError: `share` is positive, but no class has two examples, so none is held out.
    """
    rows, held = stratified_split(labels, share, seed)
    if share > 0 and not len(held):
        raise ValueError(
            f"config.data.holdout={share} holds nothing out: no class has two training images. Add "
            "images, or set config.data.holdout=0 and config.select_on='test'"
        )
    return rows, held
