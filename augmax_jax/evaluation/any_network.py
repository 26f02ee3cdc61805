"""How robust any network is on any images: SA, RA, mCE, calibration, and a report."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmax_jax import report
from augmax_jax.data.arrays import ArraySplit
from augmax_jax.data.settings import MIN_IMAGE_SIZE
from augmax_jax.evaluation import by_class, comparison, identity
from augmax_jax.evaluation.baselines import Baseline
from augmax_jax.evaluation.corrupted import corrupted
from augmax_jax.evaluation.gallery import Gallery
from augmax_jax.evaluation.loop import evaluate_benchmark, summarize
from augmax_jax.evaluation.predictions import predict, scores
from augmax_jax.evaluation.predictor import AnyNetwork, Predictor
from augmax_jax.evaluation.store import Store
from augmax_jax.runtime import files, paths, run_directory
from augmax_jax.runtime.checks import check_class_names, check_count, check_flag


def evaluate_model(
    predictor: Predictor,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    name: str = "",
    dataset: str = "",
    class_names: Sequence[str] | None = None,
    outputs: str = "auto",
    constants: str = "cifar",
    baseline: str = "",
    batch_size: int = 1000,
    seed: int = 0,
    directory: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures how robust any network is on any images: SA, RA, mCE, calibration.

        results = evaluate_model(lambda x: net.apply(params, x), images, labels, directory="out")

    A function that JAX can trace is compiled. Any other function (NumPy, PyTorch, scikit-learn, a
    remote service) is called on the host, batch by batch, with NumPy arrays;
    docs/evaluate_any_network.md has examples. The arguments are checked before the work starts,
    and nothing is written if one is refused.

    Args:
        predictor: function from float32 `[B, H, W, 3]` in [0, 1] to `[B, C]`: logits
            (log-probabilities are logits too) or probabilities. All batches have one size; the
            last one is filled up with black images. C may be more than the labels show.
        images: uint8 `[N, H, W, 3]`, each side at least 8.
        labels: integers `[N]` in [0, C).
        name: name of the network, for the report.
        dataset: name of the images, for the report.
        class_names: C names in the order of the logits, for the pictures; None: numbers.
        outputs: "logits", "probabilities", or "auto": probabilities if those of all clean images
            are in [0, 1] and sum to 1, which the log and the results say.
        constants: the benchmark whose severities to use: "cifar" for images of about 32 pixels,
            "tiny_imagenet" for 64, "imagenet" for 224.
        baseline: the classifier that mCE is relative to: "alexnet" (only with
            constants="imagenet"), "tiny_imagenet_resnet18" (only with "tiny_imagenet"), or the
            `results.json` of another evaluation of these images, or its directory; "" for no
            mCE.
        batch_size: images at a time, at least 1.
        seed: seed of the corruptions.
        directory: if given, `results.json`, tables, pictures and `report.html` go there, and an
            interrupted evaluation of the same network on the same images goes on.
        progress: whether to show how far it is: a bar on a terminal, lines of the log elsewhere.

    Returns:
        The results, in the form of a run's `results.json`, with "clean" scores under "last".

    Raises:
        ValueError: an argument is not as described, the predictor fails or gives NaN, or the
            baseline belongs to other images.
        FileNotFoundError: the baseline does not exist.
        OSError: the directory cannot be written.
    """
    images, labels = _check_images(images), _check_labels(labels, len(images))
    check_count("batch_size", batch_size, low=1)
    check_count("seed", seed)
    check_flag("progress", progress)
    for argument, text in (("name", name), ("dataset", dataset), ("baseline", baseline)):
        if not isinstance(text, str):
            raise ValueError(f"{argument} must be a text, got {text!r}")
    target = None if directory is None else _check_directory(directory)
    split = ArraySplit(images, labels, seed=seed)
    location = "arrays"
    benchmark = corrupted(split, constants=constants, seed=seed, location=location)
    wanted = comparison.Target(benchmark.name, constants, dataset, benchmark.recipe)
    reference = comparison.read(baseline)
    compared: Baseline | None = None
    beside: dict[str, Any] = {}
    if reference is not None:
        reference.fit(wanted)  # refuses errors on other images before the work starts
        compared, beside = reference.against(wanted)

    batch = (min(batch_size, len(images)), *images.shape[1:])
    network = AnyNetwork(predictor, batch, classes=int(labels.max()) + 1, outputs=outputs)
    logits, _ = predict(network.score, split, batch_size, what="the clean images")
    logits = network.settle(logits)
    classes = logits.shape[1]
    names = (
        tuple(map(str, range(classes)))
        if class_names is None
        else check_class_names(class_names, classes)
    )
    clean = {**scores(logits, split.labels), **by_class.of_clean(logits, split.labels)}

    store, gallery = Store(benchmark=benchmark), None
    if target is not None:
        path = target / "evaluation" / f"{benchmark.name}.json"
        store = Store(path, network={"logits": identity.digest(logits)}, benchmark=benchmark)
        gallery = Gallery(names)
        if not store.rows:
            Gallery.clear(target / "pictures", benchmark.name)
    rows = evaluate_benchmark(
        network.score,
        benchmark,
        batch_size=batch_size,
        store=store,
        gallery=gallery,
        progress=progress,
    )
    found = summarize(rows, benchmark, clean_accuracy=clean["accuracy"], baseline=compared)
    results = {
        "name": name,
        "dataset": dataset,
        "test_set": {"place": location, **identity.of_split(split)},
        "class_names": list(names),
        "outputs": network.outputs,
        "called": "compiled" if network.traced else "on the host",
        "selected": "last",
        "clean": {"last": {"split": "", **clean}},
        "benchmarks": {benchmark.name: found | beside | {"set": store.identity()}},
    }
    if target is not None and gallery is not None:
        gallery.write(target / "pictures", benchmark.name, benchmark)
        files.write_json(target / run_directory.RESULTS, results)
        report.write(target)
    return results


