"""A PyTorch state_dict as variables of our networks, and back."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from augmax_jax import models
from augmax_jax.pytorch import keys as torch_keys
from augmax_jax.pytorch import matching
from augmax_jax.pytorch.files import names_text

logger = logging.getLogger(__name__)

Variables = dict[str, Any]


def from_state_dict(
    state_dict: Mapping[str, Any],
    model_name: str,
    *,
    num_classes: int,
    norm: str = "dubin",
    prefix: str | None = None,
    **options: Any,
) -> Variables:
    """Turns a PyTorch state_dict into the variables that `model.apply` expects.

    Args:
        state_dict: name -> array or tensor of any float dtype. Names are those of the network, or
            have a wrapper's prefix (`module.`, `model.`, `_orig_mod.`, `1.`, ...), which is
            found by comparing names and shapes. Batch counters (`num_batches_tracked`) are
            ignored. Wrappers' own entries (a count of averages, a normalising layer's mean),
            entries outside the prefix, and entries that are no tensors are left out, and the
            log names them.
        model_name: as in `augmax_jax.models.create`; so are the following.
        num_classes: number of logits.
        norm: "dubin" and "dubn" (the paper's), "bn" (torchvision, AugMix) or "ibn" (IBN-Net).
        prefix: text before the network's names, such as "teacher."; needed only if the state_dict
            has the network several times with different values. None: found.
        **options: options of the model.

    Returns:
        `{"params": ..., "batch_stats...": ...}`, float32 NumPy arrays.

    Raises:
        ValueError: keys are missing, left over or of another shape; a value is not a finite
            float; the network occurs several times with different values; or the model cannot
            be built.
    """
    module = models.create(model_name, num_classes, norm=norm, **options)
    entries = torch_keys.entries(module)
    tensors = _tensors(state_dict)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    found = matching.matches(shapes, entries)
    if prefix is None:
        match = _choose(found, tensors) if found else matching.Match("", {}, False)
    else:
        chosen = matching.matches(shapes, entries, prefix)
        match = chosen[0] if chosen else matching.Match(prefix, {}, False)
    others = tuple(m.prefix for m in found if m.complete and m.prefix != match.prefix)
    wrappers, outside, strange = matching.leftovers(shapes, entries, match, others)
    if strange or not match.complete:
        raise ValueError(
            matching.refusal(
                shapes, entries, match, model=model_name, norm=norm, num_classes=num_classes
            )
        )
    if match.prefix:
        logger.info("the network's names begin with %r", match.prefix)
    if wrappers:
        logger.info("left out, as a wrapper's own: %s", names_text(wrappers))
    unknown = [name for name in outside if not name.startswith(others)]
    if unknown:
        logger.warning("left out, because not under %r: %s", match.prefix, names_text(unknown))
    return _variables({key: tensors[match.names[key]] for key in entries}, entries)


def _tensors(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are tensors or arrays; the log names the others.

    Raises:
        ValueError: there are no such entries.
    """
    if not isinstance(state_dict, Mapping):
        raise ValueError(
            f"state_dict must map names to tensors, got {type(state_dict).__name__}: give "
            "model.state_dict()"
        )
    tensors = {
        name: value
        for name, value in state_dict.items()
        if isinstance(name, str)
        and hasattr(value, "shape")
        and hasattr(value, "dtype")
        and not isinstance(value, np.generic)  # such as an accuracy
    }
    others = [str(name) for name in state_dict if name not in tensors]
    if not tensors:
        inner = [str(name) for name, value in state_dict.items() if isinstance(value, Mapping)]
        raise ValueError(
            "the state_dict holds no tensors"
            + (f": pass one of its dictionaries, {names_text(inner)}" if inner else "")
        )
    if others:
        logger.info("ignored, because they are no tensors: %s", names_text(others))
    return tensors


def _choose(found: Sequence[matching.Match], tensors: Mapping[str, Any]) -> matching.Match:
    """The first match; raises ValueError if another match has other values."""
    first = found[0]
    for other in found[1:]:
        for key, name in first.names.items():
            ours, theirs = _to_numpy(tensors[name]), _to_numpy(tensors[other.names[key]])
            if not np.array_equal(ours, theirs, equal_nan=ours.dtype == np.float32):
                raise ValueError(
                    "the network is there several times, with different values, under the "
                    f"prefixes {', '.join(repr(match.prefix) for match in found)}: choose one with "
                    f"prefix= (--prefix of the command)"
                )
    if len(found) > 1:
        listed = ", ".join(repr(match.prefix) for match in found)
        logger.info("the network is there several times with the same values, under %s", listed)
    return first


def _variables(tensors: Mapping[str, Any], entries: Mapping[str, torch_keys.Entry]) -> Variables:
    """Tensors under the network's names, as variables."""
    variables: Variables = {}
    unusable = []
    for key, entry in entries.items():
        array = _to_numpy(tensors[key])
        if array.dtype != np.float32 or not np.isfinite(array).all():
            unusable.append(key)
        node = variables
        for name in entry.path[:-1]:
            node = node.setdefault(name, {})
        node[entry.path[-1]] = np.ascontiguousarray(entry.to_jax(array))
    if unusable:
        raise ValueError(f"not finite floats: {names_text(unusable)}")
    return variables


def _to_numpy(tensor: Any) -> np.ndarray:
    """A float32 array from an array or tensor of any float dtype; other dtypes stay."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    array = np.asarray(tensor)
    return array.astype(np.float32) if jax.numpy.issubdtype(array.dtype, np.floating) else array


def to_state_dict(
    variables: Mapping[str, Any],
    model_name: str,
    *,
    num_classes: int,
    norm: str = "dubin",
    **options: Any,
) -> dict[str, np.ndarray]:
    """Turns variables into a state_dict with the names and layouts of the official PyTorch code.

    Args:
        variables: variables of `models.create(model_name, num_classes, norm=norm, **options)`.
        model_name: as in `models.create`.
        num_classes: number of logits.
        norm: as in `models.create`.
        **options: options of the model.

    Returns:
        Key -> float32 array; int64 zeros for batch norm's counters, which PyTorch's
        `load_state_dict` requires and which have no effect. `from_state_dict` gives back the same
        variables, bit for bit.

    Raises:
        ValueError: the variables are not those of this model.
    """
    module = models.create(model_name, num_classes, norm=norm, **options)
    entries = torch_keys.entries(module)
    result: dict[str, np.ndarray] = {}
    problems = []
    for key, entry in entries.items():
        node: Any = variables
        try:
            for name in entry.path:
                node = node[name]
        except KeyError:
            problems.append(f"missing {'/'.join(entry.path)}")
            continue
        array = np.ascontiguousarray(entry.to_torch(np.asarray(node, np.float32)))
        if array.shape != entry.shape:
            problems.append(f"{key} has shape {array.shape} instead of {entry.shape}")
        result[key] = array
    if problems:
        raise ValueError(
            f"the variables are not of {model_name} (norm={norm}, {num_classes} classes): "
            + names_text(problems)
        )
    for key in torch_keys.counter_keys(entries):
        result[key] = np.zeros((), np.int64)
    return result
