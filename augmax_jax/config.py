"""The run's config: every setting with its default, and the checks made before any work.

`configs/*.py` start from `defaults()` and change a few lines. A `--config.a.b=value` on the
command line overrides both.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from augmax_jax.augment import operators
from augmax_jax.runtime.errors import check_name, nearest

# Settings that may differ when a run is continued: none of them changes what is computed.
FREE = (
    "allow_config_change",
    "checkpoint",
    "compilation_cache",
    "evaluate",
    "log_every",
    "max_steps",
    "pictures_every_epochs",
    "profile",
    "progress",
    "tensorboard",
)
# Kinds of views whose norm route can be chosen; `methods.VIEWS_OF` says which method has which.
VIEWS = ("clean", "augmix", "augmax", "pgd", "fat", "advmix", "advmax", "ant", "maxup")


def defaults() -> ConfigDict:
    """AugMax-DuBIN on CIFAR-10 with WRN-40-2, as in the paper (spec §6)."""
    c = ConfigDict()
    c.seed = 0
    c.method = "augmax"  # one of augmax_jax.methods.METHODS
    c.dtype = "float32"  # or "bfloat16": parameters, statistics and losses stay float32
    c.batch_size = 256  # of all devices together
    c.epochs = 200
    c.max_steps = 0  # stop after this many steps although the schedule is longer; 0: never
    c.num_devices = 0  # 0: all
    c.sync_batch_norm = False  # True: batch statistics over all devices
    c.init_from = ""  # directory of imported or trained variables to start from

    c.model = ConfigDict()
    c.model.name = "wrn40_2"
    c.model.norm = "dubin"  # bn | ibn | dubn | dubin
    c.model.options = ConfigDict()  # e.g. stem_stride, widen_factor, cardinality
    c.model.mean = (0.0, 0.0, 0.0)  # input normalisation, inside the network
    c.model.std = (1.0, 1.0, 1.0)
    c.model.remat = False  # trade time for memory, on accelerators (no effect on the CPU)

    c.data = ConfigDict()
    c.data.name = "cifar10"  # "digits", a tfds name, or a folder <dir>/<split>/<class>/*
    c.data.data_dir = ""  # where tfds keeps its prepared data
    c.data.download = False  # let tfds download what is not there
    c.data.train_split = "train"
    c.data.test_split = "test"
    c.data.holdout = 0.01  # share of the training set that chooses the best checkpoint
    c.data.image_size = 32
    c.data.train_transform = "flip_crop"  # flip_crop | crop | none | random_resized_crop
    c.data.test_transform = "resize"  # or "center_crop": 224 out of 256, as for ImageNet
    c.data.resident = placeholder(bool)  # keep the set on the devices; None: if it fits
    c.data.max_resident_bytes = 4 * 2**30
    c.data.bad_images = "refuse"  # or "skip"
    c.data.shuffle_buffer = 10_000
    c.data.extra_train = ()  # folders <dir>/<train_split>/<class>/* of copies, trained on too

    c.augment = ConfigDict()
    c.augment.padding = 4  # zeros around the image before the random crop
    c.augment.width = 3
    c.augment.depth = placeholder(int)  # None: uniform over 1, 2, 3
    c.augment.severity = 3.0
    c.augment.operators = "augmix"  # "augmix" (9), "all" (13), or names separated by commas

    c.adversary = ConfigDict()
    c.adversary.steps = 10  # n
    c.adversary.step_size = 0.1  # α
    c.adversary.patience = 1  # k
    c.adversary.early_stop = "sample"  # sample (the paper) | batch (the released code) | none
    c.adversary.count_initial = False
    c.adversary.targeted = False
    c.adversary.compact = True  # work on unfinished samples only; the results are the same
    c.adversary.chunk = 0  # samples at a time once few are unfinished; 0: as fits the backend

    c.pgd = ConfigDict()  # pgd_at and augmix_pgd; images are in [0, 1]
    c.pgd.eps = 8 / 255
    c.pgd.step_size = 2 / 255
    c.pgd.steps = 10
    c.pgd.random_start = True

    c.fat = ConfigDict()
    c.fat.eps = 0.031
    c.fat.step_size = 0.007
    c.fat.steps = 10
    c.fat.random_start = True
    c.fat.jitter = 0.001  # ω
    c.fat.budgets = (0, 1, 2)  # τ: how many steps a misclassified sample still takes ...
    c.fat.boundaries = (50.0, 90.0)  # ... before, between and after these epochs

    c.worst_of_k = ConfigDict()  # advmix and advmax
    c.worst_of_k.k = 5

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
    c.ant.share = 0.3  # of the batch, with noise of the current generator
    c.ant.replay_share = 0.1  # of the batch, with noise of each of two earlier generators
    c.ant.learning_rate = 1e-4  # of the generator (Adam)
    c.ant.retrain_steps = 1001  # from scratch, at the start of every epoch
    c.ant.retrain_learning_rate = 5e-4
    c.ant.history = 128  # earlier generators kept, one an epoch

    c.objective = ConfigDict()
    c.objective.variant = "paper"  # Eq. 5; "released": no cross-entropy on the AugMax view
    c.objective.consistency_weight = 10.0  # λ
    c.objective.forwards = "separate"  # or "joint": views of a route share batch statistics
    # The norm route of each view, "clean" or "augmented"; None: as the variant has it.
    c.objective.routes = ConfigDict({view: placeholder(str) for view in VIEWS})

    c.optimizer = ConfigDict()
    c.optimizer.learning_rate = 0.1
    c.optimizer.momentum = 0.9
    c.optimizer.nesterov = False
    c.optimizer.weight_decay = 5e-4
    c.optimizer.schedule = "cosine"  # cosine | step | constant
    c.optimizer.per = "epoch"  # or "step"
    c.optimizer.boundaries = ()  # epochs, for "step"
    c.optimizer.factor = 0.1
    c.optimizer.warmup_epochs = 0.0

    c.select_on = "holdout"  # "test" reproduces the literature's habit, and says so
    c.eval_every_epochs = 1.0
    c.eval_batch_size = 1000
    c.log_every = 50
    c.pictures_every_epochs = 10.0
    c.progress = True
    c.tensorboard = True
    c.profile = False
    c.compilation_cache = "~/.cache/augmax_jax"  # "" for none
    c.allow_config_change = False  # go on in a workdir of another config

    c.checkpoint = ConfigDict()
    c.checkpoint.every_epochs = 1.0
    c.checkpoint.keep = 2

    c.evaluate = ConfigDict()
    c.evaluate.checkpoint = "best"  # or "last"
    # Which robustness sets; those that cannot be had are named with the reason.
    # "corrupted" corrupts the test split itself.
    c.evaluate.benchmarks = ()
    c.evaluate.data_dir = ""  # where the published sets lie
    c.evaluate.constants = "cifar"  # severities of "corrupted": cifar | tiny_imagenet | imagenet
    # For mCE: results.json of another run, or of several with commas between, whose errors are
    # averaged; or "alexnet", "tiny_imagenet_resnet18".
    c.evaluate.baseline = ""
    return c


def scale_learning_rate(config: ConfigDict, rate: float = 0.1, batch_size: int = 256) -> None:
    """Ties the learning rate to the batch size: `rate` at `batch_size`, linear (spec §6).

    A `--config.batch_size` on the command line then moves the rate with it.
    """
    del config.optimizer.learning_rate  # a float field would not take a reference
    config.optimizer.learning_rate = config.get_oneway_ref("batch_size") * (rate / batch_size)


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_settings(names: Iterable[str]) -> None:
    """Raises ValueError for the first name, like "adversary.steps", that is no setting."""
    known = dict(_leaves(defaults()))
    for name in names:
        if name not in known and not name.startswith("model.options."):
            raise ValueError(f"unknown config key {name!r}.{nearest(name, known)}")


def check_keys(config: ConfigDict) -> None:
    """Raises ValueError for a setting that does not exist, or one that is missing."""
    given = dict(_leaves(config))
    check_settings(given)
    missing = sorted(set(dict(_leaves(defaults()))) - set(given))
    if missing:
        raise ValueError(
            f"config lacks {', '.join(missing)}: start from augmax_jax.config.defaults()"
        )


def _check_range(config: ConfigDict, name: str, low: float, high: float = float("inf")) -> None:
    value = config
    for part in name.split("."):
        value = value[part]
    if not isinstance(value, int | float) or not low <= value <= high:
        allowed = f"at least {low}" if high == float("inf") else f"in [{low}, {high}]"
        raise ValueError(f"config.{name} must be {allowed}, got {value!r}")


def _check_routes(config: ConfigDict) -> None:
    """A network with two batch norms must be trained on the one that evaluation uses."""
    from augmax_jax import methods, models

    used = {view: methods.routes(config)[view] for view in methods.VIEWS_OF[config.method]}
    if len(models.statistics_collections(config.model.norm)) > 1 and "clean" not in used.values():
        listed = ", ".join(f"{view} -> {route}" for view, route in used.items())
        raise ValueError(
            f"config.model.norm={config.model.norm!r} keeps a batch norm for each route and "
            f"evaluation uses the clean one, which method {config.method!r} would never train "
            f"({listed}): set config.objective.routes.{next(iter(used))}='clean', or a norm "
            "with one batch norm (bn or ibn)"
        )


def _check_methods(config: ConfigDict) -> None:
    """The settings of the baselines and ablations."""
    for name, low, high in (
        ("pgd.eps", 0, 1),
        ("pgd.step_size", 0, 1),
        ("fat.eps", 0, 1),
        ("fat.step_size", 0, 1),
        ("ant.rms", 1e-6, 1),
        ("ant.share", 0, 1),
        ("ant.replay_share", 0, 0.5),
    ):
        _check_range(config, name, low, high)
    for name, low in {
        "pgd.steps": 0,
        "fat.steps": 0,
        "fat.jitter": 0,
        "worst_of_k.k": 1,
        "stadv.steps": 0,
        "stadv.step_size": 0,
        "stadv.max_flow": 0,
        "stadv.smoothness": 0,
        "maxup.copies": 1,
        "ant.learning_rate": 0,
        "ant.retrain_steps": 0,
        "ant.retrain_learning_rate": 0,
        "ant.history": 1,
    }.items():
        _check_range(config, name, low)
    if config.ant.kernel not in (1, 3):
        raise ValueError(f"config.ant.kernel must be 1 or 3, got {config.ant.kernel!r}")
    if config.ant.share + 2 * config.ant.replay_share > 1 + 1e-9:
        raise ValueError(
            "config.ant.share + 2 config.ant.replay_share must be at most 1, "
            f"got {config.ant.share} + 2 * {config.ant.replay_share}"
        )
    budgets, boundaries = tuple(config.fat.budgets), tuple(config.fat.boundaries)
    if not all(isinstance(budget, int) and budget >= 0 for budget in budgets):
        raise ValueError(f"config.fat.budgets must be whole numbers of at least 0, got {budgets}")
    if len(budgets) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
        raise ValueError(
            "config.fat.boundaries must be epochs in rising order, one fewer than "
            f"config.fat.budgets, got {boundaries} and {budgets}"
        )


def validate(config: ConfigDict) -> None:
    """Checks every setting that can be checked without data or devices.

    Raises:
        ValueError: naming the setting, its value and what is allowed.
    """
    # Imported here: a config file needs neither networks nor methods.
    from augmax_jax import methods, models
    from augmax_jax.adversary.augmax import EARLY_STOP
    from augmax_jax.data.settings import check as check_data

    check_keys(config)
    check_name("method", config.method, methods.METHODS)
    check_name("model", config.model.name, models.MODELS)
    check_name("norm", config.model.norm, models.NORMS)
    check_name("dtype", config.dtype, ("float32", "bfloat16"))
    check_name("early_stop", config.adversary.early_stop, EARLY_STOP)
    check_name("objective variant", config.objective.variant, methods.VARIANTS)
    check_name("objective.forwards", config.objective.forwards, ("separate", "joint"))
    for view, route in methods.routes(config).items():
        check_name(f"route of the {view} view", route, models.ROUTES)
    _check_routes(config)
    _check_methods(config)
    check_name("select_on", config.select_on, ("holdout", "test"))
    check_data(config.data)
    check_name("evaluate.checkpoint", config.evaluate.checkpoint, ("best", "last"))
    for name in operator_names(config):
        check_name("operator", name, operators.ALL)
    for name, low in {
        "batch_size": 1,
        "epochs": 0,
        "max_steps": 0,
        "num_devices": 0,
        "augment.width": 1,
        "adversary.steps": 0,
        "adversary.step_size": 1e-9,
        "adversary.patience": 1,
        "adversary.chunk": 0,
        "objective.consistency_weight": 0,
        "augment.padding": 0,
        "eval_batch_size": 1,
        "eval_every_epochs": 0,
        "log_every": 1,
        "checkpoint.keep": 1,
        "checkpoint.every_epochs": 0,
    }.items():
        _check_range(config, name, low)
    _check_range(config, "augment.severity", 0.1, 10)
    if config.augment.depth is not None:
        _check_range(config, "augment.depth", 1)
    if config.select_on == "holdout" and config.data.holdout == 0:
        raise ValueError(
            "config.data.holdout is 0, so nothing is held out to select the best checkpoint on: "
            "set it, or config.select_on='test'"
        )


def operator_names(config: ConfigDict) -> tuple[str, ...]:
    """The operators that `config.augment.operators` names: a set's name, or names."""
    value = config.augment.operators
    sets = {"augmix": operators.AUGMIX, "all": operators.ALL}
    if isinstance(value, str):
        if value in sets:
            return sets[value]
        value = value.split(",")
    return tuple(name.strip() for name in value)


def to_dict(config: ConfigDict) -> dict[str, Any]:
    """The config as plain values that JSON keeps."""
    return json.loads(json.dumps(config.to_dict()))


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Settings in which two configs differ and that change what is computed.

    Args:
        mine: one config as `to_dict` gives it.
        theirs: the other.

    Returns:
        Lines `name: theirs -> mine`.
    """
    absent = "absent"
    # A setting that a config is too old to have is at its default.
    usual = dict(_leaves(to_dict(defaults())))
    a, b = usual | dict(_leaves(mine)), usual | dict(_leaves(theirs))
    return [
        f"{name}: {b.get(name, absent)!r} -> {a.get(name, absent)!r}"
        for name in sorted(a.keys() | b.keys())
        if a.get(name, absent) != b.get(name, absent) and name.split(".")[0] not in FREE
    ]
