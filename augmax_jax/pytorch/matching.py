"""Finds a network's tensors among the names of a checkpoint, whatever wraps the network.

Wrappers put a prefix before the network's own names (data-parallel training `module.`,
torch.compile `_orig_mod.`, Lightning `model.`, a Sequential `1.`). They also add entries of their
own, such as a counter of averages, or the mean and deviation of a normalising layer. The prefix is
found by comparing names and shapes with those that the network must have.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from augmax_jax.pytorch.files import names_text
from augmax_jax.pytorch.keys import Entry, counter_keys, guess_model, guess_norm

# Another name of a module in older Wide ResNets, and in AugMix's first one.
_ALIASES = {".convShortcut.": ".conv_shortcut."}
# The last parts of the names of wrappers' entries: averages (torch.optim.swa_utils, EMAs) and
# counters of operations.
_COUNTERS = ("n_averaged", "num_updates", "decay", "initted", "step", "total_ops", "total_params")
# Normalising layers; a pair of them has the same stem.
_MEANS = {"mean": "std", "mu": "sigma", "new_mean": "new_std", "pixel_mean": "pixel_std"}
_NORMALIZERS = (*_MEANS, *_MEANS.values())

Shapes = Mapping[str, tuple[int, ...]]


class Match(NamedTuple):
    """The network's names in a checkpoint under one prefix.

    Attributes:
        prefix: text before the network's names; it may be empty.
        names: name that the network must have -> name in the checkpoint, for those found.
        complete: whether all names are found and have the right shapes.
    """

    prefix: str
    names: dict[str, str]
    complete: bool


def matches(shapes: Shapes, entries: Mapping[str, Entry], prefix: str | None = None) -> list[Match]:
    """The prefixes under which a checkpoint has names of the network.

    Args:
        shapes: name in the checkpoint -> shape.
        entries: entries of the network, as `keys.entries` gives them.
        prefix: the only prefix to try; None: all.

    Returns:
        The complete matches, shortest prefix first. If there is none, the match with the most
        names. Empty if no name is found.
    """
    found: dict[str, dict[str, str]] = {}
    for name in shapes:
        for start, rest in _splits(name, shapes):
            if rest in entries and prefix in (None, start):
                found.setdefault(start, {})[rest] = name

    def fitting(names: Mapping[str, str]) -> int:
        return sum(shapes[name] == entries[key].shape for key, name in names.items())

    complete = [p for p, names in found.items() if fitting(names) == len(entries)]
    if complete:
        ordered = sorted(complete, key=lambda p: (len(p), p))
        return [Match(p, found[p], True) for p in ordered]
    if not found:
        return []
    best = max(found, key=lambda p: (len(found[p]), fitting(found[p]), -len(p), p))
    return [Match(best, found[best], False)]


def _splits(name: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """Splits of a name at each of its dots; an alias is replaced unless both names exist."""
    usual = name
    for alias, replacement in _ALIASES.items():
        usual = usual.replace(alias, replacement)
    if usual != name and usual in names:
        usual = name
    cuts = [0, *(m.end() for m in re.finditer(r"\.", usual))]
    return [(usual[:cut], usual[cut:]) for cut in cuts]


def leftovers(
    shapes: Shapes, entries: Mapping[str, Entry], match: Match, others: tuple[str, ...] = ()
) -> tuple[list[str], list[str], list[str]]:
    """The names in a checkpoint that are not the network's.

    Args:
        shapes: as for `matches`.
        entries: as for `matches`.
        match: the network's names.
        others: prefixes of further complete matches, whose names are not the network's own.

    Returns:
        Names of wrappers' own entries, which the network does not need; names outside the prefix;
        and names under the prefix that the network does not have.
    """
    counters = {match.prefix + key for key in counter_keys(entries)}
    used = {*match.names.values(), *counters}
    inner = tuple(prefix for prefix in others if prefix.startswith(match.prefix))
    wrappers, outside, strange = [], [], []
    for name, shape in shapes.items():
        if name in used:
            continue
        if _is_wrappers(name, shape):
            wrappers.append(name)
        elif not name.startswith(match.prefix) or name.startswith(inner):
            outside.append(name)
        else:
            strange.append(name)
    return wrappers, outside, strange


def _is_wrappers(name: str, shape: tuple[int, ...]) -> bool:
    size = int(np.prod(shape))
    last = name.rpartition(".")[2]
    return (last in _COUNTERS and size == 1) or (last in _NORMALIZERS and size in (1, 3))


def normalizers(state_dict: Mapping[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Finds the input normalisation that wrappers keep beside the network.

    Args:
        state_dict: name -> array.

    Returns:
        Name of the mean -> mean and deviation, three numbers each. An entry without its
        counterpart, or that is not three finite numbers, is ignored.
    """
    result = {}
    for name in state_dict:
        stem, dot, last = name.rpartition(".")
        partner = f"{stem}{dot}{_MEANS.get(last)}"
        if partner not in state_dict:
            continue
        pair = [
            np.broadcast_to(np.asarray(state_dict[n], np.float64).ravel(), 3).tolist()
            for n in (name, partner)
            if np.size(state_dict[n]) in (1, 3)
        ]
        if len(pair) == 2 and np.isfinite(pair).all():
            result[name] = (pair[0], pair[1])
    return result


def refusal(
    shapes: Shapes,
    entries: Mapping[str, Entry],
    match: Match,
    *,
    model: str,
    norm: str,
    num_classes: int,
) -> str:
    """Says why a checkpoint does not fit a network, in at most ten lines.

    Args:
        shapes: as for `matches`.
        entries: as for `matches`.
        match: the best match.
        model: name of the network.
        norm: its norm.
        num_classes: its number of logits.
    """
    missing = [key for key in entries if key not in match.names]
    misshaped = {
        key: shapes[name] for key, name in match.names.items() if shapes[name] != entries[key].shape
    }
    strange = leftovers(shapes, entries, match)[2]
    lines = [f"the checkpoint does not fit the model {model} (norm={norm}, {num_classes} classes):"]
    if match.prefix:
        lines.append(f"  most names are found under the prefix {match.prefix!r}")
    wrong = [f"{key} {shape} instead of {entries[key].shape}" for key, shape in misshaped.items()]
    for title, names in (("missing", missing), ("left over", strange), ("mis-shaped", wrong)):
        if names:
            lines.append(f"  {title} ({len(names)}): {names_text(names)}")
    heads = [key for key, entry in entries.items() if entry.path[:2] == ("params", "head")]
    if misshaped and set(misshaped) <= set(heads):
        classes = {shape[0] for shape in misshaped.values() if shape}
        if len(classes) == 1:
            lines.append(f"  The checkpoint has {classes.pop()} classes.")
    likely = guess_model(shapes)
    if likely not in (None, model):
        lines.append(f"  The keys look like model={likely}.")
    if likely is not None and guess_norm(shapes) != norm:
        lines.append(f"  The keys look like norm={guess_norm(shapes)}.")
    return "\n".join(lines)
