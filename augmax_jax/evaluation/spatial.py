"""The spatial attack as a benchmark: the worst of k rotations and shifts of each image.

After Engstrom et al., "Exploring the landscape of spatial robustness", ICML 2019, in the form that
the AugMax paper measures (Table 11). Each of the k maps is a part of the benchmark. For each image,
the map under which the label is least likely counts.
"""

import functools
from pathlib import Path

import jax
import numpy as np
from scipy.special import log_softmax

from augmax_jax.adversary import spatial
from augmax_jax.data import Split
from augmax_jax.data.benchmarks import Benchmark
from augmax_jax.evaluation import identity, metrics
from augmax_jax.evaluation.derived import DerivedSplit
from augmax_jax.evaluation.predictions import scores_of
from augmax_jax.runtime import files, hosts, untrusted
from augmax_jax.runtime.checks import check_count
from augmax_jax.runtime.paths import RunPath

SPATIAL = "spatial"  # name of the benchmark in results
MAP = "map"  # name of its parts, before their number
_REVISION = 1  # raise when the same images and seed give other maps


def worst_of_maps(split: Split, *, k: int = 10, seed: int = 0, location: str = "") -> Benchmark:
    """The benchmark of k random maps: rotations within 30 degrees, shifts within 3 pixels.

    `adversary.worst_of_k_spatial` is the same attack as one function that can be jitted.

    Args:
        split: clean images.
        k: number of maps tried for each image, at least 1.
        seed: seed of the maps, from 0 on.
        location: where the split was read from, for the results.

    Raises:
        ValueError: a number is not as described.
    """
    check_count("k", k, low=1)
    check_count("seed", seed)
    draw = jax.jit(functools.partial(spatial.draw_spatial, k=k), static_argnums=1)
    warp = jax.jit(spatial.spatial_transform)
    key = jax.random.key(seed)

    def load(corruption: str | None, severity: int | None) -> Split:
        del corruption
        chosen = (severity or 1) - 1

        def transform(images, first):
            degrees, shifts = draw(key, len(images), first_index=first)
            return warp(images, degrees[chosen], shifts[chosen])

        return DerivedSplit(split, transform)

    return Benchmark(
        name=SPATIAL,
        kind="worst",
        source="generated",
        corruptions=(MAP,),
        severities=tuple(range(1, k + 1)),
        classes=None,
        loader=load,
        location=location,
        recipe=identity.of_split(split) | {"maps": k, "seed": seed, "revision": _REVISION},
    )


class Worst:
    """The outcome of each image under the worst part so far.

    Args:
        path: an `.npz` file that keeps the outcomes, so that an interrupted evaluation can go on;
            None: no file.
        owner: digest of the evaluation that the file belongs to.
    """

    def __init__(self, path: RunPath | None = None, *, owner: str = "") -> None:
        self._path, self._owner = path, owner
        self._likelihood: np.ndarray | None = None
        self._outcomes: metrics.Outcomes | None = None

    def restore(self) -> bool:
        """Reads the file; False if it does not exist, is damaged or is another evaluation's."""
        if self._path is None:
            return False
        try:
            with untrusted.Bounded(self._path) as file:
                kept = untrusted.read_npz(file)
            if str(kept["owner"]) != self._owner:
                return False
            likelihood = kept["likelihood"]
            outcomes = metrics.Outcomes(*(kept[n] for n in metrics.Outcomes._fields))
        except Exception:  # no file, or any damage: the parts are then evaluated anew
            return False
        if likelihood.ndim != 1 or any(a.shape != likelihood.shape for a in outcomes):
            return False
        self._likelihood, self._outcomes = likelihood, outcomes
        return True

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Adds one more part; among equally bad parts the first counts.

        Args:
            logits: float `[N, C]`.
            labels: int `[N]`.
        """
        likelihood = np.take_along_axis(log_softmax(logits, axis=-1), labels[:, None], -1)[:, 0]
        found = metrics.outcomes(np.asarray(logits, np.float64), labels)
        if self._likelihood is not None and self._outcomes is not None:
            worse = likelihood < self._likelihood
            pairs = zip(found, self._outcomes, strict=True)
            found = metrics.Outcomes(*(np.where(worse, new, old) for new, old in pairs))
            likelihood = np.where(worse, likelihood, self._likelihood)
        self._likelihood, self._outcomes = likelihood, found
        if self._path is not None and hosts.is_writer():
            files.write_atomically(self._path, self._write)

    def _write(self, path: Path) -> None:
        assert self._likelihood is not None
        assert self._outcomes is not None
        with path.open("wb") as file:
            arrays = {"likelihood": self._likelihood, **self._outcomes._asdict()}
            np.savez(file, owner=np.array(self._owner), **arrays)

    def scores(self) -> dict[str, float]:
        """The scores of the worst part of each image, as in `predictions.scores`."""
        assert self._outcomes is not None, "no part was added"
        return scores_of(metrics.add_up(self._outcomes))