def _check_images(images: Any) -> np.ndarray:
    """The images as an array; ValueError unless they are uint8 `[N, H, W, 3]`."""
    images = np.asarray(images)
    expected = "images must be uint8 [N, H, W, 3] in 0..255"
    got = f"got {images.dtype} {list(images.shape)}"
    if images.ndim == 4 and images.shape[1] == 3 and images.shape[3] != 3:
        raise ValueError(f"{expected}, {got}: move the channels last, images.transpose(0, 2, 3, 1)")
    if images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"{expected}, {got}")
    if images.dtype != np.uint8:
        raise ValueError(
            f"{expected}, {got}: undo the normalisation and round, such as "
            "(images * 255).round().astype(numpy.uint8) for values in [0, 1]; what the network "
            "needs beyond [0, 1] belongs in the predictor"
        )
    if not len(images):
        raise ValueError(f"{expected}, at least one, {got}")
    if min(images.shape[1:3]) < MIN_IMAGE_SIZE:
        raise ValueError(f"{expected}, each side at least {MIN_IMAGE_SIZE}, {got}")
    return images


def _check_labels(labels: Any, count: int) -> np.ndarray:
    """The labels as int32; ValueError unless they are integers `[count]` of at least 0."""
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(
            f"labels must have shape [{count}], one per image, got {list(labels.shape)}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be whole numbers of an integer dtype, got {labels.dtype}, such as "
            f"{labels.flat[0]!r}"
        )
    if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        raise ValueError(f"labels must be at least 0, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int32)


def _check_directory(directory: str | Path) -> Path:
    """The directory, which is not made here; OSError if it cannot be written."""
    path = paths.expand(directory)
    if not str(directory):
        raise ValueError("directory is empty: name one, or give None to write nothing")
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"directory {str(path)!r}: {str(there)!r} is a file")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"directory {str(path)!r} cannot be written: choose another")
    return path
