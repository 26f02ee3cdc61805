"""AugMax-DuBIN, ResNet-18 on ImageNet. Paper (Table 4): SA 67.62, RA 35.01, mCE 82.56."""

from augmax_jax.config import defaults, scale_learning_rate
from augmax_jax.models import IMAGENET_MEAN, IMAGENET_STD


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
    c.adversary.steps = 5
    c.objective.consistency_weight = 12.0
    scale_learning_rate(c)
    c.optimizer.weight_decay = 1e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (30.0, 60.0)
    c.eval_batch_size = 256
    c.evaluate.benchmarks = ("imagenet_c",)
    c.evaluate.constants = "imagenet"
    c.evaluate.baseline = "alexnet"
    return c
