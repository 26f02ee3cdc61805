"""Input pipelines of other libraries that do the work of ours: random resized crops of JPEG files.

Each function yields batches without end, uint8 `[batch, size, size, 3]`: windows of 8 to 100% of a
picture with aspect ratios from 3/4 to 4/3, resized bilinearly with antialiasing; half of them are
flipped. `tf_data_aliased` alone does less: it decodes no more than the window, and resizes without
antialiasing, as many TensorFlow recipes do.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from augmax_jax.data.square import choose_crop

Pipeline = Callable[..., Iterator[np.ndarray]]


def crop_file(path: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Decodes, crops, resizes and flips one file by Pillow alone, as torchvision does."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    left, top, width, height = choose_crop(rng.random((10, 4)), *image.size)
    window = image.crop((left, top, left + width, top + height))
    out = np.asarray(window.resize((size, size), Image.Resampling.BILINEAR))
    return out[:, ::-1] if rng.random() < 0.5 else out


class TorchFiles:
    """A map-style data set for PyTorch's DataLoader."""

    def __init__(self, paths: list[str], size: int) -> None:
        self.paths = paths
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        import torch

        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        return torch.from_numpy(crop_file(self.paths[index], self.size, rng).copy())


def torch_loader(paths: list[str], size: int, batch: int, workers: int) -> Iterator[np.ndarray]:
    """PyTorch's DataLoader with Pillow, one worker process a core."""
    from torch.utils.data import DataLoader, RandomSampler

    files: Any = TorchFiles(paths, size)
    endless = RandomSampler(files, replacement=True, num_samples=2**40)
    loader = DataLoader(files, batch, sampler=endless, num_workers=workers)
    return (images.numpy() for images in loader)


def tf_data(
    paths: list[str], size: int, batch: int, workers: int, *, aliased: bool = False
) -> Iterator[np.ndarray]:
    """A tf.data pipeline that sets its own parallelism."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    def crop(path: Any) -> Any:
        contents = tf.io.read_file(path)
        shape = tf.io.extract_jpeg_shape(contents)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.zeros([1, 0, 4]),
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        if aliased:
            window = tf.stack([begin[0], begin[1], extent[0], extent[1]])
            image = tf.image.decode_and_crop_jpeg(contents, window, channels=3)
        else:
            image = tf.io.decode_jpeg(contents, channels=3)
            image = tf.image.crop_to_bounding_box(image, begin[0], begin[1], extent[0], extent[1])
        image = tf.image.resize(image, (size, size), antialias=not aliased)
        return tf.cast(tf.round(tf.image.random_flip_left_right(image)), tf.uint8)

    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths)).repeat()
    dataset = dataset.map(crop, num_parallel_calls=tf.data.AUTOTUNE).batch(batch)
    # With AUTOTUNE it would keep more batches in the pauses between turns than a turn times.
    return dataset.prefetch(2).as_numpy_iterator()


class GrainCrop:
    """The transformation of grain's pipeline."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, path: str, rng: np.random.Generator) -> np.ndarray:
        return crop_file(path, self.size, rng)


def grain_dataset(paths: list[str], size: int, batch: int, workers: int) -> Iterator[np.ndarray]:
    """Google's grain with Pillow, on threads, as ours."""
    import grain

    dataset = grain.MapDataset.source(paths).seed(0).shuffle().repeat()
    crops = dataset.random_map(GrainCrop(size))
    options = grain.ReadOptions(num_threads=2 * workers, prefetch_buffer_size=3 * batch)
    return iter(crops.to_iter_dataset(options).batch(batch))


PIPELINES: dict[str, Pipeline] = {
    "torch": torch_loader,
    "tf_data": tf_data,
    "tf_data_aliased": functools.partial(tf_data, aliased=True),
    "grain": grain_dataset,
}
