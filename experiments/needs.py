"""What a run needs that cannot be had by a name alone, and how to get it."""

from ml_collections import ConfigDict

from augmax_jax.runtime import paths
from experiments.recipes import Experiment


def lacks(experiment: Experiment, config: ConfigDict) -> str:
    """What a run lacks and how to get it, a line for each; empty if the run can be tried.

    This does not look for tfds sets: reading them raises an error that says what is missing.

    Args:
        experiment: the run.
        config: its config.
    """
    name = config.data.name
    folder = paths.expand(name)
    lines = []
    if experiment.dataset == "tiny_imagenet" and not folder.is_dir():
        lines.append(
            f"Tiny ImageNet is not in tfds, and there is no folder {name!r}: unpack "
            "tiny-imagenet-200.zip (Stanford's CS231n) and name its folder with --data DIR"
        )
    if experiment.deepaugment and experiment.dataset == "imagenet" and not folder.is_dir():
        lines.append(
            "DeepAugment copies are files and cannot be mixed with a streamed tfds set, and there "
            f"is no folder {name!r}: name ImageNet's DIR/<split>/<class>/* with --data DIR"
        )
    for copies in map(paths.expand, config.data.extra_train):
        if not (copies / config.data.train_split).is_dir():
            lines.append(
                f"no DeepAugment copies in {copies}: python -m augmax_jax.deepaugment distort "
                f"--network {copies.name} --weights FILE --dataset {name} "
                f"--split {config.data.train_split} --out {copies} (docs/deepaugment.md)"
            )
    return "\n".join(lines)
