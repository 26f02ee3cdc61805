"""What `model.json` says of a run's network."""

from collections.abc import Mapping, Sequence
from typing import Any

from augmax_jax import models

_OPTIONS = "model.options."


def of_settings(
    settings: Mapping[str, Any], num_classes: int, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The facts of the network that settings describe.

    Args:
        settings: by name, as `config.settings_of` gives them; those of an older run may be few.
        num_classes: number of logits.
        class_names: in the order of the logits; None: not known.

    Returns:
        What `runtime.model_file.write` takes.
    """
    name = settings["model.name"]
    mean, std = models.input_normalization(
        name, settings.get("model.mean"), settings.get("model.std")
    )
    return {
        "model": name,
        "num_classes": num_classes,
        "norm": settings["model.norm"],
        "options": {
            option.removeprefix(_OPTIONS): value
            for option, value in settings.items()
            if option.startswith(_OPTIONS)
        },
        "mean": list(mean),
        "std": list(std),
        "dtype": settings.get("dtype", "float32"),
        "image_size": settings.get("data.image_size"),
        "test_transform": settings.get("data.test_transform", "resize"),
        "route": "clean",
        "class_names": None if class_names is None else list(class_names),
    }
