"""Figure 1: features of clean, AugMix, PGD and AugMax images of three classes, in two dimensions.

Penultimate features of a network trained with no augmentation but flips and crops (the Normal
run of Table 2, ResNet18): it has seen none of the augmented kinds, so it favours none. One t-SNE
embeds all four kinds, so that positions in the panels are comparable. Each panel has two numbers,
which are computed on the features and not on the picture:

    hardness    share of the images that the network misclassifies
    diversity   mean Euclidean distance between the features of two images
"""

import argparse
import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from augmax_jax import adversary, augment, methods
from augmax_jax.report.tables import Table, percent
from augmax_jax.runtime import compiler, files
from augmax_jax.training.checkpoints import read_variables
from augmax_jax.training.run import Run, build
from experiments import common, grid, study
from experiments.recipes import Experiment

RUN = Experiment("cifar10", "resnet18", "normal", "bn")
KINDS = {"clean": "Clean", "augmix": "AugMix", "pgd": "PGD", "augmax": "AugMax"}
CLASSES = 3
TITLE = "Figure 1: hardness and diversity of clean, AugMix, PGD and AugMax images"
COLOURS = ("#0072b2", "#d55e00", "#009e73")  # colour-blind readers can tell them apart
BATCH = 60  # images that go through the network together


def choose(run: Run, wanted: str, count: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The first test images of three classes.

    Args:
        run: the run; the images are from its test split.
        wanted: names of the classes, separated by commas; empty: the first three.
        count: number of images of each class.

    Returns:
        Images uint8 `[N, H, W, 3]`, labels `[N]`, and the names.

    Raises:
        ValueError: `wanted` is not three different classes of the dataset, or a class has too
            few images.
    """
    known = list(run.data.class_names)
    names = [name.strip() for name in wanted.split(",")] if wanted else known[:CLASSES]
    if len(set(names)) != CLASSES or not set(names) <= set(known):
        raise ValueError(
            f"--classes must be {CLASSES} different ones of {', '.join(known)}, got {wanted!r}"
        )
    images: dict[int, list[np.ndarray]] = {known.index(name): [] for name in names}
    for batch in run.data.test.eval_batches(run.config.eval_batch_size):
        for label, kept in images.items():
            kept.extend(batch["image"][batch["mask"] & (batch["label"] == label)])
    if min(map(len, images.values())) < count:
        fewest = min(map(len, images.values()))
        raise ValueError(f"--images must be at most {fewest}, got {count}")
    labels = np.repeat(np.array(list(images), np.int32), count)
    return np.stack([image for kept in images.values() for image in kept[:count]]), labels, names


def distort(
    run: Run, variables: Any, images: np.ndarray, labels: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features and predictions of all kinds of images.

    Args:
        run: the run; its config has the settings of AugMix, PGD and AugMax.
        variables: the network's variables.
        images: uint8 `[N, H, W, 3]`.
        labels: int `[N]`.

    Returns:
        Kind -> features `[N, D]` and predicted classes `[N]`.
    """
    config = run.config
    chains = methods.chain_settings(config)

    platform = run.devices[0].platform

    @functools.partial(jax.jit, compiler_options=compiler.jit_options(platform))
    def compute(variables, keys, x, y):
        def logits_fn(x):
            return run.model.apply(variables, x, train=False)

        augmix_keys, pgd_keys, chain_keys, start_keys = keys
        drawn = augment.sample_chains(chain_keys, x, **chains)
        made = {
            "clean": augment.to_float(x),
            "augmix": augment.augmix(augmix_keys, x, **chains),
            "pgd": adversary.pgd(pgd_keys, logits_fn, x, y, **config.pgd).images,
            "augmax": methods.maximise(
                logits_fn, start_keys, x, drawn, y, config, run.data.num_classes
            ).images,
        }

        def look(x):
            features = run.model.apply(variables, x, train=False, method="features")
            return features, jnp.argmax(logits_fn(x), axis=-1)

        return {kind: look(x) for kind, x in made.items()}

    parts = []
    for first in range(0, len(images), BATCH):
        keys = jax.random.fold_in(jax.random.key(config.seed), first)
        # The last batch is filled up, so that it needs no compilation of its own.
        rows = np.arange(first, first + BATCH) % len(images)
        per_image = jax.random.split(keys, (4, BATCH))
        out = compute(variables, tuple(per_image), images[rows], labels[rows])
        left = min(BATCH, len(images) - first)
        parts.append(jax.tree.map(lambda a, left=left: np.asarray(a)[:left], out))
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


def distance(features: np.ndarray) -> float:
    """Mean Euclidean distance between two different rows of features `[N, D]`."""
    squares = (features.astype(np.float64) ** 2).sum(1)
    products = features.astype(np.float64) @ features.T.astype(np.float64)
    between = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * products, 0))
    np.fill_diagonal(between, 0)
    return float(between.sum() / (len(features) * (len(features) - 1)))


