"""The settings of a run: what there is, how a setting is read, and when two configs are one run.

`defaults()` is the reference of all settings. `configs/*.py` start from it and change a few
lines; a `--config.a.b=value` on the command line overrides both. This module checks the
types of values. The package that uses a setting checks which values are allowed, and
`training.run.check` calls all these checks.
"""

import ast
import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from augmax_jax import methods, models
from augmax_jax.runtime import extras, files, paths
from augmax_jax.runtime.config_file import load
from augmax_jax.runtime.errors import nearest
from augmax_jax.runtime.following import by_epochs, by_method
from augmax_jax.runtime.kinds import Kind

with extras.needed("train"):
    from ml_collections import ConfigDict, FieldReference
    from ml_collections.config_dict import placeholder

__all__ = [
    "FORGOTTEN",
    "MAY_CHANGE",
    "NO_EFFECT",
    "NO_EFFECT_SYNCHRONISED",
    "RENAMED",
    "check_keys",
    "check_settings",
    "check_types",
    "defaults",
    "differences",
    "has_effect",
    "kind_of",
    "kinds",
    "load",
    "read_setting",
    "set_setting",
    "settings_of",
    "to_dict",
]

# Settings, or groups of them, that say how and where a run computes, and change no result.
# data.resident is not one of them: a tfds stream holds out other images than a set in memory.
NO_EFFECT = (
    "checkpoint",
    "compaction",
    "compilation_cache",
    "data.bad_images",  # with "refuse" there is no result if the set has bad images
    "data.data_dir",
    "data.download",
    "distributed",
    "eval_batch_size",
    "evaluate.data_dir",
    "log_every",
    "model.remat",
    "pictures_every_epochs",
    "profile",
    "progress",
    "tensorboard",
)
# Settings that change no result where no device decides by its own share of a batch: where batch
# norm is synchronised, the share has no parts, and no early stop waits for a batch.
NO_EFFECT_SYNCHRONISED = ("num_devices",)
# Settings of one command, which a run does not remember.
FORGOTTEN = ("allow_config_change", "distributed")
# Further settings that may differ when a run goes on: training does not depend on them.
MAY_CHANGE = ("allow_config_change", "evaluate", "max_steps", "optimizer.on_nonfinite")
# Former names of settings -> new names. The command line and config files must use the new ones;
# a config.json of an older run may have the former ones.
RENAMED = {
    "adversary.chunk": "compaction.chunk",
    "adversary.compact": "compaction.enabled",
    "optimizer.per": "optimizer.schedule_unit",
}
# Former spellings of values in such files: setting -> (before, now).
_RESPELT = {"data.resident": (None, "auto")}
# Settings that may be folders. Two ways to write the path of one folder are the same setting.
_FOLDERS = ("data.name", "data.extra_train", "init_from")


