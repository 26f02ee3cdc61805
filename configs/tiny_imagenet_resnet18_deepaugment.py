r"""DeepAugment + AugMax-DuBIN, ResNet-18 on Tiny ImageNet (the paper's Table 5).

    python -m augmax_jax.main --config=configs/tiny_imagenet_resnet18_deepaugment.py \
        --workdir=runs/tiny_imagenet_resnet18_deepaugment \
        --config.data.name=TRAIN \
        --config.data.extra_train="('EDSR', 'CAE')" \
        --config.evaluate.data_dir=DIR

TRAIN is the folder of the unpacked archive; EDSR and CAE are its copies of 64x64 pixels, which
`python -m augmax_jax.deepaugment distort` makes (docs/deepaugment.md). DIR holds Tiny ImageNet-C.

Expect: paper: SA 59.72, RA 40.99, mCE 77.83.
Cost: not measured; 67 epochs of three times the images.
"""

from pathlib import Path

from augmax_jax.config import load


def get_config():
    c = load(Path(__file__).with_name("tiny_imagenet_resnet18.py"))
    c.data.extra_train = ("tiny-imagenet-200-DeepAug-EDSR", "tiny-imagenet-200-DeepAug-CAE")
    # The paper gives no length; as on ImageNet, it is a third of the epochs without copies.
    c.epochs = 67
    return c
