"""PyTorch checkpoints as variables of our networks, without PyTorch.

    python -m augmax_jax.torch_import --checkpoint best_SA.pth --model wrn40_2 --num_classes 10 \
        --out imported/wrn40_2

In Python, `from_state_dict` turns a mapping of names to arrays into variables, and
`load_imported` reads what the command wrote. docs/checkpoints_pytorch.md lists the published
models with their settings.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from augmax_jax import __version__, models
from augmax_jax.pytorch import files as torch_files
from augmax_jax.pytorch import keys as torch_keys
from augmax_jax.runtime import console, files, paths

logger = logging.getLogger("augmax_jax.torch_import")  # __name__ is __main__ in the command

Variables = dict[str, Any]
ModelInfo = dict[str, Any]

# The name that older Wide ResNets (AugMix's first, too) have for a module.
_ALIASES = {".convShortcut.": ".conv_shortcut."}
_PREFIXES = ("module.", "_orig_mod.")  # of data-parallel training and of torch.compile
_FORMAT = 1
_OPTIONS = ("stem_stride", "depth", "widen_factor", "cardinality", "base_width")


def from_state_dict(
    state_dict: Mapping[str, Any],
    model_name: str,
    *,
    num_classes: int,
    norm: str = "dubin",
    **options: Any,
) -> Variables:
    """Turns a PyTorch state_dict into the variables that `model.apply` expects.

    Args:
        state_dict: name -> array or tensor of any float dtype; names with or without the
            prefix `module.`. Batch counters (`num_batches_tracked`) are ignored.
        model_name: as in `augmax_jax.models.create`, as are the rest.
        num_classes: number of logits.
        norm: "dubin" and "dubn" (the paper's), "bn" (torchvision, AugMix) or "ibn" (IBN-Net).
        **options: of the model.

    Returns:
        `{"params": ..., "batch_stats...": ...}`, float32 NumPy arrays.

    Raises:
        ValueError: keys are missing, left over or of another shape (all are listed), a value is
            not a finite float, or the model cannot be built.
    """
    module = models.create(model_name, num_classes, norm=norm, **options)
    entries = torch_keys.entries(module)
    state_dict = _usual_names(state_dict)
    _check_keys(state_dict, entries, f"{model_name} (norm={norm}, {num_classes} classes)")
    variables: Variables = {}
    unusable = []
    for key, entry in entries.items():
        array = _to_numpy(state_dict[key])
        if array.dtype != np.float32 or not np.isfinite(array).all():
            unusable.append(key)
        node = variables
        for name in entry.path[:-1]:
            node = node.setdefault(name, {})
        node[entry.path[-1]] = np.ascontiguousarray(entry.to_jax(array))
    if unusable:
        raise ValueError(f"not finite floats: {_names(unusable)}")
    return variables


def _usual_names(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The state_dict without prefixes and aliases."""
    result = dict(state_dict)
    while prefix := next(
        (p for p in _PREFIXES if result and all(key.startswith(p) for key in result)), None
    ):
        result = {key.removeprefix(prefix): value for key, value in result.items()}
    for alias, usual in _ALIASES.items():
        names = {key: key.replace(alias, usual) for key in result if alias in key}
        # Where both names are there, the alias stays and is reported as left over.
        names = {key: name for key, name in names.items() if name not in result}
        result = {names.get(key, key): value for key, value in result.items()}
    return result


def _to_numpy(tensor: Any) -> np.ndarray:
    """A float32 array from an array or tensor of any float dtype; others as they are."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    array = np.asarray(tensor)
    return array.astype(np.float32) if jax.numpy.issubdtype(array.dtype, np.floating) else array


def _check_keys(
    state_dict: Mapping[str, Any], entries: Mapping[str, torch_keys.Entry], what: str
) -> None:
    """Raises ValueError that lists every key that does not fit."""
    counters = set(torch_keys.counter_keys(entries))
    missing = [key for key in entries if key not in state_dict]
    extra = [key for key in state_dict if key not in entries and key not in counters]
    misshaped = [
        f"{key} {tuple(state_dict[key].shape)} instead of {entry.shape}"
        for key, entry in entries.items()
        if key in state_dict and tuple(state_dict[key].shape) != entry.shape
    ]
    if not (missing or extra or misshaped):
        return
    lines = [f"the checkpoint does not fit the model {what}:"]
    for title, keys in (("missing", missing), ("left over", extra), ("mis-shaped", misshaped)):
        if keys:
            lines.append(f"  {title} ({len(keys)}): {_names(keys)}")
    lines.append(f"  The keys look like norm={torch_keys.guess_norm(state_dict)}.")
    raise ValueError("\n".join(lines))


def _names(keys: Sequence[str]) -> str:
    return ", ".join(keys)


def init_from(variables: Variables, imported: Variables) -> tuple[Variables, list[str]]:
    """Starts fine-tuning from imported variables, with a new head if the classes differ.

    Args:
        variables: freshly initialised, of the network to train.
        imported: of the same network, but for its number of classes.

    Returns:
        The variables to start from, and what was done, a line per fact.

    Raises:
        ValueError: anything but the head differs, all of it listed.
    """
    ours, theirs = _flat(variables), _flat(imported)
    head = [path for path in ours if path[:2] == ("params", "head")]
    new_head = any(path in theirs and theirs[path].shape != ours[path].shape for path in head)
    problems = [f"missing {'/'.join(path)}" for path in ours if path not in theirs]
    problems += [f"left over {'/'.join(path)}" for path in theirs if path not in ours]
    problems += [
        f"{'/'.join(path)} has shape {theirs[path].shape} instead of {ours[path].shape}"
        for path in ours
        if path in theirs
        and theirs[path].shape != ours[path].shape
        and not (new_head and path in head)
    ]
    if problems:
        raise ValueError(
            "the imported variables are of another network (model, norm or options):\n  "
            + "\n  ".join(problems)
        )

    def choose(path: Any, old: Any) -> Any:
        names = tuple(part.key for part in path)
        if new_head and names in head:
            return old
        return theirs[names].astype(np.asarray(old).dtype)

    taken = len(ours) - (len(head) if new_head else 0)
    report = [f"{taken} of {len(ours)} arrays imported"]
    if new_head:
        kernel = ("params", "head", "kernel")
        report.append(
            f"new head for {ours[kernel].shape[1]} classes "
            f"(the imported one has {theirs[kernel].shape[1]})"
        )
    return jax.tree_util.tree_map_with_path(choose, variables), report


def _flat(variables: Variables) -> dict[tuple[str, ...], np.ndarray]:
    return {
        tuple(part.key for part in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def save_imported(directory: str | Path, variables: Variables, info: ModelInfo) -> None:
    """Writes variables and what is needed to build their network.

    Args:
        directory: must not exist, or be empty.
        variables: `{"params": ..., "batch_stats...": ...}`.
        info: `model`, `num_classes`, `norm`, `options`, `mean`, `std`; more is kept.

    Raises:
        ValueError: the directory holds something.
        OSError: it cannot be written.
    """
    import orbax.checkpoint as ocp

    directory = paths.expand(directory).absolute()
    paths.check_checkpoint_path(directory, "--out")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} exists and is not an empty directory; choose another --out")
    directory.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory / "variables", jax.tree.map(np.asarray, variables))
    files.write_json(directory / "model.json", {"format": _FORMAT, **info})  # last: marks it whole


def load_imported(directory: str | Path) -> tuple[Variables, ModelInfo]:
    """Reads what the command or `save_imported` wrote.

    Args:
        directory: the command's `--out`.

    Returns:
        Variables as NumPy arrays, and the contents of `model.json`; `build` makes the network.

    Raises:
        ValueError: the directory is not one of an import, or is damaged.
    """
    import orbax.checkpoint as ocp

    directory = paths.expand(directory).absolute()
    paths.check_checkpoint_path(directory, "the imported model's directory")
    path = directory / "model.json"
    if not path.is_file():
        raise ValueError(
            f"{directory} holds no imported model (no model.json). Make one with: "
            "python -m augmax_jax.torch_import --checkpoint FILE --model NAME --num_classes N "
            f"--out {directory}"
        )
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        like = torch_keys.abstract_variables(build(info))
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        with ocp.StandardCheckpointer() as checkpointer:
            variables = checkpointer.restore(directory / "variables", like)
    except Exception as error:  # orbax raises many kinds for damaged files
        raise ValueError(f"{directory} is damaged ({type(error).__name__}: {error})") from error
    return jax.tree.map(np.asarray, variables), info


def build(info: ModelInfo, **fields: Any) -> models.Classifier:
    """The network of a `model.json`; `fields` (dtype, remat, axis_name) go to `models.create`."""
    return models.create(
        info["model"],
        info["num_classes"],
        norm=info["norm"],
        mean=info["mean"],
        std=info["std"],
        **info["options"],
        **fields,
    )


def import_file(
    checkpoint: str | Path,
    model_name: str,
    *,
    num_classes: int,
    norm: str | None = None,
    key: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    license: str | None = None,
    **options: Any,
) -> tuple[Variables, ModelInfo]:
    """Reads a PyTorch file; what the command does before it writes.

    Args:
        checkpoint: see `torch_files.read_state_dict`, as for `key`.
        model_name: as in `models.create`, as are `num_classes` and `options`.
        num_classes: number of logits.
        norm: None: told from the keys.
        key: of the state_dict in the file.
        mean: input normalisation that the model was trained with; None: ImageNet's for ImageNet
            models, none for the others (which is what the paper's models want).
        std: the same.
        license: note for `model.json`.
        **options: of the model.

    Returns:
        Variables and the contents of `model.json`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see `torch_files.read_state_dict` and `from_state_dict`.
    """
    state_dict = torch_files.read_state_dict(checkpoint, key=key)
    norm = norm or torch_keys.guess_norm(state_dict)
    if mean is None and std is None and model_name.endswith("_imagenet"):
        mean, std = models.IMAGENET_MEAN, models.IMAGENET_STD
    models.create(model_name, num_classes, norm=norm, mean=mean, std=std, **options)  # checks
    variables = from_state_dict(
        state_dict, model_name, num_classes=num_classes, norm=norm, **options
    )
    with open(paths.expand(checkpoint), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    info = {
        "model": model_name,
        "num_classes": num_classes,
        "norm": norm,
        "options": options,
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "source": {"file": Path(checkpoint).name, "sha256": digest},
        "license": license or "that of the source; it was not stated at import",
        "imported_by": f"augmax_jax {__version__}",
    }
    return variables, info


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m augmax_jax.torch_import",
        description="Imports a PyTorch checkpoint. No code in the file is run.",
    )
    parser.add_argument("--checkpoint", required=True, help=".pth, .safetensors or .npz file")
    parser.add_argument("--model", required=True, help=", ".join(models.MODELS))
    parser.add_argument("--num_classes", required=True, type=int)
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument("--norm", help="bn, ibn, dubn or dubin; default: told from the keys")
    parser.add_argument("--key", help="of the state_dict in the file; default: searched")
    for name in ("mean", "std"):
        parser.add_argument(
            f"--{name}",
            nargs=3,
            type=float,
            metavar=("R", "G", "B"),
            help="input normalisation; default: ImageNet's for ImageNet models, else none",
        )
    parser.add_argument("--license", help="note kept in model.json")
    for name in _OPTIONS:
        parser.add_argument(f"--{name}", type=int, help="option of the model")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    console.prepare()
    jax.config.update("jax_platforms", "cpu")  # no accelerator is needed, nor its memory taken
    flags = _parser().parse_args(arguments)
    options: dict[str, Any] = {
        name: getattr(flags, name) for name in _OPTIONS if getattr(flags, name) is not None
    }
    try:
        variables, info = import_file(
            flags.checkpoint,
            flags.model,
            num_classes=flags.num_classes,
            norm=flags.norm,
            key=flags.key,
            mean=flags.mean,
            std=flags.std,
            license=flags.license,
            **options,
        )
        save_imported(flags.out, variables, info)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    logger.info(
        "%s (norm %s, %d classes, %s parameters), input normalisation %s -> %s",
        info["model"],
        info["norm"],
        info["num_classes"],
        f"{count:,}",
        "none" if info["mean"] is None else f"mean {info['mean']}, std {info['std']}",
        flags.out,
    )
    if info["num_classes"] == 200 and "stem_stride" not in options:
        # No shape tells the stride, and the wrong one costs accuracy silently.
        logger.warning(
            "stem_stride is 1; the paper's Tiny ImageNet models (64x64 images) need --stem_stride 2"
        )
