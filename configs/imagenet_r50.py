r"""AugMax-DuBIN, ResNet-50 on ImageNet: the recipe of ResNet-18.

    python -m augmax_jax.main --config=configs/imagenet_r50.py \
        --workdir=runs/imagenet_r50 \
        --config.evaluate.data_dir=DIR

DIR holds ImageNet-C (docs/data.md).

Expect: the paper prints no figures of this network.
Cost: not measured; 90 epochs.
"""

from pathlib import Path

from augmax_jax.config import load


def get_config():
    c = load(Path(__file__).with_name("imagenet_r18.py"))
    c.model.name = "resnet50_imagenet"
    return c
