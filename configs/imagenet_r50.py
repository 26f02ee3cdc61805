"""AugMax-DuBIN, ResNet-50 on ImageNet: the recipe of ResNet-18. The paper prints no row of it."""

from configs import imagenet_r18


def get_config():
    c = imagenet_r18.get_config()
    c.model.name = "resnet50_imagenet"
    return c
