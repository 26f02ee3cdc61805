"""AugMax-DuBIN on scikit-learn's digits: the whole pipeline in minutes, without a download.

    python -m augmax_jax.main --config=configs/digits.py --workdir=runs/digits

This is no setting of the paper.
Expect: measured: SA 98.89, RA 97.64; RA of normal training 89.12 (docs/results.md: how they vary).
Cost: 3 min 18 s on 2 CPU cores, installation included (`make demo`).
"""

from pathlib import Path

from augmax_jax.config import defaults


def get_config():
    c = defaults()
    c.data.name = "digits"
    c.data.train_transform = "crop"  # a mirrored digit is another sign
    c.data.holdout = 0.1
    c.model.name = "tiny"
    c.batch_size = 32
    c.epochs = 15
    c.adversary.steps = 5
    c.optimizer.warmup_epochs = 1.0
    c.optimizer.schedule_unit = "step"
    c.log_every = 20
    c.pictures_every_epochs = 5.0
    c.checkpoint.every_epochs = 2.0
    c.evaluate.benchmarks = ("corrupted",)
    # Standard training to compare with, three seeds: this config with
    # --config.method=normal --config.evaluate.baseline= --config.seed=SEED made each.
    runs = sorted((Path(__file__).parent / "baselines").glob("digits_normal_*.json"))
    c.evaluate.baseline = ",".join(map(str, runs))
    return c
