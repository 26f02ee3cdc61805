"""Which runs are measured on the same images, and which are seeds of one setting."""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from augmax_jax.report import runs as reading
from augmax_jax.report.runs import SavedRun
from augmax_jax.runtime import storage
from augmax_jax.runtime.run_directory import RESULTS, differences_of_sets, flatten

# Settings that do not tell one setting from another: the seed, what is measured besides, and
# what has no effect on the result.
_NO_PART = (
    "seed", "evaluate.benchmarks", "evaluate.data_dir", "data.data_dir", "data.download",
    "allow_config_change", "checkpoint", "compaction", "compilation_cache", "eval_batch_size",
    "log_every", "pictures_every_epochs", "profile", "progress", "tensorboard",
)  # fmt: skip


def same_images(a: SavedRun, b: SavedRun) -> bool:
    """Whether two runs may be measured on the same images, as far as both say.

    The test split must be one set, and so must each benchmark that both were measured on.
    """
    if a.dataset != b.dataset:
        return False
    theirs = b.results.get("benchmarks") or {}
    pairs = [(a.results.get("test_set"), b.results.get("test_set"))]
    pairs += [
        (found.get("set"), theirs[name].get("set"))
        for name, found in (a.results.get("benchmarks") or {}).items()
        if name in theirs
    ]
    return not any(differences_of_sets(one or {}, other or {}) for one, other in pairs)


def same_setting(a: SavedRun, b: SavedRun) -> bool:
    """Whether two runs differ by their seed alone."""
    if a.given or b.given or a.seed == b.seed or not same_images(a, b):
        return False
    if (a.method, a.model) != (b.method, b.model):
        return False
    one, other = _settings(a), _settings(b)
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def together(
    runs: Sequence[SavedRun], belongs: Callable[[SavedRun, SavedRun], bool]
) -> list[list[SavedRun]]:
    """Groups of runs of which any two belong together, in the order of their first runs."""
    groups: list[list[SavedRun]] = []
    for run in runs:
        for group in groups:
            if all(belongs(run, member) for member in group):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def neighbours(run: SavedRun) -> list[SavedRun]:
    """Runs in the same parent directory with results on the same images, newest first.

    Their histories are not read.
    """
    own = reading.resolved(run.path)
    with storage.explained(own):
        files = [path for path in own.parent.glob(f"*/{RESULTS}") if path.parent != own]
        files.sort(key=storage.modified, reverse=True)
    found = []
    for path in files:
        # A results.json of something else, or a damaged one, of which a report on another run is
        # not the place to speak.
        with contextlib.suppress(ValueError, OSError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(reading.load(path.parent, history=False))
    return [other for other in found if other.results and _stands_beside(run, other)]


def _stands_beside(run: SavedRun, other: SavedRun) -> bool:
    """Whether the other has results on the same images, in the form that this version writes."""
    try:
        return same_images(run, other) and reading.benchmark_scores(other.results) is not None
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def siblings(run: SavedRun, near: Sequence[SavedRun], *, most: int = 3) -> list[SavedRun]:
    """Of runs nearby those to compare with: of a shared benchmark, and no seeds of the same.

    Args:
        run: the run.
        near: its neighbours.
        most: how many at most.
    """
    mine = reading.benchmark_scores(run.results).keys()
    shared = [o for o in near if mine & reading.benchmark_scores(o.results).keys()]
    return [other for other in shared if not same_setting(run, other)][:most]


def seeds_of(run: SavedRun, near: Sequence[SavedRun]) -> list[SavedRun]:
    """The run and those nearby that differ by their seed alone, by seed; one run of each."""
    found = together([run, *near], same_setting)[0]
    return sorted(found, key=lambda other: (str(type(other.seed)), other.seed))


def _settings(run: SavedRun) -> dict[str, Any]:
    """What makes up the setting of a run."""
    flat: dict[str, Any] = {
        name: value
        for name, value in flatten(run.config).items()
        if not any(name == other or name.startswith(f"{other}.") for other in _NO_PART)
    }
    if run.results.get("steps") is not None:
        flat["steps taken"] = run.results["steps"]
    return flat
