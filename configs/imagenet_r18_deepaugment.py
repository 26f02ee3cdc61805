"""DeepAugment + AugMax-DuBIN, ResNet-18 on ImageNet.

Paper (Table 4): SA 64.43, RA 46.55, mCE 68.47.

Trains on three folders `<dir>/train/<wnid>/*`: the originals and their two copies, which
`python -m augmax_jax.deepaugment distort` makes (docs/deepaugment.md). Folders elsewhere:
`--config.data.name=DIR --config.data.extra_train="('DIR-EDSR', 'DIR-CAE')"`.
"""

from augmax_jax.config import defaults, scale_learning_rate
from augmax_jax.models import IMAGENET_MEAN, IMAGENET_STD


def get_config():
    c = defaults()
    c.data.name = "imagenet"
    c.data.extra_train = ("imagenet-DeepAug-EDSR", "imagenet-DeepAug-CAE")
    c.data.test_split = "val"
    c.data.image_size = 224
    c.data.train_transform = "random_resized_crop"
    c.data.test_transform = "center_crop"
    c.model.name = "resnet18_imagenet"
    c.model.mean = IMAGENET_MEAN
    c.model.std = IMAGENET_STD
    c.epochs = 30  # of three times as many images (spec §6)
    c.adversary.steps = 5
    c.objective.consistency_weight = 12.0
    scale_learning_rate(c)
    c.optimizer.weight_decay = 1e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (10.0, 20.0)
    c.eval_batch_size = 256
    c.evaluate.benchmarks = ("imagenet_c",)
    c.evaluate.constants = "imagenet"
    c.evaluate.baseline = "alexnet"
    return c
