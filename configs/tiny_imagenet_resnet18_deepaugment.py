"""DeepAugment + AugMax-DuBIN, ResNet-18 on Tiny ImageNet.

Paper (Table 5): SA 59.72, RA 40.99, mCE 77.83.

Trains on three folders, the unpacked archive and its two copies of 64x64 pixels, which
`python -m augmax_jax.deepaugment distort` makes (docs/deepaugment.md). Folders elsewhere:
`--config.data.name=DIR --config.data.extra_train="('DIR-EDSR', 'DIR-CAE')"`.
"""

from augmax_jax.config import defaults, scale_learning_rate


def get_config():
    c = defaults()
    c.data.name = "tiny-imagenet-200"
    c.data.extra_train = ("tiny-imagenet-200-DeepAug-EDSR", "tiny-imagenet-200-DeepAug-CAE")
    c.data.test_split = "val"
    c.data.image_size = 64
    c.model.name = "resnet18"
    c.model.options.stem_stride = 2
    # The paper does not say how long; as on ImageNet, a third of the epochs without copies.
    c.epochs = 67
    scale_learning_rate(c)
    c.optimizer.weight_decay = 1e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (33.0, 50.0)
    c.evaluate.benchmarks = ("tiny_imagenet_c",)
    c.evaluate.constants = "tiny_imagenet"
    c.evaluate.baseline = "tiny_imagenet_resnet18"
    return c
