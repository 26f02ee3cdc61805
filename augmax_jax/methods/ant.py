"""Adversarial noise training (ANT): a noise generator learns beside the network.

Rusak et al., ECCV 2020. At the start of every epoch a new generator is trained from scratch
against the present network, and a copy is kept. Then the generator goes on learning with the
network: one Adam step in each training step. The network sees one mixed batch: one part has noise
of this generator, one part has noise of two kept generators, and the rest has none.

The published code draws new batches for the training from scratch. Here that training is part of
the epoch's first step; it uses that step's images, with new noise at every iteration. So it is
within the compiled step, resumes exactly, and needs no second stream of data.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from augmax_jax.adversary import noise_generator as noise
from augmax_jax.adversary.inputs import cross_entropies
from augmax_jax.augment import to_float
from augmax_jax.methods.base import (
    Diagnostics,
    Method,
    MethodSpec,
    Setup,
    StepInputs,
    View,
    ViewSpec,
    split_keys,
)
from augmax_jax.runtime.checks import check_count, check_number

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# Its multiples modulo 1 fall evenly into [0, 1), so any consecutive examples divide into shares.
_GOLDEN = (math.sqrt(5) - 1) / 2


def _build(setup: Setup) -> Method:
    """ANT by `config.ant`; its state is the generator, its optimizer and the kept generators."""
    settings = setup.config.ant
    route = setup.routes["ant"]
    adam = optax.scale_by_adam()

    def init(key: jax.Array) -> dict[str, Any]:
        generator = noise.init_generator(key, kernel=settings.kernel)
        return {
            "generator": generator,
            "optimizer": adam.init(generator),
            "history": noise.init_history(generator, settings.history),
        }

    def learn(inputs: StepInputs, keys: jax.Array, state: dict[str, Any], new: jax.Array):
        """The generator's step; in an epoch's first step, its training from scratch comes before.

        Both are iterations of one loop, so the network's gradient is compiled once.

        Returns:
            The generator and its optimizer, the generator after training from scratch, and the
            mean loss under its noise.
        """
        images = to_float(inputs.images)
        norm = settings.rms * math.sqrt(math.prod(images.shape[1:]))
        last = settings.retrain_steps  # the iteration that belongs to this step

        def loss(generator: noise.Generator, i: jax.Array) -> jax.Array:
            fresh = jax.vmap(lambda key: jax.random.fold_in(key, i))(keys)
            drawn = noise.draw_noise(fresh, generator, images.shape)
            logits = inputs.logits_fn(noise.add_noise(images, drawn, norm), route)
            return -cross_entropies(logits, inputs.labels).mean()

        def iterate(i, carry):
            generator, optimizer, trained, _ = carry
            turn = i == last
            trained = _where(turn, generator, trained)
            optimizer = _where(turn & new, adam.init(generator), optimizer)
            value, gradient = inputs.mean(jax.value_and_grad(loss)(generator, i))
            with jax.numpy_dtype_promotion("standard"):  # Adam raises a float to an int32 count
                updates, optimizer = adam.update(gradient, optimizer)
            rate = jnp.where(turn, settings.learning_rate, settings.retrain_learning_rate)
            generator = jax.tree.map(lambda x, u: x - rate * u, generator, updates)
            return generator, optimizer, trained, -value

        scratch = noise.init_generator(inputs.key, kernel=settings.kernel)
        generator, optimizer = _where(
            new, (scratch, adam.init(scratch)), (state["generator"], state["optimizer"])
        )
        start = jnp.where(new, 0, last).astype(jnp.int32)
        return jax.lax.fori_loop(
            start, last + 1, iterate, (generator, optimizer, generator, jnp.zeros(()))
        )

    def mixed(inputs: StepInputs, keys: jax.Array, generators: list, epoch: jax.Array) -> jax.Array:
        """The batch: images with noise of the current or of two kept generators, and clean ones."""
        images = to_float(inputs.images)
        norm = settings.rms * math.sqrt(math.prod(images.shape[1:]))
        fraction = (inputs.position.astype(jnp.float32) * _GOLDEN) % 1.0
        # In the first epoch there is nothing to replay.
        current = jnp.where(epoch > 0, settings.share, settings.share + 2 * settings.replay_share)
        ends = [current, current + settings.replay_share, current + 2 * settings.replay_share]
        ends[1:] = [jnp.where(epoch > 0, end, current) for end in ends[1:]]
        drawn = jnp.stack([noise.draw_noise(keys, g, images.shape) for g in generators])
        whose = sum((fraction >= end).astype(jnp.int32) for end in ends)
        own = jnp.minimum(whose, len(generators) - 1)
        chosen = jnp.take_along_axis(drawn, own[None, :, None, None, None], axis=0)[0]
        noisy = noise.add_noise(images, chosen, norm)
        return jnp.where((whose < len(generators))[:, None, None, None], noisy, images)

    def views(inputs: StepInputs, state: dict[str, Any]):
        learn_keys, mix_keys = split_keys(inputs.keys, 2)
        epoch, new = setup.epochs.completed(inputs.step), setup.epochs.starts(inputs.step)
        generator, optimizer, trained, loss = learn(inputs, learn_keys, state, new)
        history = _where(new, noise.remember(state["history"], trained, epoch), state["history"])
        earlier = [
            noise.recall(jax.random.fold_in(inputs.key, i), history, epoch + 1) for i in range(2)
        ]
        images = jax.lax.stop_gradient(mixed(inputs, mix_keys, [generator, *earlier], epoch))
        state = {"generator": generator, "optimizer": optimizer, "history": history}
        diagnostics: Diagnostics = {"noise_loss": loss}
        return [View("ant", images, route, 1.0, False)], diagnostics, state

    return Method(views, init)


def _check(config: ConfigDict) -> None:
    settings = config.ant
    noise.check_kernel(settings.kernel, name="config.ant.kernel")
    check_number("config.ant.rms", settings.rms, low=1e-6, high=1)
    check_number("config.ant.share", settings.share, low=0, high=1)
    check_number("config.ant.replay_share", settings.replay_share, low=0, high=0.5)
    check_number("config.ant.learning_rate", settings.learning_rate, low=0)
    check_count("config.ant.retrain_steps", settings.retrain_steps)
    check_number("config.ant.retrain_learning_rate", settings.retrain_learning_rate, low=0)
    check_count("config.ant.history", settings.history, low=1)
    if settings.share + 2 * settings.replay_share > 1 + 1e-9:
        raise ValueError(
            "config.ant.share + 2 config.ant.replay_share must be at most 1, "
            f"got {settings.share} + 2 * {settings.replay_share}"
        )


ANT = MethodSpec(
    "ant",
    "ANT",
    (ViewSpec("ant", "ANT", "clean"),),
    _build,
    _check,
    {"noise_loss": "Loss under the generator's noise"},
)
"""Adversarial noise training."""


def _where(condition: jax.Array, yes: Any, no: Any) -> Any:
    """`jnp.where` on pytrees."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