def defaults() -> ConfigDict:
    """AugMax-DuBIN on CIFAR-10 with WRN-40-2, as in the paper (Sec. 5).

    A comment gives a setting's meaning, and its allowed values if the type does not tell them.
    """
    c = ConfigDict()
    c.seed = 0  # seeds initialisation, order, augmentation and attacks; 0 to 2**32 - 1
    c.method = "augmax"  # a name of augmax_jax.methods.METHODS: normal, augmix, augmax, ...
    c.dtype = "float32"  # or "bfloat16": parameters, statistics and losses stay float32
    c.batch_size = 256  # images in a step, over all devices
    c.epochs = 200  # passes over the training set
    c.max_steps = 0  # stop after this many steps although the schedule is longer; 0: never
    c.num_devices = 0  # devices to train on, over all hosts; 0: all
    c.sync_batch_norm = False  # True: batch statistics over all devices
    c.init_from = ""  # directory of imported or trained variables to start from; "": none

    # Several processes, such as one on each host of a cluster (docs/several_hosts.md); where these
    # are not set, JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID or the cluster tell.
    c.distributed = ConfigDict()
    c.distributed.coordinator = ""  # host:port at which process 0 listens, for all to reach
    c.distributed.processes = 0  # how many
    c.distributed.process = -1  # the number of this one, from 0

    c.model = ConfigDict()
    c.model.name = "wrn40_2"  # a name of augmax_jax.models.MODELS: resnet18, resnext29, ...
    c.model.norm = "dubin"  # bn | ibn | dubn | dubin
    c.model.options = ConfigDict()  # the network's own: stem_stride, widen_factor, cardinality, ...
    # Input normalisation, inside the network. None: the network's own, which is ImageNet's for
    # the ImageNet networks and none for the others. (0, 0, 0) and (1, 1, 1): none.
    c.model.mean = placeholder(tuple)
    c.model.std = placeholder(tuple)
    c.model.remat = False  # trade time for memory, on accelerators (no effect on the CPU)

    c.data = ConfigDict()
    c.data.name = "cifar10"  # "digits", a tfds name, or a folder of images (docs/data.md)
    # A folder's table of file,label[,split], CSV or TSV, relative to the folder or absolute;
    # "": labels.csv or labels.tsv in the folder, if there.
    c.data.labels = ""
    # Share of every class that a folder without a test split holds out as one, in [0, 1), the
    # same images for every seed; 0: refuse such a folder.
    c.data.test_fraction = 0.2
    c.data.data_dir = ""  # where tfds keeps its prepared data; "": tfds's default
    c.data.download = False  # let tfds download what is not there
    c.data.train_split = "train"  # split to train on; tfds slices such as "train[:80%]" too
    c.data.test_split = "test"  # split to evaluate on
    c.data.holdout = 0.01  # share of the training split that chooses the best checkpoint
    c.data.image_size = 32  # side of the images in pixels
    c.data.train_transform = "flip_crop"  # flip_crop | crop | none | random_resized_crop
    c.data.test_transform = "resize"  # or "center_crop": 224 out of 256, as for ImageNet
    # True: decode all images once and keep them. False: decode on the fly. "auto": keep them
    # if they fit max_resident_bytes.
    c.data.resident = FieldReference("auto", field_type=object)
    c.data.max_resident_bytes = 4 * 2**30
    c.data.bad_images = "refuse"  # or "skip" unreadable files of a folder, and log their names
    c.data.shuffle_buffer = 10_000  # records that a tfds stream shuffles; it holds twice that
    c.data.extra_train = ()  # folders <dir>/<train_split>/<class>/* of copies to train on too

    c.augment = ConfigDict()
    c.augment.padding = 4  # zeros around the image before the random crop
    c.augment.width = 3  # chains
    c.augment.depth = placeholder(int)  # operators in a chain; None: uniform over 1, 2, 3
    c.augment.severity = 3.0  # strength of the operators, 0.1 to 10
    c.augment.operators = "augmix"  # "augmix" (9), "all" (13), or names separated by commas

    c.adversary = ConfigDict()  # the inner maximisation of AugMax, Algorithm 1
    c.adversary.steps = 10  # n, at most
    c.adversary.step_size = 0.1  # α
    c.adversary.patience = 1  # k: misclassifications after which a sample stops
    c.adversary.early_stop = "sample"  # sample (the paper) | batch (the released code) | none
    c.adversary.count_initial = False  # True: a misclassified starting point counts too
    c.adversary.targeted = False  # True: towards a random other class
    # Attack every k-th image of a batch; the others get AugMix images in place of AugMax images.
    c.adversary.every = 1

    c.compaction = ConfigDict()  # for ascents that stop early (augmax, advmax, fat)
    c.compaction.enabled = True  # work on unfinished samples only; the results are the same
    c.compaction.chunk = 0  # samples at a time once few are unfinished; 0: a number for the backend

    c.pgd = ConfigDict()  # pgd_at and augmix_pgd; images are in [0, 1]
    c.pgd.eps = 8 / 255
    c.pgd.step_size = 2 / 255
    c.pgd.steps = 10
    c.pgd.random_start = True  # from a random point of the ball

    c.fat = ConfigDict()  # images are in [0, 1]
    c.fat.eps = 0.031
    c.fat.step_size = 0.007
    c.fat.steps = 10
    c.fat.random_start = True  # from a random point of the ball
    c.fat.jitter = 0.001  # ω
    c.fat.budgets = (0, 1, 2)  # τ: how many steps a misclassified sample still takes ...
    c.fat.boundaries = (50.0, 90.0)  # ... before, between and after these of 120 epochs

    c.worst_of_k = ConfigDict()  # advmix and advmax
    c.worst_of_k.k = 5  # candidates of which the worst is taken

    c.stadv = ConfigDict()  # the last stage of advmax
    c.stadv.steps = 10
    c.stadv.step_size = 0.1  # pixels
    c.stadv.max_flow = 1.0  # pixels
    c.stadv.smoothness = 0.05  # τ

    c.maxup = ConfigDict()
    c.maxup.copies = 4  # m

    c.ant = ConfigDict()
    c.ant.kernel = 1  # 1 (ANT 1x1) or 3 (ANT 3x3)
    c.ant.rms = 135 / (3 * 224 * 224) ** 0.5  # ε per value: 135 at 224x224, 19.3 at 32x32
    c.ant.share = 0.3  # share of the batch with noise of the current generator
    c.ant.replay_share = 0.1  # share of the batch for each of two earlier generators
    c.ant.learning_rate = 1e-4  # learning rate of the generator (Adam)
    c.ant.retrain_steps = 1001  # steps from scratch at the start of every epoch
    c.ant.retrain_learning_rate = 5e-4
    c.ant.history = 128  # number of earlier generators kept, one per epoch

    c.objective = ConfigDict()
    c.objective.variant = "paper"  # Eq. 5; or "released": no cross-entropy on the AugMax view
    c.objective.consistency_weight = 10.0  # λ; AugMix has another, see below
    c.objective.ramp_epochs = 0.0  # epochs in which λ rises from 0; 0: it is the same throughout
    c.objective.label_smoothing = 0.0  # share of a label that goes to all classes evenly, [0, 1)
    c.objective.forwards = "separate"  # or "joint": views of a route share batch statistics
    # The norm route of each view, "clean" or "augmented"; None: that of the variant.
    c.objective.routes = ConfigDict({view: placeholder(str) for view in methods.view_names()})

    # The weight of each view in the cross-entropy, at least 0; None: that of the variant.
    c.objective.weights = ConfigDict({view: placeholder(float) for view in methods.view_names()})

    c.optimizer = ConfigDict()  # docs/optimisation.md
    c.optimizer.name = "sgd"  # or "adamw", which wants a lower learning_rate, such as 0.001
    c.optimizer.learning_rate = 0.1
    c.optimizer.momentum = 0.9  # of SGD, 0 up to, not including, 1
    c.optimizer.b1 = 0.9  # of AdamW, as b2, 0 up to, not including, 1
    c.optimizer.b2 = 0.999
    c.optimizer.eps = 1e-8  # of AdamW
    c.optimizer.nesterov = False
    c.optimizer.weight_decay = 5e-4
    c.optimizer.schedule = "cosine"  # cosine | step | constant
    c.optimizer.schedule_unit = "epoch"  # the rate changes once an epoch; or "step": every step
    c.optimizer.boundaries = ()  # for schedule "step": epochs in rising order
    c.optimizer.factor = 0.1  # multiplies the rate at each boundary
    c.optimizer.warmup_epochs = 0.0  # epochs in which the rate rises from 0
    c.optimizer.clip_norm = 0.0  # highest norm of the whole gradient; 0: no limit
    c.optimizer.ema = 0.0  # decay of a moving average of the weights, such as 0.999; 0: none
    # Parts in which a device goes through its share of a batch, one after another, so that a large
    # batch fits into its memory (gradient accumulation).
    c.optimizer.micro_batches = 1
    # What a loss or gradient that is NaN or infinite does: "stop" the run, or "skip" the step.
    c.optimizer.on_nonfinite = "stop"

    c.select_on = "holdout"  # or "test", as in the literature; the log and the report say so
    c.eval_every_epochs = 1.0  # epochs between evaluations on that set; 0: after the last step only
    c.eval_batch_size = 1000
    c.log_every = 50  # steps between rows of the log
    c.pictures_every_epochs = 10.0  # epochs between pictures of the views; 0: at the end only
    c.progress = True  # a progress bar
    c.tensorboard = True  # logs for TensorBoard
    c.profile = False  # True: a trace of a few steps
    c.compilation_cache = "~/.cache/augmax_jax"  # folder; "": none. JAX_COMPILATION_CACHE_DIR wins
    c.allow_config_change = False  # True: go on in a workdir that has another config

    c.checkpoint = ConfigDict()
    c.checkpoint.every_epochs = 1.0  # epochs between checkpoints; 0: after the last step only
    c.checkpoint.keep = 2  # how many of the latest checkpoints to keep

    c.evaluate = ConfigDict()
    # What to measure on the robustness sets: the "best" checkpoint, the "last", or "average", the
    # moving average of the weights at the last.
    c.evaluate.checkpoint = "best"
    # The norm routes of evaluation. Of "clean,augmented" the probabilities are averaged, at twice
    # the cost.
    c.evaluate.routes = ("clean",)
    # Names of robustness sets (docs/data.md), or folders. If a set is not available, the report
    # says why. "corrupted" corrupts the test split itself; "spatial" is the spatial attack.
    c.evaluate.benchmarks = ()
    c.evaluate.data_dir = ""  # folder of the published sets
    c.evaluate.constants = "cifar"  # severities of "corrupted": cifar | tiny_imagenet | imagenet
    # For mCE: results.json of another run, or of several separated by commas, whose errors are
    # averaged; or "alexnet", "tiny_imagenet_resnet18".
    c.evaluate.baseline = ""

    # Unless the user sets them: AugMix has the λ of its paper (Hendrycks et al. 2020), and FAT's
    # budgets change at the same shares of the training, however long it is.
    by_method(c, "objective.consistency_weight", augmix=12.0)
    by_epochs(c, "fat.boundaries", of=120)
    return c


