"""Trains the networks of DeepAugment on any images, where published weights are not at hand.

EDSR learns to undo a reduction by four (bicubic, antialiased), with the mean absolute error. The
CAE learns to reproduce its input through the random bits, with the mean squared error and
straight-through gradients. The optimizer is Adam. The learning rate rises for 200 steps, because
otherwise the CAE's last tanh saturates, and then falls with a cosine. Weights are saved under the
names of the published files.
"""

import functools
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from augmax_jax.data.images import BadImageError
from augmax_jax.data.named_images import NamedImages, open_images
from augmax_jax.data.order import check_seed
from augmax_jax.data.settings import TEST_FRACTION
from augmax_jax.deepaugment import cae, edsr, layers, networks
from augmax_jax.deepaugment.distortion import first_readable
from augmax_jax.runtime import compiler, files
from augmax_jax.runtime.checks import check_count, check_number
from augmax_jax.runtime.paths import expand
from augmax_jax.runtime.progress import Announced, Progress, compiling

LEARNING_RATE = 1e-3
_WARMUP = 200  # steps, but at most a tenth of all
_SAVE_EVERY = 250
_KEPT_SIDE = 4  # images are kept with a shorter side of at most this many patches
_SHOW_EVERY = 20


def train(
    network: str,
    dataset: str,
    out: str | os.PathLike[str],
    *,
    split: str = "train",
    steps: int = 5000,
    batch_size: int = 16,
    patch: int = 0,
    learning_rate: float = LEARNING_RATE,
    limit: int = 10_000,
    seed: int = 0,
    data_dir: str = "",
    bad_images: str = "refuse",
    labels: str = "",
    test_fraction: float = TEST_FRACTION,
    weights: str | os.PathLike[str] = "",
    progress: bool = True,
) -> np.ndarray:
    """Trains a network and writes its weights; they are also saved every 250 steps.

    Args:
        network: "edsr" or "cae".
        dataset: "digits", a tfds name, or a folder of images (docs/data.md).
        out: the npz file to write.
        split: name of the split.
        steps: number of updates.
        batch_size: patches per update.
        patch: side of the squares cut out of images, a multiple of 4; 0: the side of the first
            image, at most 64. Smaller images are enlarged to it.
        learning_rate: highest learning rate of Adam.
        limit: number of images to learn from; they are kept in memory.
        seed: decides everything random.
        data_dir: folder of prepared tfds data; empty: tfds's default.
        bad_images: "refuse" images that cannot be read, or "skip" them and name them in the log.
        labels: a folder's table of labels, as `config.data.labels`.
        test_fraction: share that is held out of a folder without a test split, as
            `config.data.test_fraction`; "train" is the rest.
        weights: a file to start from; empty: random weights.
        progress: whether to show a progress bar.

    Returns:
        The loss of every step, float32 `[steps]`, on images in [0, 1].

    Raises:
        FileNotFoundError: the dataset or the file of weights is not there.
        ValueError: an argument is not as described.
        BadImageError: an image cannot be read, and such images are refused; raised before any
            step.
        OSError: `out` cannot be written.
    """
    entry = networks.get(network)
    check_seed(seed)
    layers.check_save_path(out)
    for name, value in {"steps": steps, "batch_size": batch_size, "limit": limit}.items():
        check_count(name, value, low=1)
    check_count("patch", patch)
    check_number("learning_rate", learning_rate, low=0, above_low=True)
    key = jax.random.key(seed)
    out = expand(out)
    opened = open_images(
        dataset,
        split,
        data_dir=data_dir,
        bad_images=bad_images,
        labels=labels,
        test_fraction=test_fraction,
    )
    patch = patch or max(16, min(64, min(first_readable(opened).size)) // 4 * 4)
    if patch < 16 or patch % 4:
        raise ValueError(f"patch must be a multiple of 4 and at least 16, got {patch}")
    if weights:
        params = layers.to_params(entry.layers, entry.check(layers.read_file(weights)))
    else:
        with compiling("the initial weights"):
            params = initial(network, key)
    files.make_folder(out.parent, "the folder of out")
    images = _keep(opened, limit, patch, key)
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(_WARMUP, steps // 10), steps
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    state = optimizer.init(params)

    @functools.partial(
        jax.jit,
        donate_argnums=(0, 1),
        compiler_options=compiler.jit_options(jax.default_backend()) or None,
    )
    def update(params: Any, state: Any, key: jax.Array, batch: jax.Array) -> Any:
        value, gradient = jax.value_and_grad(LOSSES[network])(params, key, batch)
        changes, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, changes), state, value

    compiled = Announced(update, lambda *_: "the update")
    losses: list[Any] = []
    bar = Progress(total_steps=steps, batch_size=batch_size, start_step=0, show=progress)
    for step in range(steps):
        batch = _cut(images, batch_size, patch, np.random.default_rng((seed, step)))
        params, state, value = compiled(params, state, jax.random.fold_in(key, step), batch)
        losses.append(value)
        last = step + 1 == steps
        if step % _SHOW_EVERY == 0 or last:
            shown = {"loss": float(np.mean([float(x) for x in losses[-_SHOW_EVERY:]]))}
            bar.update(step + 1, (step + 1) * batch_size / len(images), shown)
        if (step + 1) % _SAVE_EVERY == 0 or last:
            layers.save_file(out, layers.to_weights(entry.layers, params))
    bar.close()
    return np.array(jax.device_get(losses), np.float32)


def initial(network: str, key: jax.Array) -> layers.Params:
    """Random parameters from PyTorch's default distribution; biases are 0.

    With this distribution a signal gets weaker from layer to layer. EDSR, whose body is one long
    sum, still learns well, but the bits of the CAE would be noise at the start. So its layers
    outside residual blocks get larger weights (He et al. 2015), and the code depends on the image
    from the start.
    """
    module = networks.get(network).module
    image = jnp.zeros((1, 16, 16, 3))
    args = (image, key) if network == "cae" else (image,)
    params = dict(jax.jit(module.init)(key, *args)["params"])
    if network == "cae":
        for name in params:
            if not name.endswith(("_4", "d_up_conv_3_3")):
                params[name] = params[name] | {"kernel": params[name]["kernel"] * math.sqrt(6)}
    return params


def edsr_loss(params: Mapping, key: jax.Array, images: jax.Array) -> jax.Array:
    """Mean absolute error of enlarging reduced images, uint8 `[B, S, S, 3]`, S a multiple of 4."""
    del key
    batch, side, _, channels = images.shape
    wanted = images.astype(jnp.float32)
    small = jax.image.resize(
        wanted, (batch, side // edsr.SCALE, side // edsr.SCALE, channels), "cubic", antialias=True
    )
    enlarged: Any = edsr.EDSR().apply({"params": params}, jnp.clip(small, 0, 255))
    return jnp.abs(enlarged - wanted).mean() / 255


def cae_loss(params: Mapping, key: jax.Array, images: jax.Array) -> jax.Array:
    """Mean squared error of reconstruction, uint8 `[B, S, S, 3]`, S a multiple of 4."""
    wanted = images.astype(jnp.float32) / 255
    again: Any = cae.CAE().apply({"params": params}, wanted, key)
    return jnp.square(again - wanted).mean()


LOSSES = {"edsr": edsr_loss, "cae": cae_loss}


def _keep(opened: NamedImages, limit: int, patch: int, key: jax.Array) -> list[np.ndarray]:
    """Images of the set, with a shorter side of one to four patches."""
    count = min(limit, len(opened))
    if opened.shuffled:
        indices = np.asarray(jax.random.permutation(key, len(opened)))[:count]
    else:
        indices = np.arange(count)
    kept = []
    for start in range(0, count, 256):
        for image in opened.read(indices[start : start + 256].tolist()):
            if image is None:
                continue
            short = min(image.size)
            side = min(max(short, patch), _KEPT_SIDE * patch)
            if side != short:
                width, height = (max(side, round(n * side / short)) for n in image.size)
                image = image.resize((width, height), Image.Resampling.BICUBIC)
            kept.append(np.asarray(image))
    if not kept:
        raise BadImageError(f"none of {count} images can be read")
    return kept


def _cut(
    images: list[np.ndarray], batch_size: int, patch: int, rng: np.random.Generator
) -> np.ndarray:
    """Cuts random squares out of random images and mirrors half of them; uint8."""
    batch = np.empty((batch_size, patch, patch, 3), np.uint8)
    for i, row in enumerate(rng.integers(len(images), size=batch_size)):
        image = images[row]
        top, left = (rng.integers(side - patch + 1) for side in image.shape[:2])
        square = image[top : top + patch, left : left + patch]
        batch[i] = square[:, ::-1] if rng.random() < 0.5 else square
    return batch
