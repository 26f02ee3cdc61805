r"""AugMax-DuBIN, ResNet-18 on ImageNet (the paper's Table 4).

    python -m augmax_jax.main --config=configs/imagenet_r18.py \
        --workdir=runs/imagenet_r18 \
        --config.evaluate.data_dir=DIR

DIR holds ImageNet-C (docs/data.md). ImageNet is read by tfds, or from a folder with train/ and val/
(`--config.data.name=FOLDER`).

Expect: paper: SA 67.62, RA 35.01, mCE 82.56.
Cost: not measured; 90 epochs.
"""

from augmax_jax.config import defaults
from augmax_jax.models import IMAGENET_MEAN, IMAGENET_STD
from augmax_jax.runtime.following import by_epochs, by_method, scale_learning_rate


def get_config():
    c = defaults()
    c.data.name = "imagenet2012"
    c.data.test_split = "validation"
    c.data.image_size = 224
    c.data.train_transform = "random_resized_crop"
    c.data.test_transform = "center_crop"
    c.model.name = "resnet18_imagenet"
    c.model.mean = IMAGENET_MEAN
    c.model.std = IMAGENET_STD
    c.epochs = 90
    by_method(c, "augment.severity", augmix=1.0)  # as in AugMix's published code
    c.adversary.steps = 5
    c.pgd.eps, c.pgd.step_size = 4 / 255, 1 / 255  # from the literature; the paper gives none
    c.objective.consistency_weight = 12.0  # AugMix has it too
    scale_learning_rate(c)
    c.optimizer.weight_decay = 1e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (30.0, 60.0)
    by_epochs(c, "optimizer.boundaries", of=90)
    c.eval_batch_size = 256
    c.evaluate.benchmarks = ("imagenet_c",)
    c.evaluate.constants = "imagenet"
    c.evaluate.baseline = "alexnet"
    return c
