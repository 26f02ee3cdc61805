"""Corrupted benchmarks of any dataset as tfds datasets. Importing this module imports tfds.

    import tensorflow_datasets as tfds
    from augmax_jax.corruption_sets import tfds_builder

    config = tfds_builder.Config(source=Source("cifar10"), corruption="fog", severity=3)
    builder = tfds_builder.AugmaxCorrupted(config=config)
    builder.download_and_prepare()
    test = builder.as_dataset(split="test")

or, once it is prepared, `tfds.load("augmax_corrupted/cifar10_test_cifar_32_fog_3")`. As with
every tfds dataset, `Config(shards=n)` and a `beam_runner` in tfds's `DownloadConfig` spread the
work with Apache Beam, if it is installed.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from augmax_jax.corruption_sets.clean_images import Source
from augmax_jax.corruptions import constants
from augmax_jax.corruptions.draws import benchmark_key
from augmax_jax.corruptions.registry import corrupt
from augmax_jax.runtime import errors, extras, keys

with extras.needed("tfds"):
    import tensorflow_datasets as tfds

_BATCH = 256


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """One corruption of one source at one severity.

    Attributes:
        source: images to corrupt, as for `generate`.
        corruption: one of the 19 names.
        severity: 1 to 5.
        seed: `generate` makes the same images with the same seed.
        shards: parts that Apache Beam makes side by side; 0: without Beam.
    """

    name: str = ""
    source: Source = dataclasses.field(default_factory=lambda: Source("cifar10"))
    corruption: str = "gaussian_noise"
    severity: int = 1
    seed: int = 0
    shards: int = 0

    def __post_init__(self) -> None:
        errors.check_name("corruption", self.corruption, constants.BENCHMARK + constants.EXTRA)
        if self.severity not in constants.SEVERITIES:
            raise ValueError(f"severity must be one of 1, 2, 3, 4, 5, got {self.severity!r}")
        if self.shards < 0:
            raise ValueError(f"shards must not be negative, got {self.shards}")
        if not self.name:
            source = self.source
            parts = [source.dataset, source.split, source.benchmark, source.size]
            parts += [self.corruption, self.severity, *([f"seed{self.seed}"] if self.seed else [])]
            self.name = re.sub(r"\W+", "_", "_".join(map(str, parts))).strip("_")
        self.description = (
            f"{self.source.dataset}, split {self.source.split}, with {self.corruption} of "
            f"severity {self.severity} and the constants of {self.source.benchmark}."
        )


class AugmaxCorrupted(tfds.core.GeneratorBasedBuilder):
    """A labelled image dataset under one corruption; `config=Config(...)` says which."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012

    def _info(self) -> Any:
        config = self._config()
        size = config.source.size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Images under a corruption of the -C benchmarks, made by augmax_jax.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(self._images().class_names)),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _config(self) -> Config:
        if not isinstance(self.builder_config, Config):
            raise ValueError(
                "augmax_corrupted needs a config that says what to corrupt: pass "
                "config=augmax_jax.corruption_sets.tfds_builder.Config(source=..., corruption=..., "
                f"severity=...), got {self.builder_config!r}"
            )
        return self.builder_config

    def _images(self) -> Any:
        if not hasattr(self, "_opened"):
            self._opened = self._config().source.open()
        return self._opened

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {"test": self._generate_examples()}

    def _generate_examples(self) -> Any:
        config = self._config()
        count = len(self._images())
        if not config.shards:
            return _examples(config, 0, count)
        beam = tfds.core.lazy_imports.apache_beam
        # Shards consist of whole batches, so that each begins at the start of a batch.
        length = -(-count // config.shards // _BATCH) * _BATCH
        parts = [(first, first + length) for first in range(0, count, length)]
        return (
            beam.Create(parts)
            | beam.Reshuffle()
            | beam.FlatMap(lambda part: _examples(config, *part))
        )


def _examples(config: Config, first: int, last: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Corrupted examples whose index lies in [first, last); `first` is a multiple of a batch."""
    for start, images, labels in config.source.open().batches(_BATCH, first, last):
        full = np.resize(images, (_BATCH, *images.shape[1:]))
        key = benchmark_key(config.seed, config.corruption, config.severity)
        example_keys = keys.example_keys(key, _BATCH, first_index=start)
        result = corrupt(
            example_keys,
            full,
            config.corruption,
            config.severity,
            benchmark=config.source.benchmark,
        )
        for i, image in enumerate(np.asarray(result)[: len(images)]):
            yield start + i, {"image": image, "label": int(labels[i])}
