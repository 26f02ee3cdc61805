"""AugMax-DuBIN on scikit-learn's digits: the whole pipeline in minutes, without a download."""

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.data.name = "digits"
    c.data.train_transform = "crop"  # a mirrored digit is another sign
    c.data.holdout = 0.1
    c.model.name = "tiny"
    c.batch_size = 64
    c.epochs = 12
    c.adversary.steps = 5
    c.optimizer.warmup_epochs = 1.0
    c.optimizer.per = "step"
    c.log_every = 10
    c.pictures_every_epochs = 4.0
    c.checkpoint.every_epochs = 2.0
    c.evaluate.benchmarks = ("corrupted",)
    return c
