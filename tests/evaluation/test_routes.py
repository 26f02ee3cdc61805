"""Predictions that are averaged over the norm routes."""

import jax
import numpy as np
import pytest
from scipy import special

from augmax_jax import models
from augmax_jax.evaluation.predictions import model_score
from augmax_jax.runtime import parallel


def test_probabilities_are_the_mean_of_both_routes(rng):
    devices = parallel.local_devices(2)
    model = models.create("tiny", 3, norm="dubin")
    variables = dict(model.init(jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32)))
    moved = jax.tree.map(lambda x: x + 0.5, variables["batch_stats_augmented"])
    variables["batch_stats_augmented"] = moved
    images = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)

    def by_hand(route):
        logits = model.apply(variables, images.astype(np.float32) / 255, route=route, train=False)
        return special.softmax(logits, axis=-1)

    kept = parallel.replicate(variables, devices)
    found = model_score(model, devices, routes=("clean", "augmented"))(kept)(images)
    one, other = by_hand("clean"), by_hand("augmented")
    assert not np.allclose(one, other, atol=1e-3)
    np.testing.assert_allclose(special.softmax(found, axis=-1), (one + other) / 2, atol=1e-5)
    assert np.exp(found).sum(-1) == pytest.approx(1, abs=1e-5)  # their logarithm, too
    alone = model_score(model, devices, routes=("augmented",))(kept)(images)
    np.testing.assert_allclose(special.softmax(alone, axis=-1), other, atol=1e-5)
