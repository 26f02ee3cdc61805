"""AugMax-DuBIN, ResNet-18 on Tiny ImageNet. Paper (Table 5): SA 62.21, RA 38.67, mCE 80.72.

tfds has no Tiny ImageNet: name the folder of the unpacked archive with
`--config.data.name=DIR`.
"""

from augmax_jax.config import defaults, scale_learning_rate


def get_config():
    c = defaults()
    c.data.name = "tiny-imagenet-200"
    c.data.test_split = "val"
    c.data.image_size = 64
    c.model.name = "resnet18"
    c.model.options.stem_stride = 2
    # Linear scaling of the rate with the batch; the paper gives no other figures for Tiny
    # ImageNet than the step schedule and takes the rest from ImageNet (spec §6).
    scale_learning_rate(c)
    c.optimizer.weight_decay = 1e-4
    c.optimizer.schedule = "step"
    c.optimizer.boundaries = (100.0, 150.0)
    c.evaluate.benchmarks = ("tiny_imagenet_c",)
    c.evaluate.constants = "tiny_imagenet"
    c.evaluate.baseline = "tiny_imagenet_resnet18"
    return c
