"""Runs drawn chains: one by one on CPUs, all together on accelerators.

On a CPU, as many loops as there are cores run the chains one after another and each operator by
itself. On accelerators, every instruction takes one step of many chains: one warp does all
geometric operators, the other operators all run, and each chain selects its result. Both give the
same pixels, because every operator's arithmetic is fixed to the last bit (see `float64`).
"""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from augmax_jax.augment import float64, geometry
from augmax_jax.augment.operators import OnWords, Operator
from augmax_jax.augment.packed import pack, unpack

# More loops than this only make the program larger.
MOST_LOOPS = 4

# Pixels that an accelerator works on at once: enough to fill it, and few enough that the
# intermediate float64 arrays do not need more memory than the batch.
PIXELS_AT_ONCE = 1 << 20


class Draws(NamedTuple):
    """The operators, in order, of N chains.

    Attributes:
        length: number of operators, int32 `[N]`, each in 1..D.
        choice: index of each operator, int32 `[N, D]`.
        argument: argument of each operator, float32 `[N, D]`.
    """

    length: jax.Array
    choice: jax.Array
    argument: jax.Array


def run(images: jax.Array, draws: Draws, operators: Sequence[Operator]) -> jax.Array:
    """Sends images through chains.

    Args:
        images: uint8 `[B, H, W, 3]`.
        draws: operators of the B * K chains; the K chains of an image are consecutive.
        operators: the records that `draws.choice` indexes.

    Returns:
        uint8 `[B * K, H, W, 3]`.
    """
    return jax.lax.platform_dependent(
        images,
        draws,
        cpu=lambda images, draws: run_one_by_one(images, draws, operators),
        default=lambda images, draws: run_together(images, draws, operators),
    )


def run_one_by_one(images: jax.Array, draws: Draws, operators: Sequence[Operator]) -> jax.Array:
    """`run` for CPUs: loops over chains, and in them over operators."""
    _, height, width, _ = images.shape
    chains = draws.length.shape[0]
    per_image = chains // images.shape[0]
    matrices = _matrices(draws, operators, height, width)
    forms = [_on_words(operator) for operator in operators]

    def loop(first: int, last: int) -> jax.Array:
        def chain(i: jax.Array, results: jax.Array) -> jax.Array:
            n = first + i
            # Coordinates of rows and columns are computed here, outside the inner loop:
            # the compiler would otherwise compute them anew for every pixel.
            where = _positions(_at(matrices, n), height, width)

            def step(t: jax.Array, words: jax.Array) -> jax.Array:
                def branch(form: OnWords) -> Callable[[jax.Array], jax.Array]:
                    return lambda words: form(words, draws.argument[n, t], _at(where, t))

                return jax.lax.switch(draws.choice[n, t], [branch(f) for f in forms], words)

            words = jax.lax.fori_loop(0, draws.length[n], step, pack(images[n // per_image]))
            return jax.lax.dynamic_update_index_in_dim(results, unpack(words), i, 0)

        results = jnp.zeros((last - first, height, width, 3), jnp.uint8)
        # The number of all chains. It is traced, because the compiler does not run loops of a
        # known length in parallel.
        count = jnp.sum(draws.length[first:last] > 0, dtype=jnp.int32)
        return jax.lax.fori_loop(0, count, chain, results)

    loops = min(os.cpu_count() or 1, MOST_LOOPS, chains)
    bounds = [chains * i // loops for i in range(loops + 1)]
    return jnp.concatenate([loop(*pair) for pair in itertools.pairwise(bounds)])


def run_together(images: jax.Array, draws: Draws, operators: Sequence[Operator]) -> jax.Array:
    """`run` for accelerators: no branches, many chains in every instruction."""
    _, height, width, _ = images.shape
    chains, depth = draws.choice.shape
    per_image = chains // images.shape[0]
    matrices = _matrices(draws, operators, height, width)
    is_warp = np.array([operator.matrix is not None for operator in operators])

    def chain(n: jax.Array) -> jax.Array:
        where = _positions(_at(matrices, n), height, width)

        def step(t: jax.Array, words: jax.Array) -> jax.Array:
            choice = jnp.where(t < draws.length[n], draws.choice[n, t], -1)
            result = words
            if is_warp.any():
                positions = _at(where, t)
                warped = geometry.warp(
                    words, geometry.source_x(positions), geometry.source_y(positions)
                )
                result = jnp.where(jnp.asarray(is_warp)[choice] & (choice >= 0), warped, words)
            for i, operator in enumerate(operators):
                if is_warp[i]:
                    continue
                chosen = choice == i
                if operator.on_chosen is not None:
                    other = operator.on_chosen(words, draws.argument[n, t], chosen)
                else:
                    other = _on_words(operator)(words, draws.argument[n, t], None)
                result = jnp.where(chosen, other, result)
            return result

        return unpack(jax.lax.fori_loop(0, depth, step, pack(images[n // per_image])))

    batch_size = _at_once(chains, max(1, PIXELS_AT_ONCE // (height * width)))
    return jax.lax.map(chain, jnp.arange(chains, dtype=jnp.int32), batch_size=batch_size)


def _on_words(operator: Operator) -> OnWords:
    """An operator on packed words: its own form, or its function between unpacking and packing."""
    if operator.on_words is not None:
        return operator.on_words

    def on_words(
        words: jax.Array, argument: jax.Array, where: geometry.Positions | None
    ) -> jax.Array:
        image = unpack(words)
        result = operator.apply(image, argument)
        shape, dtype = jnp.shape(result), getattr(result, "dtype", type(result).__name__)
        if shape != image.shape or dtype != jnp.uint8:
            raise ValueError(
                f"operator {operator.name!r} must return uint8 {list(image.shape)}, "
                f"got {dtype} {list(shape)}"
            )
        return pack(result)

    return on_words


def _matrices(draws: Draws, operators: Sequence[Operator], height: int, width: int) -> jax.Array:
    """The matrix of every draw, float64 `[N, D, 6]`; the identity if the operator is no warp."""
    with float64.enabled():
        identity = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        matrices = jnp.broadcast_to(identity, (*draws.choice.shape, 6))
        for i, operator in enumerate(operators):
            matrix_of = operator.matrix
            if matrix_of is not None:
                own = jax.vmap(jax.vmap(lambda a, f=matrix_of: f(a, height, width)))(draws.argument)
                matrices = jnp.where((draws.choice == i)[..., None], own, matrices)
        return matrices


def _positions(matrices: jax.Array, height: int, width: int) -> geometry.Positions:
    """Positions of the draws of one chain, from float64 `[D, 6]`."""
    with float64.enabled():
        return jax.vmap(lambda matrix: geometry.positions(matrix, height, width))(matrices)


def _at(tree, index: jax.Array):
    """Entry `index` of the leading axis of every array."""
    with float64.enabled():
        return jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, index, 0, keepdims=False), tree
        )


def _at_once(total: int, most: int) -> int:
    """A batch size of about `most` that divides `total`, if there is one near `most`."""
    most = min(most, total)
    divisors = [n for n in range(most // 2 + 1, most + 1) if total % n == 0]
    return divisors[-1] if divisors else most
