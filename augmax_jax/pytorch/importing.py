"""PyTorch checkpoints as variables of our networks, without PyTorch.

`from_state_dict` turns a mapping of names to arrays into variables.
`python -m augmax_jax.torch_import` calls `import_file` and `save_imported`, and `load_imported`
reads the result. docs/checkpoints_pytorch.md lists the published models with their settings.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from augmax_jax import __version__, models
from augmax_jax.pytorch import files as torch_files
from augmax_jax.pytorch import keys as torch_keys
from augmax_jax.pytorch import matching
from augmax_jax.pytorch.files import names_text
from augmax_jax.pytorch.state_dict import Variables, from_state_dict
from augmax_jax.runtime import extras, model_file, paths, storage, untrusted

logger = logging.getLogger(__name__)

ModelInfo = dict[str, Any]


def init_from(variables: Variables, imported: Variables) -> tuple[Variables, list[str]]:
    """Starts fine-tuning from imported variables, with a new head if the classes differ.

    Args:
        variables: freshly initialised variables of the network to train.
        imported: variables of the same network; its number of classes may differ.

    Returns:
        The variables to start from, and lines that say what was done.

    Raises:
        ValueError: anything except the head differs; the message lists the names.
    """
    ours, theirs = _flat(variables), _flat(imported)
    head = [path for path in ours if path[:2] == ("params", "head")]
    new_head = any(path in theirs and theirs[path].shape != ours[path].shape for path in head)
    problems = {
        "missing": [path for path in ours if path not in theirs],
        "left over": [path for path in theirs if path not in ours],
        "of another shape": [
            path
            for path in ours
            if path in theirs
            and theirs[path].shape != ours[path].shape
            and not (new_head and path in head)
        ],
    }
    lines = [
        f"  {title} ({len(paths)}): {names_text(['/'.join(path) for path in paths])}"
        for title, paths in problems.items()
        if paths
    ]
    if lines:
        raise ValueError(
            "the imported variables are of another network (model, norm or options):\n"
            + "\n".join(lines)
        )

    def choose(path: Any, old: Any) -> Any:
        names = tuple(part.key for part in path)
        if new_head and names in head:
            return old
        return np.asarray(theirs[names]).astype(old.dtype)

    taken = len(ours) - (len(head) if new_head else 0)
    report = [f"{taken} of {len(ours)} arrays imported"]
    if new_head:
        kernel = ("params", "head", "kernel")
        report.append(
            f"new head for {ours[kernel].shape[1]} classes "
            f"(the imported one has {theirs[kernel].shape[1]})"
        )
    return jax.tree_util.tree_map_with_path(choose, variables), report


def _flat(variables: Variables) -> dict[tuple[str, ...], Any]:
    """Path -> array, or its shape and dtype where that is all there is."""
    return {
        tuple(part.key for part in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def save_imported(directory: str | Path, variables: Variables, info: ModelInfo) -> None:
    """Writes variables and what is needed to build their network.

    Args:
        directory: a directory that does not exist or is empty.
        variables: `{"params": ..., "batch_stats...": ...}`.
        info: what `model.json` is to say; see `runtime.model_file.write`.

    Raises:
        ValueError: the directory is not empty, or checkpoints cannot be kept there.
        OSError: the directory cannot be written; nothing is left behind.
    """
    with extras.needed("train"):
        import orbax.checkpoint as ocp

    directory = paths.expand(directory).absolute()
    check_out(directory)
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / "variables", jax.tree.map(np.asarray, variables))
        model_file.write(partial, info)
        if directory.exists():
            directory.rmdir()  # it is empty
        partial.rename(directory)
    except Exception as error:  # orbax raises many types
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise OSError(f"{directory} cannot be written ({reason}): choose another --out") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_out(directory: Path) -> None:
    """Raises ValueError for a directory that `save_imported` cannot or must not write."""
    paths.check_checkpoint_path(directory, "--out")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} exists and is not an empty directory; choose another --out")


def load_imported(directory: str | Path) -> tuple[Variables, ModelInfo]:
    """Reads the directory that the command or `save_imported` wrote.

    Args:
        directory: the command's `--out`.

    Returns:
        Variables as NumPy arrays, and the contents of `model.json`, from which `build` makes the
        network.

    Raises:
        ValueError: the directory is not an import's, or is damaged.
    """
    with extras.needed("train"):
        import orbax.checkpoint as ocp

    directory = paths.absolute(paths.expand_workdir(directory))
    paths.check_checkpoint_path(directory, "the imported model's directory")
    info = model_file.read(directory)
    if info is None:
        raise ValueError(
            f"{directory} holds no imported model (no model.json). Make one with: "
            "python -m augmax_jax.torch_import --checkpoint FILE --model NAME --num_classes N "
            f"--out {directory}"
        )
    try:
        like = torch_keys.abstract_variables(build(info))
        declared = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(like))
        untrusted.check_declared(declared, storage.total_size(directory), "its arrays")
        like = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
        with ocp.StandardCheckpointer() as checkpointer:
            variables = checkpointer.restore(directory / "variables", like)
    except Exception as error:  # orbax raises many types for damaged files
        reason = f"{type(error).__name__}: {error}".split("\n", 1)[0][:200]
        raise ValueError(f"{directory} is damaged ({reason})") from error
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
    prefix: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    license: str | None = None,
    **options: Any,
) -> tuple[Variables, ModelInfo]:
    """Reads a PyTorch file; the command does this before it writes.

    Args:
        checkpoint: see `files.read_state_dict`.
        model_name: as in `models.create`; so are `num_classes` and `options`.
        num_classes: number of logits.
        norm: "bn", "ibn", "dubn" or "dubin"; None: found from the keys.
        key: key of the state_dict in the file, see `files.read_state_dict`. None: among those
            that fit the network, the one with a usual name, or the only one.
        prefix: see `from_state_dict`.
        mean: mean of the input normalisation that the model was trained with. None: that of a
            normalising layer in the file, else the network's own (see `models.create`).
        std: standard deviation of the same.
        license: note for `model.json`.
        **options: options of the model.

    Returns:
        Variables and the contents of `model.json`.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: see `files.read_state_dict` and `from_state_dict`; or several state_dicts fit.
    """
    models.create(model_name, num_classes, norm=norm or "bn", mean=mean, std=std, **options)
    key = _choose_key(checkpoint, model_name, num_classes, norm, key, prefix, options)
    state_dict = torch_files.read_state_dict(checkpoint, key=key)
    norm = norm or torch_keys.guess_norm(state_dict)
    variables = from_state_dict(
        state_dict, model_name, num_classes=num_classes, norm=norm, prefix=prefix, **options
    )
    mean, std = _normalization(state_dict, model_name, mean, std)
    with open(checkpoint, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    info = {
        "model": model_name,
        "num_classes": num_classes,
        "norm": norm,
        "options": options,
        "mean": list(mean),
        "std": list(std),
        "dtype": "float32",
        "image_size": models.usual_image_size(model_name, **options),
        "test_transform": models.usual_test_transform(model_name),
        "route": "clean",
        "class_names": None,
        "source": {"file": Path(checkpoint).name, "sha256": digest},
        "license": license or "that of the source; it was not stated at import",
        "imported_by": f"augmax_jax {__version__}",
    }
    return variables, info


def _choose_key(
    checkpoint: str | Path,
    model_name: str,
    num_classes: int,
    norm: str | None,
    key: str | None,
    prefix: str | None,
    options: Mapping[str, Any],
) -> str | None:
    """The key of the state_dict that fits the network; if none fits, the usual key.

    Raises:
        ValueError: several fit, and none of them has a usual key.
    """
    if key is not None:
        return key
    fitting, found = {}, {}
    for name, shapes in torch_files.state_dict_shapes(checkpoint).items():
        module = models.create(
            model_name, num_classes, norm=norm or torch_keys.guess_norm(shapes), **options
        )
        best = next(iter(matching.matches(shapes, torch_keys.entries(module), prefix)), None)
        found[name] = 0 if best is None else len(best.names)
        fitting[name] = best is not None and best.complete
    keys = [name for name, fits in fitting.items() if fits]
    if not keys:
        return torch_files.usual_key(found) or max(found, key=lambda name: found[name])
    chosen = torch_files.usual_key(keys)
    if chosen is None and (len(keys) == 1 or "" in keys):
        chosen = "" if "" in keys else keys[0]
    if chosen is None:
        raise ValueError(
            f"{checkpoint} holds several state_dicts that fit, under {', '.join(keys)}: choose "
            "one with --key"
        )
    if len(keys) > 1:
        logger.info(
            "taken: %r; %s would fit too (--key)",
            chosen,
            names_text([name for name in keys if name != chosen]),
        )
    elif chosen:
        logger.info("the state_dict is under the key %r", chosen)
    return chosen


def _normalization(
    state_dict: Mapping[str, Any],
    model_name: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[models.Channels, models.Channels]:
    """The input normalisation: the given one, else the file's, else the network's own."""
    wanted = models.input_normalization(model_name, mean, std)
    layers = matching.normalizers(state_dict)
    theirs = list(layers.values())
    if not theirs:
        return wanted
    name, (file_mean, file_std) = next(iter(layers.items()))
    said = f"the file's normalising layer ({name}) has mean {file_mean}, std {file_std}"
    if any(not np.allclose(pair, theirs[0]) for pair in theirs[1:]):
        logger.warning("%s, and others differ: give --mean and --std", said)
    elif np.allclose(theirs[0], wanted, atol=1e-6):
        return wanted
    elif mean is not None:
        logger.warning("%s, unlike --mean and --std, which are used", said)
    elif max(file_mean) > 1 or min(file_mean) < 0 or min(file_std) <= 0 or max(file_std) > 1:
        logger.warning("%s, which is not on the scale from 0 to 1: give --mean and --std", said)
    else:
        logger.info("%s, which is used", said)
        return models.input_normalization(model_name, file_mean, file_std)
    return wanted
