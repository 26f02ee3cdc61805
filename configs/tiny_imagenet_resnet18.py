r"""AugMax-DuBIN, ResNet-18 on Tiny ImageNet (the paper's Table 5).

    python -m augmax_jax.main --config=configs/tiny_imagenet_resnet18.py \
        --workdir=runs/tiny_imagenet_resnet18 \
        --config.data.name=TRAIN --config.evaluate.data_dir=DIR

TRAIN is the folder of the unpacked archive, which tfds does not have; DIR holds Tiny ImageNet-C
(docs/data.md).

Expect: paper: SA 62.21, RA 38.67, mCE 80.72.
Cost: not measured; 200 epochs.
"""

from augmax_jax.config import defaults
from augmax_jax.runtime.following import by_epochs, scale_learning_rate


def get_config():
    c = defaults()
    c.data.name = "tiny-imagenet-200"
    c.data.test_split = "val"
    c.data.image_size = 64
    c.model.name = "resnet18"
    c.model.options.stem_stride = 2
    # The paper lists only the schedule; it says that all else is as on ImageNet.
    scale_learning_rate(c)
    c.optimizer.weight_decay = 1e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (100.0, 150.0)
    by_epochs(c, "optimizer.boundaries", of=200)
    c.evaluate.benchmarks = ("tiny_imagenet_c",)
    c.evaluate.constants = "tiny_imagenet"
    c.evaluate.baseline = "tiny_imagenet_resnet18"
    return c