def _leaves(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def kinds() -> Mapping[str, Kind]:
    """The type of every setting by its name, like "adversary.steps": the type of its default."""
    return _kinds(methods.view_names())


@functools.cache
def _kinds(views: tuple[str, ...]) -> Mapping[str, Kind]:
    del views  # part of the cache's key: a new method adds routes for its views
    # Types that the defaults do not show.
    found = {
        "data.resident": Kind(bool, also=("auto",)),
        "model.mean": Kind(float, many=True, also=(None,)),
        "model.std": Kind(float, many=True, also=(None,)),
        "optimizer.boundaries": Kind(float, many=True),
    }
    config = defaults()
    for name, value in _leaves(config):
        if isinstance(value, tuple):
            kind = Kind(type(value[0]) if value else str, many=True)
        elif value is None:
            group, _, last = name.rpartition(".")
            kind = Kind(_group(config, group).get_type(last), also=(None,))
        else:
            kind = Kind(type(value))
        found.setdefault(name, kind)
    return found


def kind_of(name: str) -> Kind:
    """The type of one setting.

    Raises:
        ValueError: there is no such setting; the message has its new name or the nearest match.
    """
    if name in RENAMED:
        raise ValueError(f"config key {name!r} is now called {RENAMED[name]!r}")
    if name.startswith("model.options."):
        return Kind(object)  # the networks check their options
    known = kinds()
    if name not in known:
        members = [other for other in known if other.startswith(f"{name}.")]
        if members:
            raise ValueError(f"config.{name} is a group of settings: {', '.join(members)}")
        raise ValueError(f"unknown config key {name!r}.{nearest(name, known)}")
    return known[name]


def check_settings(names: Iterable[str]) -> None:
    """Raises ValueError for the first name, like "adversary.steps", that is no setting."""
    for name in names:
        kind_of(name)


def check_keys(config: ConfigDict) -> None:
    """Raises ValueError for no config, a setting that does not exist, or one that is missing."""
    if not hasattr(config, "unlocked"):
        raise ValueError(
            "config must be the ConfigDict that augmax_jax.config.defaults() makes, got "
            f"{type(config).__name__}"
        )
    given = dict(_leaves(config))
    check_settings(given)
    missing = sorted(kinds().keys() - given)
    if missing:
        raise ValueError(
            f"config lacks {', '.join(missing)}: start from augmax_jax.config.defaults()"
        )


def check_types(config: ConfigDict) -> None:
    """Raises ValueError for the first setting whose value is not of its type."""
    for name, value in _leaves(config):
        _check_type(name, value)


def _check_type(name: str, value: Any) -> None:
    kind = kind_of(name)
    if not kind.accepts(value):
        raise ValueError(f"config.{name} must be {kind}, got {value!r}")


def read_setting(name: str, text: str) -> Any:
    """Reads the value of a setting from a text, as the command line gives it.

    Args:
        name: like "adversary.steps". "model.options" as a whole takes a dictionary.
        text: "3", "0.1", "8/255", "true", "None" or "auto" if the setting allows it, and
            "a,b" or "('a', 'b')" for a tuple.

    Raises:
        ValueError: there is no such setting, or the text is not of its type.
    """
    if name == "model.options":
        try:
            options = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            options = None
        if not isinstance(options, dict):
            raise ValueError(
                f"config.model.options must be a dictionary, got {text!r}: options are set one "
                "by one as config.model.options.NAME=VALUE"
            )
        return options
    kind = kind_of(name)
    try:
        return kind.read(text)
    except ValueError:
        raise ValueError(f"config.{name} must be {kind}, got {text!r}") from None


def set_setting(config: ConfigDict, name: str, value: Any) -> None:
    """Sets a setting by its name, like "adversary.steps"; also in a locked config.

    Args:
        config: changed in place.
        name: a setting, an option of a network ("model.options.depth"), or "model.options".
        value: a value of the setting's type.

    Raises:
        ValueError: there is no such setting, or the value is not of its type.
    """
    if name == "model.options" and isinstance(value, Mapping):
        for option, number in value.items():
            set_setting(config, f"{name}.{option}", number)
        return
    _check_type(name, value)
    path, _, last = name.rpartition(".")
    group = _group(config, path)
    with group.unlocked():  # options of networks are new keys
        group[last] = value


def _group(config: ConfigDict, path: str) -> ConfigDict:
    for part in path.split(".") if path else ():
        config = config[part]
    return config


def has_effect(name: str) -> bool:
    """Whether a setting can change a result, of training or of evaluation."""
    return not _is_among(name, NO_EFFECT)


def _is_among(name: str, names: Iterable[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)


def to_dict(config: ConfigDict) -> dict[str, Any]:
    """The config as plain values that JSON can hold."""
    return json.loads(files.dumps(config.to_dict()))


def _with_normalization(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the network's input normalisation in place of None."""
    name, mean, std = (settings[f"model.{part}"] for part in ("name", "mean", "std"))
    if name not in models.MODELS or (mean is None) != (std is None):
        return settings
    mean, std = models.input_normalization(name, mean, std)
    return settings | {"model.mean": list(mean), "model.std": list(std)}


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The differences between two configs that make them different runs.

    Args:
        mine: one config, as `to_dict` gives it.
        theirs: the other config; an older version may have written it.

    Returns:
        Lines `name: theirs -> mine`.
    """
    absent = "absent"
    # If an older config lacks a setting, it has the default.
    usual = settings_of(to_dict(defaults()))
    a, b = (_with_normalization(usual | settings_of(config)) for config in (mine, theirs))
    free: tuple[str, ...] = NO_EFFECT + MAY_CHANGE
    if all(
        c["sync_batch_norm"]
        and c["optimizer.micro_batches"] == 1
        and c["adversary.early_stop"] != "batch"
        for c in (a, b)
    ):
        free += NO_EFFECT_SYNCHRONISED
    return [
        f"{name}: {b.get(name, absent)!r} -> {a.get(name, absent)!r}"
        for name in sorted(a.keys() | b.keys())
        if not _is_among(name, free)
        and not _is_same(name, a.get(name, absent), b.get(name, absent))
    ]


def settings_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, from a `config.json` that an older version may have written.

    Args:
        kept: a config as `to_dict` gives it.

    Returns:
        Values by present names, like "adversary.steps"; options of the network are named
        "model.options.NAME". Settings that came later are absent.
    """
    flat = {RENAMED.get(name, name): value for name, value in _leaves(kept)}
    for name, (before, now) in _RESPELT.items():
        if name in flat and flat[name] == before:
            flat[name] = now
    if flat.get("data.train_transform") == "random_resized_crop":
        # Before there was a setting, the one came with the other.
        flat.setdefault("data.test_transform", "center_crop")
    return flat


def _is_same(name: str, a: Any, b: Any) -> bool:
    return a == b or (name in _FOLDERS and _resolved(a) == _resolved(b))


def _resolved(value: Any) -> Any:
    """The full path of a folder, with links followed; any other value unchanged."""
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    # "digits" is the embedded set even if a folder has that name.
    if not isinstance(value, str) or value == "digits" or paths.is_remote(value):
        return value
    path = paths.expand(value)
    return os.path.realpath(path) if path.is_dir() else value