def measure(features: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Hardness and diversity of one kind of images.

    Args:
        features: `[N, D]`.
        predicted: classes, `[N]`.
        labels: true classes, `[N]`.

    Returns:
        "misclassified", "distance" of two images, and "distance_within_class".
    """
    return {
        "misclassified": float((predicted != labels).mean()),
        "distance": distance(features),
        "distance_within_class": float(
            np.mean([distance(features[labels == k]) for k in np.unique(labels)])
        ),
    }


def embed(features: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE of features `[N, D]` to `[N, 2]`; the seed determines it exactly."""
    perplexity = min(30.0, (len(features) - 1) / 3)
    made = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return np.asarray(made, np.float64)


def paint(
    points: dict[str, np.ndarray],
    predicted: dict[str, np.ndarray],
    labels: np.ndarray,
    names: list[str],
    numbers: dict[str, dict[str, float]],
    *,
    warning: str = "",
) -> Figure:
    """A panel for each kind of images, a colour for each class.

    Args:
        points: kind -> `[N, 2]`.
        predicted: kind -> classes `[N]`; misclassified images are drawn as crosses.
        labels: true classes `[N]`.
        names: names of the classes, in the order in which they first occur in `labels`.
        numbers: kind -> what `measure` gives.
        warning: written on top in red.
    """
    figure = Figure(figsize=(3.2 * len(points), 4.1), dpi=150, layout="constrained")
    axes = figure.subplots(1, len(points), sharex=True, sharey=True)
    every = np.concatenate(list(points.values()))
    for ax, (kind, at) in zip(axes, points.items(), strict=True):
        ax.scatter(*every.T, s=4, c="#e6e8eb", linewidths=0, zorder=1)
        for label, colour in zip(dict.fromkeys(labels), COLOURS, strict=True):
            right = (labels == label) & (predicted[kind] == label)
            wrong = (labels == label) & (predicted[kind] != label)
            ax.scatter(*at[right].T, s=12, c=colour, linewidths=0, zorder=2)
            ax.scatter(*at[wrong].T, s=16, c=colour, marker="x", linewidths=0.9, zorder=3)
        found = numbers[kind]
        ax.set_title(KINDS[kind], fontsize=12, fontweight="bold")
        ax.set_xlabel(
            f"misclassified {percent(found['misclassified'], 1)} %\n"
            f"mean distance {found['distance']:.3g} "
            f"({found['distance_within_class']:.3g} within a class)",
            fontsize=10,
        )
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ax.spines.values():
            side.set_color("#b8bec6")
    handles = [
        axes[0].plot([], [], "o", color=colour, markersize=5, label=name)[0]
        for name, colour in zip(names, COLOURS, strict=True)
    ]
    handles += [
        axes[0].plot([], [], "x", color="#6a717c", markersize=5, label="misclassified")[0],
        axes[0].plot([], [], "o", color="#e6e8eb", markersize=5, label="other panels")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    if warning:
        figure.suptitle(warning, color="#c2362b", fontsize=10, wrap=True)
    return figure


def draw(found: study.Study) -> Table:
    """Writes `figure1.png` and `figure1_numbers.json`, and returns the numbers as a table."""
    columns = ["", "hardness (misclassified %)", "diversity (distance)", "within a class"]
    if found.options.smoke:
        columns = ["", *(f"smoke: {title}" for title in columns[1:])]
    nothing = Table("", columns, [[title, *[grid.ABSENT] * 3] for title in KINDS.values()])
    if not found.outcome(RUN).results:
        return nothing
    directory, extra = found.directory(RUN), found.options.extra
    try:
        run = build(found.config(RUN))
    except FileNotFoundError as error:  # the network is trained, but its images are missing
        found.note(found.options.name(RUN), study.Outcome(study.NO_DATA, str(error)))
        return nothing
    count = 20 if found.options.smoke else extra["images"]
    images, labels, names = choose(run, extra["classes"], count)
    looked = distort(run, read_variables(directory), images, labels)
    numbers = {kind: measure(*pair, labels) for kind, pair in looked.items()}
    features = np.concatenate([looked[kind][0] for kind in KINDS])
    parts = np.split(embed(features, run.config.seed), len(KINDS))
    points = dict(zip(KINDS, parts, strict=True))
    predicted = {kind: looked[kind][1] for kind in KINDS}
    warnings = ["SMOKE RUN, NOT A RESULT"] if found.options.smoke else []
    warnings += [f"not the paper's setting: {text}" for text in found.options.changed()]
    figure = paint(points, predicted, labels, names, numbers, warning="; ".join(warnings))
    root = found.options.root
    figure.savefig(root / "figure1.png")
    record = {
        "smoke_not_a_result": found.options.smoke,
        "not_the_papers_setting": found.options.changed(),
        "command": found.options.command,
        "run": found.options.name(RUN),
        "classes": names,
        "kinds": numbers,
        "labels": labels.tolist(),
        "predicted": {kind: values.tolist() for kind, values in predicted.items()},
        "points": {kind: np.round(at, 3).tolist() for kind, at in points.items()},
    }
    files.write_json(root / "figure1_numbers.json", record)
    rows = [
        [
            title,
            percent(numbers[kind]["misclassified"]),
            f"{numbers[kind]['distance']:.3f}",
            f"{numbers[kind]['distance_within_class']:.3f}",
        ]
        for kind, title in KINDS.items()
    ]
    note = (
        f"{count} test images of each of {', '.join(names)}; network: {found.options.name(RUN)}, "
        f"best checkpoint. The paper prints no such numbers. Drawn in {root / 'figure1.png'}."
    )
    return Table("", columns, rows, note=note)


def at_least_two(text: str) -> int:
    """A number of images, for the command line."""
    if (count := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, got {count}")
    return count


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the script's own flags."""
    parser.add_argument("--classes", default="", help="three, separated by commas")
    parser.add_argument("--images", type=at_least_two, default=100, help="images per class")


def main(arguments: list[str] | None = None) -> int:
    """Runs the script; returns the exit status."""
    return common.run_script(
        "figure1", __doc__, TITLE, [RUN], draw, flags=flags, arguments=arguments
    )


if __name__ == "__main__":
    sys.exit(main())
