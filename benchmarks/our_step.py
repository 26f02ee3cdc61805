"""Our side of `benchmarks.step`: the phases of a training step, and whole steps by method."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from augmax_jax import adversary, augment, methods
from augmax_jax.models.cpu import convolution
from augmax_jax.objectives import objective
from augmax_jax.runtime import compiler, parallel
from augmax_jax.training.state import TrainState
from augmax_jax.training.step import forward
from benchmarks.interleave import Prepared
from benchmarks.runs import Parts, make_parts

SIDE = 4096  # side of the matrices whose product gives a device's peak
USUAL = "augmax, sample, compact"  # the kind that is trained, and whose phases are timed
KINDS = {
    USUAL: {"early_stop": "sample", "compact": True},
    "augmax, sample": {"early_stop": "sample", "compact": False},
    "augmax, fixed": {"early_stop": "none"},
    "augmix": {"method": "augmix"},
    "normal": {"method": "normal"},
}
ATTACKS = {
    "maximise": {"early_stop": "none"},
    "maximise, sample": {"early_stop": "sample"},
    "maximise, sample, compact": {"early_stop": "sample", "compact": True},
}


class Steps:
    """Whole training steps by method, on numbered batches of one set of images.

    Args:
        model: network name.
        images: uint8 `[N, 32, 32, 3]`.
        labels: int `[N]`.
        batch: images in a step.
        steps: ascent steps, n.
        dtype: dtype of convolutions and activations.
    """

    def __init__(
        self, model: str, images: np.ndarray, labels: np.ndarray, batch: int, steps: int, dtype: str
    ):
        self._images, self._labels, self._batch = images, labels, batch
        self._runs = {
            kind: make_parts(model, batch, dtype=dtype, steps=steps, **settings)
            for kind, settings in KINDS.items()
        }
        self.run: Parts = self._runs[USUAL]
        self._steps: dict[str, Callable] = {}
        self.taken: list[float] = []  # mean ascent steps of a sample in each step of `train`

    def batch_number(self, i: int) -> dict[str, jax.Array]:
        """The i-th batch, on the device."""
        rows = np.random.default_rng((1, i)).permutation(len(self._images))[: self._batch]
        batch = {"image": self._images[rows], "label": self._labels[rows]}
        return parallel.shard(batch, self.run.devices)

    def step(self, kind: str) -> Callable:
        """The compiled step of a kind; it donates the memory of its state."""
        if kind not in self._steps:
            self._steps[kind] = self._runs[kind].step()
        return self._steps[kind]

    def train(self, count: int) -> TrainState:
        """The state of the usual kind after some steps, on the device, not replicated."""
        start = self.run.initial_state(jax.random.key(0), 32)
        state = parallel.replicate(start, self.run.devices)
        for i in range(count):
            state, metrics = self.step(USUAL)(state, self.batch_number(i))
            self.taken.append(float(np.asarray(metrics["ascent_steps"])[0]))
        return jax.device_put(parallel.first(state))

    def task(self, kind: str, state: TrainState, first: int) -> Prepared:
        """A task that takes a step from `state` on the next batch; the first batch is `first`."""
        step = self.step(kind)
        following, seen = itertools.count(first), []

        def prepare():
            # A copy, so that every method has the same network and the same batches.
            own = parallel.replicate(state, self.run.devices)
            return jax.block_until_ready((own, self.batch_number(next(following))))

        def run(arguments):
            _, metrics = step(*arguments)
            taken = jax.block_until_ready(metrics).get("ascent_steps")
            if taken is not None:
                seen.append(round(float(np.asarray(taken)[0]), 2))
            return {"mean_steps_with_warm_up": list(seen)} if seen else None

        return Prepared(prepare, run)


class Phases:
    """The phases of an AugMax step on one batch, each a compiled program.

    Args:
        run: network and optimizer.
        state: the network's present state.
        images: uint8 `[B, H, W, 3]`.
        labels: int `[B]`.
        steps: ascent steps, n.
    """

    def __init__(
        self, run: Parts, state: TrainState, images: np.ndarray, labels: np.ndarray, steps: int
    ):
        self._run, self._steps = run, steps
        self._images, self._labels = jnp.asarray(images), jnp.asarray(labels)
        self._start = jax.jit(self._draw)
        mixed, chains, m, p = self._start(jax.random.key(0))
        self._attacked = (state, chains, m, p)
        self._attacks = {
            name: self._compile(lambda *a, s=settings: self._attack(*a, **s), *self._attacked)
            for name, settings in ATTACKS.items()
        }
        self._updated = (state, mixed, mixed)
        self._update_program = self._compile(self._update, *self._updated)

    def tasks(self) -> dict[str, Callable]:
        """The phases by name; an attack reports how many samples took how many steps."""
        return {
            "augment": lambda: jax.block_until_ready(self._start(jax.random.key(1))) and None,
            **{name: lambda name=name: self._maximise(name) for name in ATTACKS},
            "update": lambda: jax.block_until_ready(self._update_program(*self._updated)) and None,
        }

    def forward_flops(self) -> float:
        """Operations of the network's plain forward pass over the batch."""

        def plain_forward(state, x):
            return self._run.model.apply(state.variables, x, route="clean")

        state, mixed, _ = self._updated
        with convolution.implementation("plain"):
            return jax.jit(plain_forward).lower(state, mixed).compile().cost_analysis()["flops"]

    def _compile(self, function: Callable, *arguments: Any) -> Callable:
        options = compiler.jit_options(self._run.devices[0].platform)
        return jax.jit(function, compiler_options=options).lower(*arguments).compile()

    def _draw(self, key):
        keys = jax.random.split(key, 3)
        chains = augment.sample_chains(keys[0], self._images, width=3, severity=3)
        mixed = augment.augmix(keys[1], self._images)
        return mixed, chains, *adversary.random_start(keys[2], len(self._images), 3)

    def _attack(self, state, chains, m, p, **settings):
        def logits(x):
            return self._run.model.apply(state.variables, x, route="augmented")

        return adversary.augmax(
            logits, self._images, chains, self._labels, m, p, steps=self._steps, **settings
        )

    def _maximise(self, name: str) -> list[int]:
        result = jax.block_until_ready(self._attacks[name](*self._attacked))
        return np.bincount(np.asarray(result.steps), minlength=self._steps + 1).tolist()

    def _update(self, state, adversarial, mixed):
        views = [
            methods.View("augmax", adversarial, "augmented", 0.0, True),
            methods.View("augmix", mixed, "clean", 0.0, True),
            methods.View("clean", augment.to_float(self._images), "clean", 1.0, True),
        ]

        def loss(params):
            logits, statistics = forward(
                self._run.model, params, state.statistics, views, joint=False
            )
            value, _ = objective(
                logits,
                self._labels,
                weights=[view.weight for view in views],
                consistent=[view.consistent for view in views],
                consistency_weight=10.0,
            )
            return value, statistics

        gradient, statistics = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = self._run.optimizer.update(gradient, state.opt_state, state.params)
        return optax.apply_updates(state.params, updates), statistics, opt_state


def matrix_product(dtype: str, platform: str, forward_flops: float) -> Callable[[], dict]:
    """A task of a large matrix product, whose speed counts as a device's peak."""
    square = jnp.ones((SIDE, SIDE), dtype)
    options = compiler.jit_options(platform)
    product = jax.jit(jnp.matmul, compiler_options=options).lower(square, square).compile()

    def multiply():
        jax.block_until_ready(product(square, square))
        return {"flops": 2 * SIDE**3, "flops of a forward pass": forward_flops}

    return multiply
