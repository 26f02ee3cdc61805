r"""DeepAugment + AugMax-DuBIN, ResNet-18 on ImageNet (the paper's Table 4).

    python -m augmax_jax.main --config=configs/imagenet_r18_deepaugment.py \
        --workdir=runs/imagenet_r18_deepaugment \
        --config.data.name=TRAIN \
        --config.data.extra_train="('EDSR', 'CAE')" \
        --config.evaluate.data_dir=DIR

TRAIN is a folder `<split>/<wnid>/*`; EDSR and CAE are its copies, which
`python -m augmax_jax.deepaugment distort` makes (docs/deepaugment.md). DIR holds ImageNet-C.

Expect: paper: SA 64.43, RA 46.55, mCE 68.47.
Cost: not measured; 30 epochs of three times the images.
"""

from pathlib import Path

from augmax_jax.config import load


def get_config():
    c = load(Path(__file__).with_name("imagenet_r18.py"))
    c.data.name = "imagenet"
    c.data.extra_train = ("imagenet-DeepAug-EDSR", "imagenet-DeepAug-CAE")
    c.data.test_split = "val"
    c.epochs = 30  # as in the released code; the schedule's boundaries follow
    return c
