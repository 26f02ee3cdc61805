"""A training run as a config describes it, but without data: benchmarks bring their own batches."""

from typing import Any

from augmax_jax import config, methods
from augmax_jax.runtime import parallel
from augmax_jax.training import optimizer
from augmax_jax.training.run import Run, create_model

CLASSES = 10


def make_run(
    model: str,
    batch: int,
    *,
    method: str = "augmax",
    remat: bool = False,
    dtype: str = "float32",
    **adversary: Any,
) -> Run:
    """A run on one device.

    Args:
        model: network name.
        batch: batch size.
        method: training method.
        remat: recompute activations in the backward pass.
        dtype: of convolutions and activations.
        **adversary: settings of `config.adversary`.
    """
    settings = config.defaults()
    settings.method, settings.batch_size, settings.dtype = method, batch, dtype
    settings.model.name, settings.model.remat = model, remat
    settings.data.train_transform = "crop"
    settings.optimizer.learning_rate, settings.optimizer.schedule = 0.05, "constant"
    settings.adversary.update(adversary)
    rate = optimizer.learning_rate(settings.optimizer, batch_size=batch, examples=50_000, epochs=1)
    return Run(
        config=settings,
        devices=parallel.local_devices(1),
        data=None,  # type: ignore[arg-type]
        model=create_model(settings, CLASSES),
        method=methods.create(settings, CLASSES),
        schedule=rate,
        optimizer=optimizer.create(settings.optimizer, rate),
        total_steps=1,
    )
